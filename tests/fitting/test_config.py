"""What settings mean, which contradict each other, and when scales join."""

import pytest

from resmfn.core import InputError
from resmfn.fitting import ImageFitConfig, VolumeFitConfig
from resmfn.fitting.config import default_stages


def config(**settings):
    return ImageFitConfig(sources=("astronaut",), out="run", **settings)


def test_defaults_are_the_published_ones():
    fit = config()
    assert (fit.epochs, fit.hidden_dim, fit.hidden_layers, fit.lr, fit.quantized) == (10_000, 256, 4, 5e-3, False)
    assert fit.stage_starts() == (0, 500, 1000, 2000)
    assert fit.training().name == "residual-mfn"


@pytest.mark.parametrize(
    ("switches", "name"),
    [
        ({"init": "old"}, "vanilla"),
        ({"staged": True}, "staged"),
        ({"staged": True, "fair": True}, "staged-fair"),
        ({"staged": True, "residual": True}, "staged-residual"),
        ({"staged": True, "residual": True, "init": "new"}, "residual-mfn"),
        ({"residual": True}, "custom"),
    ],
)
def test_switches_alone_say_all(switches, name):
    fit = config(**switches)
    training = fit.training()
    assert training.name == name
    assert training.skip == switches.get("residual", False)
    assert training.staged == switches.get("staged", False)
    assert training.init == switches.get("init", "old")
    if name != "custom":  # a variant and the switches that mean it go together
        assert config(variant=name, **switches).training() == training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "vanilla", "staged": True}, "vanilla is not staged: omit --staged"),
        ({"variant": "staged", "fair": True}, "staged is not fair"),
        ({"variant": "staged", "residual": True}, "staged is not residual"),
        ({"variant": "staged", "staged": False}, "staged is staged: omit --no-staged"),
        ({"variant": "residual-mfn", "init": "old"}, "has --init new, not old"),
        ({"fair": True}, "needs --staged"),
        ({"variant": "bacon"}, "unknown variant 'bacon'"),
        ({"variant": "vanilla", "stages": (1, 2, 3)}, "needs a staged variant"),
        ({"stages": (1, 2)}, "must name 3 epochs"),
        ({"stages": (5, 5, 6)}, "must increase"),
        ({"stages": (0, 5, 6)}, "--stages must be at least 1, got 0"),
        ({"stages": (5, 6, 100), "epochs": 100}, "between 0 and --epochs 100"),
        ({"epochs": 3}, "give more epochs"),
        ({"stages": "5,6,x"}, "whole numbers separated by commas"),
        ({"lr": 0}, "--lr must be above 0"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"save_epoch": 0}, "--save-epoch must be at least 1"),
        ({"crop": 9}, "--crop must be at least 22"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"resume": True, "overwrite": True}, "contradict"),
    ],
)
def test_contradictions_are_errors_in_words(settings, message):
    with pytest.raises(InputError, match=message):
        config(**settings)


def test_stages_may_be_text_and_any_number_of_scales():
    assert config(stages="10,20, 30").stage_starts() == (0, 10, 20, 30)
    assert config(hidden_layers=1).stage_starts() == (0,)
    assert config(hidden_layers=6, epochs=1000).stage_starts() == (0, 12, 25, 50, 100, 200)
    assert config(variant="vanilla").stage_starts() == (0, 0, 0, 0)


@pytest.mark.parametrize("n_scales", range(1, 9))
def test_default_stages_increase_however_few_the_epochs(n_scales):
    stages = default_stages(7, n_scales)
    assert len(stages) == n_scales - 1
    assert all(b > a for a, b in zip((0, *stages), stages, strict=False))


def test_volumes_have_their_own_defaults():
    fit = VolumeFitConfig("map.mrc", out="run")
    assert (fit.hidden_dim, fit.hidden_layers, fit.downsample) == (128, 3, 2)
    assert fit.stage_starts() == (0, 200, 400)
    with pytest.raises(InputError, match="--downsample must be 1 or 2"):
        VolumeFitConfig("map.mrc", out="run", downsample=3)
