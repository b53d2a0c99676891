"""Trilinear gather and scatter on a cubic grid: what central slices spend their time in.

Real and imaginary parts are gathered apart, one corner of the cells at a time, as one-dimensional index operations
on the interleaved table, and the gradient is written out by hand. One CPU thread takes 13 ms for 300 slices of 1,205
pixels of a 128^3 transform and 24 ms with the gradient to the rotations; ``grid_sample`` takes 34 and 100 ms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Points(NamedTuple):
    """Positions in voxels, at least 0, along x, y and z; ``(n,)`` each."""

    x: Tensor
    y: Tensor
    z: Tensor


class _Cells(NamedTuple):
    """Voxel index of the lowest corner and the fractions along x, y and z; ``(n,)`` each."""

    corner: Tensor
    x: Tensor
    y: Tensor
    z: Tensor


class _Gather(torch.autograd.Function):
    """Complex values at points; the table is real, of length ``2 M^3``, real and imaginary parts by turns."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, x: Tensor, y: Tensor, z: Tensor, size: int) -> Tensor:
        cells = _locate(Points(x, y, z), size)
        corners = [_corner_values(table[part:], cells.corner * 2, 2, size) for part in (0, 1)]
        ctx.size = size
        ctx.save_for_backward(*cells, *(corners[0] + corners[1] if any(ctx.needs_input_grad[1:4]) else ()))
        real, imag = (_interpolate(values, cells) for values in corners)
        return torch.complex(real, imag)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cells, corners = _Cells(*ctx.saved_tensors[:4]), ctx.saved_tensors[4:]
        parts = (gradients[0].real.contiguous(), gradients[0].imag.contiguous())
        to_table = None
        if ctx.needs_input_grad[0]:
            to_table = parts[0].new_zeros(2 * ctx.size**3)
            for part, gradient in enumerate(parts):
                _add_to_corners(to_table[part:], gradient, cells, 2, ctx.size)
        if not corners:
            return to_table, None, None, None, None
        slopes = zip(_slopes(corners[:8], cells), _slopes(corners[8:], cells), strict=True)
        x, y, z = (parts[0] * real + parts[1] * imag for real, imag in slopes)
        return to_table, x, y, z, None


def gather_trilinear(grid: Tensor, points: Points) -> Tensor:
    """Return the values of a complex grid ``(M, M, M)`` at points; complex ``(n,)``.

    Between the last voxel, M - 1, and M values are extrapolated. Once differentiable in the grid and the points.
    """
    table = torch.view_as_real(grid.contiguous()).view(-1)
    values: Tensor = _Gather.apply(table, *points, grid.shape[0])
    return values


def scatter_trilinear(values: Tensor, points: Points, size: int) -> Tensor:
    """Return values ``(n,)``, real or complex, added into an empty grid ``(M, M, M)``: the gather's exact adjoint."""
    cells = _locate(points, size)
    if not values.is_complex():
        table = values.new_zeros(size**3)
        _add_to_corners(table, values, cells, 1, size)
        return table.view(size, size, size)
    table = values.real.new_zeros(2 * size**3)
    for part, plane in enumerate((values.real.contiguous(), values.imag.contiguous())):
        _add_to_corners(table[part:], plane, cells, 2, size)
    return torch.view_as_complex(table.view(size, size, size, 2))


def _locate(points: Points, size: int) -> _Cells:
    x, y, z = (axis.floor().clamp_(0, size - 2) for axis in points)
    corner = (z.long() * size + y.long()).mul_(size).add_(x.long())
    return _Cells(corner, points.x - x, points.y - y, points.z - z)


def _corner_values(table: Tensor, index: Tensor, stride: int, size: int) -> tuple[Tensor, ...]:
    """Return the values at the corners of each cell, x fastest, z slowest."""
    steps = [(z * size + y) * size + x for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    return tuple(table[stride * step :].index_select(0, index) for step in steps)


def _add_to_corners(table: Tensor, values: Tensor, cells: _Cells, stride: int, size: int) -> None:
    """Add each value to the corners of its cell, in place, with the weights of the interpolation."""
    index = cells.corner * stride
    upper = values * cells.z
    for z, layer in enumerate((values - upper, upper)):
        far = layer * cells.y
        for y, line in enumerate((layer - far, far)):
            right = line * cells.x
            first = stride * (z * size + y) * size
            table[first:].index_add_(0, index, line - right)
            table[first + stride :].index_add_(0, index, right)


def _interpolate(corners: tuple[Tensor, ...], cells: _Cells) -> Tensor:
    lines = [torch.lerp(corners[i], corners[i + 1], cells.x) for i in (0, 2, 4, 6)]
    return torch.lerp(torch.lerp(lines[0], lines[1], cells.y), torch.lerp(lines[2], lines[3], cells.y), cells.z)


def _slopes(corners: tuple[Tensor, ...], cells: _Cells) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of the interpolated values along x, y and z."""
    lines = [torch.lerp(corners[i], corners[i + 1], cells.x) for i in (0, 2, 4, 6)]
    steps = [corners[i + 1] - corners[i] for i in (0, 2, 4, 6)]
    along_x = torch.lerp(torch.lerp(steps[0], steps[1], cells.y), torch.lerp(steps[2], steps[3], cells.y), cells.z)
    along_y = torch.lerp(lines[1] - lines[0], lines[3] - lines[2], cells.z)
    along_z = torch.lerp(lines[2], lines[3], cells.y) - torch.lerp(lines[0], lines[1], cells.y)
    return along_x, along_y, along_z


def gather_trilinear_with_slopes(grid: Tensor, points: Points) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return values of a complex grid ``(M, M, M)`` at points, and their derivatives along x, y and z per voxel.

    The derivatives are those of the interpolation itself, from the corners that it reads anyway: what a Gauss-Newton
    step on poses needs, at twice the price of the values. Not differentiable.
    """
    table = torch.view_as_real(grid.contiguous()).view(-1)
    cells = _locate(points, grid.shape[0])
    parts = []
    for part in (0, 1):
        corners = _corner_values(table[part:], cells.corner * 2, 2, grid.shape[0])
        parts.append((_interpolate(corners, cells), *_slopes(corners, cells)))
    value, x, y, z = (torch.complex(real, imag) for real, imag in zip(*parts, strict=True))
    return value, (x, y, z)
