"""Settings are refused before anything is read."""

from pathlib import Path

import pytest

from resmfn.core import InputError
from resmfn.reconstruction import ReconstructionConfig


def make(**settings: object) -> ReconstructionConfig:
    return ReconstructionConfig(**({"particles": "p.star", "out": "run"} | settings))


def test_text_becomes_paths() -> None:
    config = make(mask="m.mrc", reference="r.mrc", datadir="d")
    assert (config.particles, config.out) == (Path("p.star"), Path("run"))
    assert (config.mask, config.reference, config.datadir) == (Path("m.mrc"), Path("r.mrc"), Path("d"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_starts": 0}, "--n-starts must be at least 1, got 0"),
        ({"hidden_dim": 7}, "--hidden-dim must be at least 8, got 7"),
        ({"network_steps": 0}, "--network-steps must be at least 1, got 0"),
        ({"contrast": "grey"}, "--contrast must be auto, white or black, got 'grey'"),
        ({"symmetry": "X2"}, "--symmetry X2: a point group must be C1 to C99"),
        ({"mask_diameter": 0.0}, "--mask-diameter must be above 0 Å, got 0"),
        ({"mask_diameter": float("nan")}, "--mask-diameter must be a finite number of Å, got nan"),
        ({"ini_high": -1.0}, "--ini-high must be above 0 Å, got -1"),
        ({"pixel_size": 0.0}, "--pixel-size must be at least 0.01 Å, got 0"),
        ({"gpu_memory": 0.0}, "--gpu-memory must be above 0 GiB, got 0"),
        ({"shift_range": -0.1}, "--shift-range must be at least 0 Å, got -0.1"),
        ({"shift_range": float("nan")}, "--shift-range must be a finite number of Å, got nan"),
        ({"poses": "known"}, "--poses must be unknown, from-input or fixed, got 'known'"),
        ({"device": "tpu"}, "--device must be auto, cpu or cuda, got 'tpu'"),
        ({"reference": "r.mrc", "poses": "fixed"}, "--reference starts a search and excludes --poses fixed"),
        ({"reference": "r.mrc", "poses": "from-input"}, "excludes --poses from-input; give only one"),
        ({"classes_from": "first"}, "--classes-from first chooses images .* needs --classes, such as --classes 1"),
        ({"classes": "1"}, "--classes chooses images .* needs --classes-from RUN; give both"),
        ({"classes_from": "first", "classes": "1,0"}, "--classes must be class numbers .* got 1,0"),
        ({"classes_from": "run", "classes": "1"}, "--out run is the run of --classes-from"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite contradict each other; give only one"),
    ],
)
def test_a_value_out_of_range_is_one_clear_line(settings, message) -> None:
    with pytest.raises(InputError, match=message) as error:
        make(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"shift_range": 0.0}, {"n_starts": 1}, {"hidden_dim": 8}, {"network_steps": 1}])
def test_the_least_values_are_allowed(settings) -> None:
    make(**settings)
