"""Images inserted into Fourier space at their poses: their sums, and the normal equations that follow."""

from __future__ import annotations

from copy import copy
from typing import Self

import torch
from torch import Tensor

from resmfn.fourier import centered_indices, ifftn_centered
from resmfn.fourier.transforms import fftn_centered
from resmfn.inverse.crew import Crew
from resmfn.inverse.normal_equations import NormalEquations, convolution_side, half_spectrum, mask_window
from resmfn.physics.projection import add_slices, padded_transform_adjoint
from resmfn.reconstruction.maps.map_grid import PADDING, MapGrid


class SliceSums:
    """Weighted sums of images inserted into Fourier space at their poses; sums of parts may be added.

    Where the map has a symmetry, every image is inserted at all the poses that it may as well have. Friedel mates are
    left out: only the real parts of the sums' inverse transforms are ever used, which mates do not change.

    Parameters
    ----------
    grid
        Of the map.
    device
        Where the sums are kept.
    dtype
        Real precision of the weights; that of what is inserted.
    """

    def __init__(self, grid: MapGrid, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        side = PADDING * grid.size
        self.grid = grid
        self.values = torch.zeros(side, side, side, dtype=dtype.to_complex(), device=device)
        self.weights = torch.zeros(side, side, side, dtype=dtype, device=device)

    @classmethod
    def of(cls, grid: MapGrid, values: Tensor, weights: Tensor, rotation: Tensor, pixels: Tensor) -> SliceSums:
        """Return sums of what :meth:`add` takes."""
        sums = cls(grid, values.device, weights.dtype)
        sums.add(values, weights, rotation, pixels)
        return sums

    def add(self, values: Tensor, weights: Tensor, rotation: Tensor, pixels: Tensor) -> None:
        """Insert ``C Y`` (complex) and ``C^2`` (real), both ``(n, P)``, at poses ``(n, 3, 3)``, in place."""
        for operator in self.grid.group.to(rotation):
            add_slices((self.values, self.weights), values, weights, rotation @ operator, pixels, PADDING)

    def within(self, grid: MapGrid) -> SliceSums:
        """Return the sums that a coarser grid of the same box has: the same numbers, up to its frequencies."""
        part = SliceSums(grid, self.values.device)
        start = self.values.shape[0] // 2 - part.values.shape[0] // 2
        inside = (slice(start, start + part.values.shape[0]),) * 3
        part.values, part.weights = self.values[inside].clone(), self.weights[inside].clone()
        return part

    def __iadd__(self, other: SliceSums) -> Self:
        self.values += other.values
        self.weights += other.weights
        return self

    def __add__(self, other: SliceSums) -> SliceSums:
        total = SliceSums(self.grid, self.values.device, self.weights.dtype)
        total.values = self.values + other.values
        total.weights = self.weights + other.weights
        return total


class MapEquations(NormalEquations):
    """Everything that images at given poses say about a map, in a size that does not grow with their number.

    With noise of variance 1 the negative log-likelihood of a map v is ``<v, K v> - 2 <b, v>`` plus a constant: b is the
    adjoint of all slices applied to the images, K the convolution with the point spread function of all slices, exact
    but for gridding. Networks and explicit maps are both fitted to this.

    Parameters
    ----------
    sums
        Of the images.
    mask
        ``(M, M, M)``: where maps that are asked about may differ from 0. K acts between voxels of its extent only, so
        a compact mask makes smaller transforms do; None is the whole grid.
    crew
        As for :class:`NormalEquations`.
    """

    def __init__(self, sums: SliceSums, mask: Tensor | None = None, crew: Crew | None = None) -> None:
        self.grid = sums.grid
        rhs = padded_transform_adjoint(sums.values, PADDING) * self.grid.scale
        point_spread = ifftn_centered(sums.weights.to(sums.weights.dtype.to_complex())).real.clone()
        self._set(rhs, point_spread, mask, crew)

    def _set(self, rhs: Tensor, point_spread: Tensor, mask: Tensor | None, crew: Crew | None) -> None:
        grid, self._point_spread = self.grid, point_spread
        window = (slice(0, grid.size),) * 3 if mask is None else mask_window(mask)
        side = convolution_side(window, grid.size, len(point_spread))
        kernel = half_spectrum(_compact_kernel(point_spread, side)) * (grid.scale**2 * len(point_spread) ** 3)
        super().__init__(rhs, kernel, window, crew)

    def acting_on(self, mask: Tensor | None, crew: Crew | None) -> MapEquations:
        """Return the equations of the same images that another mask and crew would have; sums are not needed again."""
        others = copy(self)
        others._set(self.rhs, self._point_spread, mask, crew)
        return others


def _compact_kernel(point_spread: Tensor, side: int) -> Tensor:
    """Return the convolution's transform on a cube of ``side``, from the point spread function on a larger one.

    The blur of insertion is undone: the point spread function is divided by the sinc^2 of trilinear interpolation.
    """
    full = len(point_spread)
    start = full // 2 - side // 2
    inside = slice(start, start + side)
    sinc = torch.sinc(centered_indices(side, point_spread.device, point_spread.dtype) / full).square()
    unblurred = point_spread[inside, inside, inside] / (sinc[:, None, None] * sinc[:, None] * sinc)
    return fftn_centered(unblurred.to(unblurred.dtype.to_complex())).real.clamp_min(0)
