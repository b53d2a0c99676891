"""What a run says of itself in one line."""

import math
from types import SimpleNamespace

import pytest
import torch

from resmfn.data.remarks.particles import Remarks
from resmfn.reconstruction.results.outputs import _verdict, _warnings, _write_bad_images

FOUND = {"is_structure": True}
NOTHING = {"is_structure": False, "n_images": 500, "gain": 0.0002, "gain_error": 0.0001}


def verdict(
    resolution: float,
    *,
    split: float = 12.0,
    starts: tuple[float, ...] = (),
    pixel_size: float = 1.5,
    control: dict[str, float | bool] = FOUND,
    good: torch.Tensor | None = None,
) -> str:
    state = SimpleNamespace(start_agreement=list(starts), control=control, good=good)
    run = SimpleNamespace(state=state, pixel_size=pixel_size, particles=range(5))
    return _verdict(run, resolution, split)


@pytest.mark.parametrize("resolution", [12.0, 20.0, math.inf])
def test_halves_that_agree_no_finer_than_what_they_share_resolve_nothing(resolution: float) -> None:
    text = verdict(resolution, starts=(1.0, 1.0))
    assert text.startswith("not resolved: half maps agree to ")
    assert "independent only beyond 12.0 Å; try more starts" in text


def test_a_resolved_map_has_its_resolution() -> None:
    assert verdict(4.256) == "half maps agree to 4.26 Å"


def test_starts_that_agree_are_counted() -> None:
    assert "; 3 of 4 starts found the same coarse map" in verdict(4.0, starts=(0.95, 1.0, 0.3, 0.9))
    assert "starts" not in verdict(4.0, starts=(1.0,))


def test_a_start_that_stands_alone_is_a_reason_to_run_again() -> None:
    assert "1 of 2 starts found the same coarse map, so run again with another --seed to be sure" in verdict(
        4.0, starts=(1.0, 0.2)
    )
    assert "run again" not in verdict(4.0, starts=(1.0, 0.9))


def test_nyquist_is_named() -> None:
    assert verdict(3.0).endswith("; that is Nyquist: smaller pixels may show more")
    assert "Nyquist" not in verdict(3.2)


def test_what_held_out_images_do_not_prefer_to_noise_is_no_structure_however_well_halves_agree() -> None:
    text = verdict(4.0, starts=(1.0, 0.9), control=NOTHING)
    assert text.startswith("no structure found: 500 images ")
    assert "0.0002 ± 0.0001 nat" in text
    assert "half maps agree" not in text


@pytest.mark.parametrize(
    ("agreement", "says"), [([0.9, 1.0, 0.4], "1 of 2 other starts"), ([1.0, 0.95], None), ([], None)]
)
def test_starts_that_end_in_other_maps_are_warned_of(agreement: list[float], says: str | None) -> None:
    particles = SimpleNamespace(remarks=Remarks())
    found = _warnings(SimpleNamespace(state=SimpleNamespace(start_agreement=agreement), particles=particles))
    assert (says is None) == (found == [])
    assert says is None or (says in found[0] and "another --seed" in found[0])


def test_what_is_to_be_said_of_the_input_is_a_warning_of_the_run() -> None:
    particles = SimpleNamespace(remarks=Remarks(notes=("incomplete CTF",)))
    assert _warnings(SimpleNamespace(state=SimpleNamespace(start_agreement=[]), particles=particles)) == [
        "incomplete CTF"
    ]


def test_images_that_look_like_noise_are_counted() -> None:
    good = torch.tensor([1.0, 0.1, 0.9, 0.4, 1.0])
    assert "; 2 of 5 images look like noise (bad_particles.txt)" in verdict(4.0, good=good)
    assert "noise" not in verdict(4.0, good=torch.ones(5))


def test_the_list_of_bad_images_holds_those_that_look_like_noise() -> None:
    written = {}
    folder = SimpleNamespace(write_text=written.__setitem__)
    names = [f"{i:06d}@p.mrcs" for i in range(1, 6)]
    particles = SimpleNamespace(table=SimpleNamespace(text=lambda column: names))
    run = SimpleNamespace(state=SimpleNamespace(good=torch.tensor([1.0, 0.1, 0.9, 0.4, 0.5])), particles=particles)
    _write_bad_images(folder, run)
    assert written == {"bad_particles.txt": "2 000002@p.mrcs 0.100000\n4 000004@p.mrcs 0.400000\n"}
