"""A small map that every test of this folder may simulate from."""

from pathlib import Path

import pytest
import torch

from resmfn.data import write_map
from resmfn.physics import GaussianBlobs

PIXEL_SIZE = 2.0


@pytest.fixture(scope="session")
def blobs() -> GaussianBlobs:
    """Return blobs with nothing symmetric about them."""
    generator = torch.Generator().manual_seed(3)
    return GaussianBlobs.random(8, radius=5, width=1.6, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="session")
def map_file(blobs: GaussianBlobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a map of those blobs in a box of 24 voxels of 2 Å."""
    path = tmp_path_factory.mktemp("map") / "volume.mrc"
    write_map(path, blobs.volume(24), PIXEL_SIZE)
    return path
