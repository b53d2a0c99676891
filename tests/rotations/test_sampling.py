"""Random rotations are uniform, regular ones cover SO(3) evenly."""

import math

import pytest
import torch

from resmfn.core import ResmfnError, make_generator
from resmfn.rotations import (
    concentrated_rotations,
    geodesic_degrees,
    random_rotations,
    super_fibonacci,
)


def nearest_degrees(grid: torch.Tensor, probes: torch.Tensor) -> torch.Tensor:
    trace = (probes.reshape(-1, 9) @ grid.reshape(-1, 9).T).amax(dim=1)
    return torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))


def test_random_rotations_are_uniform(generator: torch.Generator) -> None:
    rotations = random_rotations(20000, generator=generator, dtype=torch.float64)
    assert rotations.mean(dim=0).abs().max() < 0.02
    # each entry of a uniform rotation is uniform on [-1, 1]
    assert (rotations.square().mean(dim=0) - 1 / 3).abs().max() < 0.02
    # the density of the angle is (1 - cos t) / pi: its mean is pi/2 + 2/pi
    angle = geodesic_degrees(rotations, torch.eye(3, dtype=torch.float64))
    assert angle.mean().item() == pytest.approx(math.degrees(math.pi / 2 + 2 / math.pi), abs=1.0)


def test_random_means_from_the_generator_only() -> None:
    state = torch.get_rng_state()
    one = random_rotations(5, generator=make_generator(3))
    assert torch.equal(one, random_rotations(5, generator=make_generator(3)))
    assert not torch.equal(one, random_rotations(5, generator=make_generator(4)))
    concentrated_rotations(5, 2.0, generator=make_generator(3))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("n", "mean", "largest"), [(576, 16.0, 29.0), (4608, 8.0, 14.0)])
def test_super_fibonacci_covers_evenly(n: int, mean: float, largest: float, generator: torch.Generator) -> None:
    grid = super_fibonacci(n, torch.float64)
    probes = random_rotations(2000, generator=generator, dtype=torch.float64)
    distance = nearest_degrees(grid, probes)
    assert distance.mean() < mean
    assert distance.max() < largest
    at_random = nearest_degrees(random_rotations(n, generator=generator, dtype=torch.float64), probes)
    assert distance.max() < 0.8 * at_random.max()


def test_super_fibonacci_gives_rotations() -> None:
    grid = super_fibonacci(100, torch.float64)
    torch.testing.assert_close(grid @ grid.mT, torch.eye(3, dtype=torch.float64).expand(100, 3, 3))
    torch.testing.assert_close(torch.linalg.det(grid), torch.ones(100, dtype=torch.float64))
    assert super_fibonacci(3).dtype == torch.float32


def test_concentrated_views_follow_the_stated_density(generator: torch.Generator) -> None:
    c = 4.0
    rotations = concentrated_rotations(20000, c, generator=generator, dtype=torch.float64)
    assert rotations.shape == (20000, 3, 3)
    u = rotations[:, 2, 2]
    assert u.abs().mean().item() == pytest.approx(1 / (1 - math.exp(-c)) - 1 / c, abs=0.01)
    assert u.mean().abs() < 0.03  # both poles alike
    in_plane = torch.atan2(rotations[:, 0, 2], rotations[:, 1, 2])
    assert torch.exp(1j * in_plane).mean().abs() < 0.03


def test_no_concentration_is_uniform(generator: torch.Generator) -> None:
    rotations = concentrated_rotations(20000, 0.0, generator=generator, dtype=torch.float64)
    assert rotations[:, 2, 2].abs().mean().item() == pytest.approx(0.5, abs=0.01)


def test_negative_concentration_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(ResmfnError, match=r"must lie in \[0, 100\], got -1"):
        concentrated_rotations(5, -1, generator=generator)
