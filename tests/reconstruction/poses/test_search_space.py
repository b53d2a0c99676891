"""Where poses are searched: how large what a coarse map shows is, whatever lies around it."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.fourier import low_pass, radius_grid
from resmfn.reconstruction.poses.search_space import BEYOND_EXTENT, SearchSpace, extent_of_map

BOX, SIZE = 72, 24
SPACE = SearchSpace(mask_radius=36.0, shift_range=0.0)
VOXEL = BOX / SIZE
"""Pixels of the images."""


def ball(radius: float) -> torch.Tensor:
    return (radius_grid(SIZE, 3) <= radius).float()


def noise(level: float, seed: int = 5) -> torch.Tensor:
    """Return noise in the sphere that is searched, of a standard deviation."""
    values = low_pass(torch.randn(SIZE, SIZE, SIZE, generator=make_generator(seed)), SIZE / 4, 2.0)
    return level * values / values.std() * ball(11.0)


@pytest.mark.parametrize("radius", [3.0, 5.0, 8.0])
def test_noise_around_a_particle_does_not_make_it_larger(radius: float) -> None:
    clean, noisy = (extent_of_map(ball(radius) + of_noise, SPACE, BOX) for of_noise in (0.0, noise(0.1)))
    assert radius * VOXEL <= clean <= (radius + 2) * VOXEL
    assert noisy == pytest.approx(clean, abs=1.5 * VOXEL)


@pytest.mark.parametrize("seed", range(12))
def test_the_power_of_the_noise_is_not_what_decides(seed: int) -> None:
    """Noise that holds a fifth of the power of a small particle lies far out: a sphere has most of its voxels there."""
    particle, around = ball(3.0), noise(0.14, seed)
    assert float(around.clamp_min(0).square().sum() / particle.square().sum()) > 0.2
    assert extent_of_map(particle + around, SPACE, BOX) < 6 * VOXEL


def test_a_neighbor_beyond_a_gap_is_no_part_of_the_particle() -> None:
    assert extent_of_map(ball(4.0) + 0.7 * ball(2.5).roll(9, 2), SPACE, BOX) < 7 * VOXEL


def test_a_hollow_particle_is_as_large_as_its_wall() -> None:
    wall = ball(9.0) - 1.3 * ball(6.0)  # without frequency 0 its middle is darker than the solvent
    assert 9 * VOXEL <= extent_of_map(wall, SPACE, BOX) <= 11 * VOXEL


def test_where_nothing_is_seen_all_is_searched() -> None:
    for volume in (-ball(4.0), torch.zeros(SIZE, SIZE, SIZE)):
        assert extent_of_map(volume, SPACE, BOX) == SPACE.mask_radius
        assert SPACE.around(volume, BOX) == SPACE
    assert SPACE.around(ball(4.0), BOX).mask_radius == BEYOND_EXTENT * extent_of_map(ball(4.0), SPACE, BOX)
