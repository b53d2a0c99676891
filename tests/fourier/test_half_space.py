"""Half of the coefficients of a real map, and sums over shells of the whole space."""

import pytest
import torch

from resmfn.fourier import fftn_centered, low_pass, radius_grid, shell_average, shell_index, soft_sphere
from resmfn.fourier.half_space import HalfSpaceShells, half_space_of, half_space_radius, map_of_half_space
from resmfn.fourier.transforms import ifftn_centered

SIZES = pytest.mark.parametrize("size", [7, 8])


def noise(size: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(size, size, size, generator=generator, dtype=torch.float64)


@SIZES
def test_the_half_tells_the_map(size: int, generator: torch.Generator) -> None:
    volume = noise(size, generator)
    torch.testing.assert_close(map_of_half_space(half_space_of(volume), size), volume)


@SIZES
def test_shells_are_those_of_the_whole_space(size: int, generator: torch.Generator) -> None:
    shells, whole = HalfSpaceShells.of(size), shell_index(size, 3)
    assert torch.equal(shells.count, torch.bincount(whole.flatten()))
    assert torch.equal(shells.index, half_space_radius(size).round().long())
    a, b = (noise(size, generator) for _ in range(2))
    product = fftn_centered(a) * fftn_centered(b).conj()
    mine = (half_space_of(a) * half_space_of(b).conj()).real
    torch.testing.assert_close(shells.means(mine)[: size // 2 + 1], shell_average(product.real, size))
    torch.testing.assert_close(shells.sums(mine).sum(), product.real.sum())


@SIZES
def test_a_low_pass_multiplies_all_coefficients_by_a_soft_sphere(size: int, generator: torch.Generator) -> None:
    volume = noise(size, generator)
    gain = soft_sphere(size, 1.5, 2.0, dtype=torch.float64)
    assert 0 < float(gain[radius_grid(size, 3) > 2].max()) < 1  # of some coefficients a part is left
    expected = ifftn_centered(fftn_centered(volume) * gain).real
    torch.testing.assert_close(low_pass(volume, 1.5, 2.0), expected)
    torch.testing.assert_close(low_pass(volume.expand(2, -1, -1, -1), 1.5, 2.0)[1], expected)
