"""Trilinear gather and scatter on a cubic grid: most of the cost of central slices.

Each of the eight corners of the cells is gathered as a whole complex number, by a one-dimensional index operation; all
that follows treats real and imaginary parts as twice as many real numbers and all corners at once, so that a few long
passes do what one fused kernel would. The gradients are written out by hand.

Points are worked on :data:`CPU_POINTS` at a time, whose corners the processor's cache holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_POINTS = 32_000
"""Points at a time: 64 bytes of corners each."""
GPU_POINTS = 16_000_000
"""Few launches, as these cost more than what they start; 3 GB, or fewer points where that does not fit."""


class Points(NamedTuple):
    """Positions in voxels, at least 0, along x, y and z; ``(n,)`` each."""

    x: Tensor
    y: Tensor
    z: Tensor


class _Cells(NamedTuple):
    """Where each point's cell begins in the flat grid ``(n,)``, and fractions along x, y and z ``(3, n)``."""

    corner: Tensor
    fraction: Tensor


def points_at_a_time(device: torch.device) -> int:
    """Return how many points are best worked on together."""
    return GPU_POINTS if device.type == "cuda" else CPU_POINTS


def gather_trilinear(grid: Tensor, points: Points) -> Tensor:
    """Return the values of a grid ``(M, M, M)``, real or complex, at points; ``(n,)``.

    Between the last voxel, M - 1, and M values are extrapolated. Once differentiable in the grid and the points.
    """
    values: Tensor = _Gather.apply(grid, *points)
    return values


def gather_trilinear_with_slopes(grid: Tensor, points: Points) -> tuple[Tensor, Tensor]:
    """Return values of a grid ``(M, M, M)`` at points ``(n,)``, and their derivatives along x, y and z ``(3, n)``.

    The derivatives, per voxel, are those of the interpolation itself, from the corners that it reads anyway: what a
    Gauss-Newton step on poses needs, at little more than the price of the values. Not differentiable.
    """
    grid = grid.detach()
    cells = _locate(points, grid.shape[0])
    found = _like(grid, _with_slopes(_corners(grid, cells), _spread(cells.fraction, grid)))
    return found[0], found[1:]


def scatter_trilinear(values: Tensor, points: Points, size: int) -> Tensor:
    """Return values ``(n,)``, real or complex, added into an empty grid ``(M, M, M)``: the gather's exact adjoint.

    Once differentiable in the values and the points.
    """
    grid: Tensor = _Scatter.apply(values, *points, size)
    return grid


def add_trilinear(grids: Sequence[Tensor], values: Sequence[Tensor], points: Points) -> None:
    """Add values ``(n,)``, one set for each grid ``(M, M, M)``, at the same points, in place.

    What :func:`scatter_trilinear` does, for sums over many sets of points. Not differentiable.
    """
    cells = _locate(points, grids[0].shape[0])
    index = cells.corner.long()
    for grid, added in zip(grids, values, strict=True):
        shares = _parts(added)
        for fraction in reversed(_spread(cells.fraction, added).unbind()):
            shares = _split(shares, fraction)
        for corner, share in zip(_corner_views(grid), _like(added, shares).view(8, -1), strict=True):
            corner.scatter_add_(0, index, share)


class _Gather(torch.autograd.Function):
    """Values at points, a cacheful at a time."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(grid, x, y, z)
        values = grid.new_empty(len(x))
        for part in _cache_chunks(x):
            cells = _locate(Points(x[part], y[part], z[part]), grid.shape[0])
            corners = _corners(grid, cells)
            for fraction in _spread(cells.fraction, grid):
                corners = corners[0].lerp_(corners[1], fraction)
            values[part] = _like(grid, corners)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grid, *points = ctx.saved_tensors
        (to_values,) = gradients
        to_grid = None
        if ctx.needs_input_grad[0]:
            to_grid = scatter_trilinear(to_values, Points(*points), grid.shape[0])
        if not any(ctx.needs_input_grad[1:]):
            return to_grid, None, None, None
        return to_grid, *_along_slopes(grid, to_values, Points(*points))


class _Scatter(torch.autograd.Function):
    """Values added into an empty grid, a cacheful of points at a time."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, y: Tensor, z: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(values, x, y, z)
        grid = values.new_zeros(size, size, size)
        for part in _cache_chunks(x):
            add_trilinear((grid,), (values[part],), Points(x[part], y[part], z[part]))
        return grid

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, *points = ctx.saved_tensors
        to_grid = gradients[0].contiguous()
        to_values = gather_trilinear(to_grid, Points(*points)) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:4]):
            return to_values, None, None, None, None
        return to_values, *_along_slopes(to_grid, values, Points(*points)), None


def _cache_chunks(axis: Tensor) -> list[slice]:
    step = points_at_a_time(axis.device)
    return [slice(start, start + step) for start in range(0, len(axis), step)]


def _along_slopes(grid: Tensor, values: Tensor, points: Points) -> tuple[Tensor, ...]:
    """Return the real part of <slope of the grid along x, y, z, value> at every point; ``(n,)`` each."""
    found = torch.empty(3, len(values), dtype=grid.dtype.to_real(), device=grid.device)
    for part in _cache_chunks(values):
        _, slopes = gather_trilinear_with_slopes(grid, Points(*(axis[part] for axis in points)))
        products = slopes.conj() * values[part]
        found[:, part] = products.real if products.is_complex() else products
    return tuple(found)


def _locate(points: Points, size: int) -> _Cells:
    at = torch.stack(points)
    lowest = at.floor().clamp_(0, size - 2)
    x, y, z = lowest.to(torch.int32 if size**3 < 2**31 else torch.int64)
    return _Cells(x.add(y, alpha=size).add_(z, alpha=size**2), at.sub_(lowest))


def _corner_views(grid: Tensor) -> list[Tensor]:
    """Return the flat grid from each corner of the first cell on: what one index reads the eight corners with.

    x is slowest, as it is interpolated first.
    """
    flat, size = grid.view(-1), grid.shape[0]
    return [flat[(z * size + y) * size + x :] for x, y, z in product((0, 1), repeat=3)]


def _corners(grid: Tensor, cells: _Cells) -> Tensor:
    """Return the values at the corners of each cell, as real numbers (2, 2, 2, n) or (2, 2, 2, 2 n): x, y, z."""
    values = grid.new_empty(8, len(cells.corner))
    for corner, value in zip(_corner_views(grid.contiguous()), values, strict=True):
        torch.index_select(corner, 0, cells.corner, out=value)
    return _parts(values).view(2, 2, 2, -1)


def _with_slopes(corners: Tensor, fraction: Tensor) -> Tensor:
    """Return the interpolated values and their slopes along x, y and z; (4, n), as many numbers as a corner has.

    In place: along each axis in turn the upper corners become slopes and the lower ones values, so that at the end
    corner (0, 0, 0) is the value, (1, 0, 0) the slope along x and so on. Nothing else need be in the cache.
    """
    for axis, part in enumerate(fraction):
        lower, upper = corners.unbind(axis)
        upper -= lower
        lower.addcmul_(upper, part)
    return torch.stack((corners[0, 0, 0], corners[1, 0, 0], corners[0, 1, 0], corners[0, 0, 1]))


def _split(shares: Tensor, fraction: Tensor) -> Tensor:
    """Divide what is added between the lower and the upper corners along one more axis, which comes first."""
    both = shares.new_empty(2, *shares.shape)
    torch.mul(shares, fraction, out=both[1])
    torch.sub(shares, both[1], out=both[0])
    return both


def _parts(values: Tensor) -> Tensor:
    """Return complex numbers (..., n) as (..., 2 n) real ones, real and imaginary parts by turns; real ones as is."""
    return torch.view_as_real(values.resolve_conj().contiguous()).flatten(-2) if values.is_complex() else values


def _like(values: Tensor, parts: Tensor) -> Tensor:
    """Undo :func:`_parts`, if the values are complex."""
    return torch.view_as_complex(parts.unflatten(-1, (-1, 2))) if values.is_complex() else parts


def _spread(fraction: Tensor, values: Tensor) -> Tensor:
    """Return the fractions for the :func:`_parts` of values."""
    return _parts(torch.complex(fraction, fraction)) if values.is_complex() else fraction
