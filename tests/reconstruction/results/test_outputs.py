"""What a run says of itself in one line."""

import math
from types import SimpleNamespace

import pytest
import torch

from resmfn.data import read_map
from resmfn.data.remarks.particles import Remarks
from resmfn.reconstruction.phases import soft
from resmfn.reconstruction.results.hand import inverted
from resmfn.reconstruction.results.independence import shared_by_halves, split_resolution
from resmfn.reconstruction.results.outputs import _verdict, _warnings, _write_bad_images, _write_scales
from resmfn.reconstruction.run.held_out import HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import Band, ImageQualities, SoftRounds, Starts
from resmfn.reconstruction.run.state import RunState

FOUND = NoiseControl(500, gain=10.0, gain_error=0.1, lead=10.0, lead_error=0.1)
NOTHING = NoiseControl(500, gain=0.0002, gain_error=0.0001, lead=0.0, lead_error=0.0001)


MASK = 60.0


def verdict(
    resolution: float,
    *,
    split: float = 12.0,
    starts: tuple[float, ...] = (),
    pixel_size: float = 1.5,
    control: NoiseControl = FOUND,
    particle_probability: torch.Tensor | None = None,
    poses: str = "unknown",
) -> str:
    state = RunState(
        starts=Starts(agreement=starts),
        tests=HeldOutTests(structure=control),
        qualities=ImageQualities(good=particle_probability),
    )
    run = SimpleNamespace(state=state, pixel_size=pixel_size, particles=range(5), **posed(state, split, poses))
    return _verdict(run, resolution)


def posed(state: RunState, split: float, poses: str) -> dict[str, object]:
    """Return what a run knows of its poses, with halves that parted at a resolution."""
    state.band = Band(split=120.0 / split)
    return {
        "config": SimpleNamespace(poses=poses, symmetry="C1", relax_symmetry=None, mask_diameter=MASK),
        "moves_poses": poses != "fixed",
        "resolution": lambda radius: 120.0 / radius,
        "boxes": SimpleNamespace(is_limited=False),
    }


def test_halves_at_poses_that_were_kept_confirm_nothing() -> None:
    text = verdict(4.256, poses="fixed", pixel_size=2.1)
    assert text.startswith("not confirmed: half maps agree to 4.26 Å at the poses of the input, but both halves may")
    assert "--poses from-input" in text
    assert "Nyquist" not in text


def test_halves_that_began_at_poses_of_the_input_say_from_where_on_they_are_independent() -> None:
    text = verdict(4.256, split=12.0, poses="from-input")
    assert text == "half maps agree to 4.26 Å, independently beyond 10.0 Å"
    assert verdict(14.0, split=12.0, poses="from-input").startswith("not resolved")


@pytest.mark.parametrize(
    ("poses", "split", "says"),
    [
        ("unknown", 12.0, "one coarse map, to 12.00 Å"),
        ("from-input", 12.0, "one map at the poses of the input, to 12.00 Å"),
        ("fixed", None, "at any resolution"),
    ],
)
def test_what_halves_share_is_said(poses: str, split: float | None, says: str) -> None:
    state = RunState()
    run = SimpleNamespace(state=state, **posed(state, 12.0, poses))
    # 1 / 12 of the coarse map and 1 / 60 of the mask are 1 / 10.
    assert split_resolution(run) == (None if split is None else pytest.approx(10.0))
    assert says in shared_by_halves(run)


@pytest.mark.parametrize("resolution", [10.1, 12.0, 20.0])
def test_halves_that_agree_no_finer_than_what_they_share_resolve_nothing(resolution: float) -> None:
    text = verdict(resolution, starts=(1.0, 1.0))
    assert text.startswith("not resolved: half maps agree to ")
    assert "independent only beyond 10.0 Å; try more starts" in text


@pytest.mark.parametrize("poses", ["unknown", "from-input", "fixed"])
def test_halves_that_agree_nowhere_resolve_nothing(poses: str) -> None:
    text = verdict(math.inf, starts=(1.0, 1.0), poses=poses)
    assert text.startswith("not resolved: the half maps agree nowhere; try more starts")


def test_a_resolved_map_has_its_resolution() -> None:
    assert verdict(4.256) == "half maps agree to 4.26 Å"


@pytest.mark.parametrize(("reached", "says"), [(10.0, True), (8.0, False)])
def test_a_band_that_ends_by_the_cost_of_sums_over_poses_is_named(
    monkeypatch: pytest.MonkeyPatch, reached: float, says: bool
) -> None:
    monkeypatch.setattr(soft, "soft_radius", lambda run: 10.0)
    state = RunState(tests=HeldOutTests(structure=FOUND), soft=SoftRounds(are_on=True))
    run = SimpleNamespace(state=state, pixel_size=1.5, particles=range(5), **posed(state, 30.0, "unknown"))
    state.band = Band(reached, split=4.0)
    assert ("for their cost: the images may show more" in _verdict(run, 120.0 / reached)) is says
    assert "for their cost" not in _verdict(run, 1.2 * 120.0 / reached)


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


def warned_of(agreement: list[float], particles: SimpleNamespace) -> SimpleNamespace:
    """Return what a run without symmetry knows that it may warn of."""
    config = SimpleNamespace(symmetry="C1", relax_symmetry=None)
    state = RunState(starts=Starts(agreement=tuple(agreement)))
    return SimpleNamespace(state=state, config=config, particles=particles)


@pytest.mark.parametrize(
    ("agreement", "says"), [([0.9, 1.0, 0.4], "1 of 2 other starts"), ([1.0, 0.95], None), ([], None)]
)
def test_starts_that_end_in_other_maps_are_warned_of(agreement: list[float], says: str | None) -> None:
    particles = SimpleNamespace(remarks=Remarks())
    found = _warnings(warned_of(agreement, particles))
    assert (says is None) == (found == [])
    assert says is None or (says in found[0] and "another --seed" in found[0])


def test_what_is_to_be_said_of_the_input_is_a_warning_of_the_run() -> None:
    particles = SimpleNamespace(remarks=Remarks(notes=("incomplete CTF",)))
    assert _warnings(warned_of([], particles)) == ["incomplete CTF"]


def test_images_that_look_like_noise_are_counted() -> None:
    particle_probability = torch.tensor([1.0, 0.1, 0.9, 0.4, 1.0])
    assert "; 2 of 5 images look like noise (bad_particles.txt)" in verdict(
        4.0, particle_probability=particle_probability
    )
    assert "noise" not in verdict(4.0, particle_probability=torch.ones(5))


def test_the_list_of_bad_images_holds_those_that_look_like_noise() -> None:
    written = {}
    folder = SimpleNamespace(write_text=written.__setitem__)
    names = [f"{i:06d}@p.mrcs" for i in range(1, 6)]
    particles = SimpleNamespace(table=SimpleNamespace(text=lambda column: names))
    state = RunState(qualities=ImageQualities(good=torch.tensor([1.0, 0.1, 0.9, 0.4, 0.5])))
    run = SimpleNamespace(state=state, particles=particles)
    _write_bad_images(folder, run)
    assert written == {"bad_particles.txt": "2 000002@p.mrcs 0.100000\n4 000004@p.mrcs 0.400000\n"}


def test_the_maps_of_all_scales_have_the_hand_and_the_grey_scale_of_the_run(tmp_path, generator) -> None:
    scales = {scale: torch.randn(8, 8, 8, generator=generator) for scale in (1, 2, 3)}
    network = SimpleNamespace(n_scales=4, scale_for=int, decode=lambda full, scale: scales[scale])
    for flip in (False, True):
        run = SimpleNamespace(
            network=lambda name: network,
            state=SimpleNamespace(band=SimpleNamespace(radius=3.0)),  # the fourth scale was not fitted
            full=None,
            observations=SimpleNamespace(gray_scale=2.0),
            config=SimpleNamespace(flip_hand=flip),
            pixel_size=1.5,
            box_size=8,
        )
        _write_scales(SimpleNamespace(path=tmp_path), run)
        for scale, volume in scales.items():
            found = read_map(tmp_path / f"map_scale{scale}.mrc").data
            torch.testing.assert_close(found, 2.0 * (inverted(volume) if flip else volume))


def test_a_gain_that_is_sure_but_tiny_is_no_structure() -> None:
    """What all images have in common, as the seams of windows, is beyond chance and still tells no pose."""
    sure = NoiseControl(500, gain=0.0033, gain_error=0.0006, lead=0.0034, lead_error=0.0006)
    assert not sure.is_structure
    assert NoiseControl(500, gain=1.1, gain_error=0.05, lead=1.0, lead_error=0.05).is_structure
