"""Small images, networks and targets for the tests of this folder."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from resmfn.data.pictures.files import NamedImage
from resmfn.fitting.samples import FitTarget, image_target
from resmfn.networks import VARIANTS, MultiplicativeFilterNetwork, NetworkConfig


def picture(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """Return blobs, an edge and fine stripes; (height, width, channels), 0.1 to 0.9."""
    y = torch.linspace(0, 2 * math.pi, height, dtype=torch.float64)[:, None]
    x = torch.linspace(0, 2 * math.pi, width, dtype=torch.float64)
    blobs = torch.exp(2 * (x - 2).cos() + 2 * (y + 1).cos() - 4)
    edge = torch.sigmoid(4 * (x + 0.7 * y - 6))
    stripes = (1 + y.cos()) * (9 * x + 4 * y).cos()
    values = torch.stack([blobs + (0.4 - 0.1 * c) * edge + 0.1 * stripes for c in range(channels)], dim=2)
    return 0.1 + 0.8 * (values - values.min()) / (values.max() - values.min())


@pytest.fixture
def target() -> Callable[..., FitTarget]:
    """Return a maker of double-precision image targets."""

    def make(height: int = 32, width: int = 32, channels: int = 1, name: str = "picture") -> FitTarget:
        return image_target(NamedImage(name, picture(height, width, channels)))

    return make


@pytest.fixture
def network() -> Callable[..., MultiplicativeFilterNetwork]:
    """Return a maker of small double-precision networks of a variant."""

    def make(variant: str = "residual-mfn", seed: int = 3, **settings: object) -> MultiplicativeFilterNetwork:
        chosen = VARIANTS[variant]
        defaults = {"dim": 2, "hidden_dim": 10, "box_size": 16, "quantized": False}
        config = NetworkConfig(**{**defaults, "residual": chosen.skip, "init": chosen.init, **settings})
        return MultiplicativeFilterNetwork(
            replace(config), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )

    return make
