"""Small networks for the tests of this folder."""

from collections.abc import Callable

import pytest
import torch

from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig

Make = Callable[..., MultiplicativeFilterNetwork]


@pytest.fixture
def make() -> Make:
    """Return a maker of small double-precision networks; keywords are settings."""

    def _make(*, seed: int = 7, dtype: torch.dtype = torch.float64, **settings: object) -> MultiplicativeFilterNetwork:
        config = NetworkConfig(**{"dim": 2, "hidden_dim": 12, "box_size": 16, **settings})
        network = MultiplicativeFilterNetwork(config, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        with torch.no_grad():  # biases of the heads start at zero: give them a say
            for head in network.heads:
                head.bias.fill_(0.3)
        return network

    return _make


@pytest.fixture
def points(generator: torch.Generator) -> Callable[[int], torch.Tensor]:
    """Return a maker of 50 random points in the box, (50, dim) float64."""
    return lambda dim: torch.rand(50, dim, generator=generator, dtype=torch.float64) - 0.5
