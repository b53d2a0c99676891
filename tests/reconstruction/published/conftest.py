"""A small data set in the published layout, and settings that fit it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resmfn.reconstruction.published import PublishedConfig
from resmfn.simulation import SimulationConfig, simulate

N, BOX = 40, 20


def published_data(out: Path, n: int, box_size: int, snr: float) -> Path:
    """Simulate a molecule in a box of 96 Å; return its folder in the published layout."""
    simulate(
        SimulationConfig(
            source="4ake",
            out=out,
            n_projections=n,
            box_size=box_size,
            pixel_size=96 / box_size,
            snr=snr,
            layout="published",
        )
    )
    return out / f"N{n}_snr{snr:g}_ctf"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder N40_snr2_ctf with volume.mrc in its parent."""
    return published_data(tmp_path_factory.mktemp("published") / "data", N, BOX, 2.0)


@pytest.fixture(scope="session")
def clear_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with enough images, and little enough noise, for poses to be found."""
    return published_data(tmp_path_factory.mktemp("published") / "clear", 150, 24, 4.0)


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> Callable[..., PublishedConfig]:
    """Return a function from changes to the settings of a run of seconds."""
    base: dict[str, Any] = {
        "folder": data,
        "out": tmp_path / "run",
        "init_from_truth": "10,25",
        "epochs": 4,
        "stages": "2,3",
        "batch_size": 20,
        "bacon_hidden_dim": 24,
        "bacon_lr": 1e-2,
        "warm_up": 60,
        "pose_iter": 8,
    }
    return lambda **changes: PublishedConfig(**{**base, **changes})
