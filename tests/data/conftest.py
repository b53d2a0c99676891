"""Small particle sets on disk, whole or broken in one place."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resmfn.data import ImageStackWriter

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 opticsGroup1 300.000 2.700 0.100 1.500000 16 2
2 opticsGroup2 200.000 1.400 0.070 1.500000 16 2

"""
PARTICLES = """
# version 30001

data_particles

loop_
_rlnImageName #1
_rlnDefocusU #2
_rlnDefocusV #3
_rlnDefocusAngle #4
_rlnOpticsGroup #5
_rlnMicrographName #6
000001@a.mrcs 10000.5 9000.25 10.0 1 m1.mrc
000002@a.mrcs 11000.5 9100.25 20.0 2 m1.mrc
000001@b.mrcs 12000.5 9200.25 30.0 1 "m 2.mrc"
000003@a.mrcs 13000.5 9300.25 40.0 2 m1.mrc
"""


@pytest.fixture
def write_stack() -> Callable[..., torch.Tensor]:
    """Return a function that writes a stack of random images and returns them."""

    def write(path: Path, n: int = 3, box_size: int = 16, pixel_size: float = 1.5, seed: int = 0) -> torch.Tensor:
        images = torch.randn(n, box_size, box_size, generator=torch.Generator().manual_seed(seed))
        with ImageStackWriter(path, n, box_size, pixel_size) as stack:
            stack.write(images)
        return images

    return write


@pytest.fixture
def particle_file(tmp_path: Path, write_stack: Callable[..., torch.Tensor]) -> Callable[..., Path]:
    """Return a function that writes a particle set and returns its STAR file; text is replaced as asked."""

    def make(*, replacing: dict[str, str] | None = None) -> Path:
        text = OPTICS + PARTICLES
        for old, new in (replacing or {}).items():
            assert old in text, f"the test replaces what is not there: {old}"
            text = text.replace(old, new)
        (tmp_path / "particles.star").write_text(text)
        write_stack(tmp_path / "a.mrcs", 3, seed=1)
        write_stack(tmp_path / "b.mrcs", 1, seed=2)
        return tmp_path / "particles.star"

    return make
