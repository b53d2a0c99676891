"""How well a map agrees with turned copies of itself, shell by shell, and how well its half maps agree.

A copy is ``V(c + R^T (x - c))``: the map turned by R about its center c. Where V has the symmetry R, half map 1 turned
by R agrees with half map 2 as well as it does unturned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.evaluation.views import fibonacci_half_sphere
from resmfn.physics.projection import padded_transform

PADDING = 2
POINTS_A_SHELL = 300
"""Directions that a shell is seen in; a shell of few pixels in as many as it has pixels."""
CHUNK = 8


class TurnedCopies:
    """Two half maps, or one map twice, seen at the same points of Fourier space before and after turns.

    All points lie off the grid, so that turned and unturned maps are interpolated alike.

    Parameters
    ----------
    first, second
        (N, N, N), masked by a centered sphere. One map: give it twice.
    radius_max
        Of the last shell, in Fourier pixels, at most N / 2.
    """

    def __init__(self, first: Tensor, second: Tensor, radius_max: int) -> None:
        self.box_size = first.shape[-1]
        self.n_shells = radius_max + 1
        self._first = _sampled(first)
        self._second = self._first if second is first else _sampled(second)
        counts = [min(POINTS_A_SHELL, max(8, int(2 * math.pi * k * k))) for k in range(1, radius_max + 1)]
        points = [k * fibonacci_half_sphere(n) for k, n in enumerate(counts, start=1)]
        self._points = torch.cat(points).to(first)
        self._shell = torch.repeat_interleave(torch.arange(1, radius_max + 1), torch.tensor(counts))
        self._fixed = self._at(self._second, self._points)

    def halves(self) -> Tensor:
        """Correlation of the two maps as they are, (n_shells,); shell 0 counts as 1."""
        return self._shells(self._at(self._first, self._points)[None])[0]

    def turned(self, rotation: Tensor, center: Tensor) -> Tensor:
        """Correlation of the second map with the first one turned by each R (m, 3, 3) about c (3,); (m, n_shells).

        ``c`` is in voxels, x, y, z from the origin.
        """
        rotation, center = rotation.to(self._points), center.to(self._points)
        found = []
        for chunk in rotation.split(CHUNK):
            seen = self._at(self._first, self._points @ chunk)
            moved = chunk @ center - center
            phase = 2 * math.pi / self.box_size * (moved @ self._points.T)
            found.append(self._shells(seen * torch.polar(torch.ones_like(phase), phase)))
        return torch.cat(found)

    def _at(self, transform: Tensor, points: Tensor) -> Tensor:
        """Coefficients at points (..., P, 3) as (kx, ky, kz); (..., P) complex."""
        size = self.box_size * PADDING
        grid = (2 * (points * PADDING + size // 2) + 1) / size - 1
        flat = grid.reshape(1, 1, 1, -1, 3)
        values = torch.nn.functional.grid_sample(transform, flat, align_corners=False)[0, :, 0, 0]
        return torch.complex(values[0], values[1]).view(points.shape[:-1])

    def _shells(self, seen: Tensor) -> Tensor:
        parts = torch.stack(
            (
                (seen * self._fixed.conj()).real,
                seen.abs().square(),
                self._fixed.abs().square().expand_as(seen.real),
            )
        )
        sums = parts.new_zeros(3, len(seen), self.n_shells).index_add_(2, self._shell, parts)
        power = (sums[1] * sums[2]).sqrt()
        correlation = torch.where(power > 0, sums[0] / power.clamp_min(torch.finfo(power.dtype).tiny), 0.0)
        correlation[:, 0] = 1.0
        return correlation.double()


def _sampled(volume: Tensor) -> Tensor:
    """Transform of a map as two channels, as grid_sample takes it."""
    return torch.view_as_real(padded_transform(volume, PADDING)).permute(3, 0, 1, 2)[None].contiguous()
