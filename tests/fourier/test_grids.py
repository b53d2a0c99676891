"""Grids, shells and half planes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core import ShapeError
from resmfn.fourier import centered_indices, fft2_centered, half_plane_pixels, radius_grid, shell_average, shell_index


@pytest.mark.parametrize(("size", "expected"), [(4, [-2, -1, 0, 1]), (5, [-2, -1, 0, 1, 2])])
def test_index_zero_is_at_half_the_size(size: int, expected: list[int]) -> None:
    assert centered_indices(size).tolist() == expected


@pytest.mark.parametrize("ndim", [2, 3])
def test_radius_is_the_distance_from_the_origin(ndim: int) -> None:
    radius = radius_grid(8, ndim, dtype=torch.float64)
    assert radius.shape == (8,) * ndim
    assert radius[(4,) * ndim] == 0
    assert radius[(4,) * (ndim - 1) + (7,)] == 3
    assert radius[(0,) * ndim].item() == pytest.approx(4 * ndim**0.5)
    assert torch.equal(shell_index(8, ndim), radius.round().long())


@given(maximum=st.floats(0.5, 12), minimum=st.just(0.0) | st.floats(0.1, 6))
def test_half_plane_holds_one_of_each_pair_of_mates(maximum: float, minimum: float) -> None:
    pixels = [tuple(p) for p in half_plane_pixels(maximum, minimum).tolist()]
    reach = range(-13, 14)
    ring = {(x, y) for x in reach for y in reach if minimum**2 <= x * x + y * y <= maximum**2}
    mates = {(-x, -y) for x, y in pixels}
    assert len(set(pixels)) == len(pixels)
    assert set(pixels) | mates == ring - ({(0, 0)} if minimum > 0 else set())
    assert set(pixels) & mates <= {(0, 0)}
    assert ((0, 0) in pixels) == (minimum <= 0)


def test_half_plane_is_sorted_so_that_small_rings_are_prefixes() -> None:
    large, small = half_plane_pixels(9.0), half_plane_pixels(5.5)
    radius = large.double().norm(dim=1)
    assert bool((radius.diff() >= 0).all())
    assert torch.equal(large[: len(small)], small)


def test_half_plane_determines_a_real_image(generator: torch.Generator) -> None:
    spectrum = fft2_centered(torch.randn(16, 16, generator=generator, dtype=torch.float64))
    kx, ky = half_plane_pixels(7.0).T
    torch.testing.assert_close(spectrum[8 - ky, 8 - kx], spectrum[8 + ky, 8 + kx].conj())


@pytest.mark.parametrize("size", [9, 10])
@pytest.mark.parametrize("ndim", [2, 3])
def test_shell_average_of_a_radial_function_is_that_function(size: int, ndim: int) -> None:
    average = shell_average(shell_index(size, ndim).double() ** 2, size)
    torch.testing.assert_close(average, torch.arange(size // 2 + 1, dtype=torch.float64) ** 2)


def test_shell_average_of_a_batch_and_of_complex_values(generator: torch.Generator) -> None:
    power = torch.randn(3, 8, 8, generator=generator, dtype=torch.complex128)
    batched = shell_average(power, 8, ndim=2)
    assert batched.shape == (3, 5)
    torch.testing.assert_close(batched[1], shell_average(power[1], 8))


def test_shell_average_names_the_shape_it_needs() -> None:
    with pytest.raises(ShapeError, match=r"axes of 8, got shape \(8, 9\)"):
        shell_average(torch.zeros(8, 9), 8)
