"""The gather that also gives slopes, against closed forms, autograd and differences."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.physics.trilinear import Points, gather_trilinear, gather_trilinear_with_slopes, scatter_trilinear

DOUBLE = torch.float64
SIZE = 7


def random_grid(dtype: torch.dtype = torch.complex128) -> torch.Tensor:
    return torch.randn(SIZE, SIZE, SIZE, generator=make_generator(1), dtype=dtype)


def random_points(n: int, dtype: torch.dtype = DOUBLE) -> Points:
    return Points(*(torch.rand(3, n, generator=make_generator(2), dtype=dtype) * (SIZE - 1)))


def test_a_trilinear_function_is_met_exactly_with_its_slopes() -> None:
    """a + b x + c y + d z + e x y + f x y z is trilinear in every cell: interpolation changes nothing."""
    z, y, x = torch.meshgrid(*(torch.arange(SIZE, dtype=DOUBLE),) * 3, indexing="ij")
    a, b, c, d, e, f = 1.0 + 2j, 0.5 - 1j, -2.0 + 0.3j, 3.0 + 0j, 0.25 + 1j, -0.1 + 0.2j
    points = random_points(200)
    px, py, pz = points
    values, (along_x, along_y, along_z) = gather_trilinear_with_slopes(
        a + b * x + c * y + d * z + e * x * y + f * x * y * z, points
    )
    torch.testing.assert_close(values, a + b * px + c * py + d * pz + e * px * py + f * px * py * pz)
    torch.testing.assert_close(along_x, b + e * py + f * py * pz)
    torch.testing.assert_close(along_y, c + e * px + f * px * pz)
    torch.testing.assert_close(along_z, d + f * px * py)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_values_are_those_of_the_plain_gather(dtype: torch.dtype) -> None:
    grid, points = random_grid(dtype), random_points(300, dtype.to_real())
    values, slopes = gather_trilinear_with_slopes(grid, points)
    assert {part.dtype for part in (values, *slopes)} == {dtype}
    torch.testing.assert_close(values, gather_trilinear(grid, points))


def test_slopes_are_those_of_autograd() -> None:
    grid, points = random_grid(), random_points(300)
    _, slopes = gather_trilinear_with_slopes(grid, points)
    for part in ("real", "imag"):
        moving = [axis.clone().requires_grad_() for axis in points]
        getattr(gather_trilinear(grid, Points(*moving)), part).sum().backward()
        for slope, axis in zip(slopes, moving, strict=True):
            torch.testing.assert_close(getattr(slope, part), axis.grad)


def test_slopes_are_those_of_differences() -> None:
    grid, points = random_grid(), random_points(300)
    _, slopes = gather_trilinear_with_slopes(grid, points)
    step = 1e-7
    for axis, slope in enumerate(slopes):
        ahead = Points(*(p + step if i == axis else p for i, p in enumerate(points)))
        same_cell = ahead[axis].floor() == points[axis].floor()
        difference = (gather_trilinear(grid, ahead) - gather_trilinear(grid, points)) / step
        torch.testing.assert_close(slope[same_cell], difference[same_cell], rtol=1e-6, atol=1e-6)
        assert int(same_cell.sum()) > 290


def test_at_a_voxel_the_slope_is_that_of_the_cell_beyond_and_at_the_last_that_of_the_cell_before() -> None:
    grid = random_grid()
    index = torch.tensor([0, 2, SIZE - 1])
    points = Points(index.to(DOUBLE), torch.ones(3, dtype=DOUBLE), torch.full((3,), 3.0, dtype=DOUBLE))
    values, (along_x, _, _) = gather_trilinear_with_slopes(grid, points)
    torch.testing.assert_close(values, grid[3, 1, index], rtol=1e-14, atol=1e-14)
    cell = torch.tensor([0, 2, SIZE - 2])
    torch.testing.assert_close(along_x, grid[3, 1, cell + 1] - grid[3, 1, cell])


def test_axes_are_told_apart() -> None:
    """[z, y, x]: a grid that grows along one axis only has a slope along that axis only."""
    points = random_points(20)
    for axis in range(3):
        shape = [1, 1, 1]
        shape[2 - axis] = SIZE
        grid = torch.arange(SIZE, dtype=DOUBLE).to(torch.complex128).view(shape).expand(SIZE, SIZE, SIZE)
        _, slopes = gather_trilinear_with_slopes(grid, points)
        assert [bool(slope.abs().max() > 1e-9) for slope in slopes] == [i == axis for i in range(3)]


def test_scatter_is_the_adjoint_of_these_values() -> None:
    grid, points = random_grid(), random_points(50)
    other = torch.randn(50, generator=make_generator(3), dtype=torch.complex128)
    values, _ = gather_trilinear_with_slopes(grid, points)
    scattered = scatter_trilinear(other, points, SIZE)
    torch.testing.assert_close(torch.vdot(other, values), torch.vdot(scattered.flatten(), grid.flatten()))
