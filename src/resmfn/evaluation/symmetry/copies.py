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
        return self._shells(self._at(self._first, self._points)[None], self._fixed[None])[0]

    def turned(self, rotation: Tensor, center: Tensor, *, radial: bool = True) -> Tensor:
        """Correlation of the second map with the first one turned by each R (m, 3, 3) about c (3,); (m, n_shells).

        Parameters
        ----------
        rotation, center
            ``c`` is in voxels, x, y, z from the origin.
        radial
            Whether what is the same in all directions about c counts, the mean of each shell: every turn leaves it in
            place, and of a hollow sphere it is nearly all of the map.
        """
        rotation, center = rotation.to(self._points), center.to(self._points)
        fixed = self._fixed * self._to_origin(self._points, center)
        found = []
        for chunk in rotation.split(CHUNK):
            points = self._points @ chunk
            seen, other = self._at(self._first, points) * self._to_origin(points, center), fixed.expand(len(chunk), -1)
            found.append(self._shells(*(v if radial else self._without_mean(v) for v in (seen, other))))
        return torch.cat(found)

    def _to_origin(self, points: Tensor, center: Tensor) -> Tensor:
        """Phases (...) at points (..., 3) that bring c to the origin."""
        phase = 2 * math.pi / self.box_size * (points @ center)
        return torch.polar(torch.ones_like(phase), phase)

    def _without_mean(self, values: Tensor) -> Tensor:
        """Coefficients (m, P) less the mean of their shell: over the whole sphere, that of their real parts."""
        counts = torch.bincount(self._shell, minlength=self.n_shells).clamp_min(1)
        sums = values.real.new_zeros(len(values), self.n_shells).index_add_(1, self._shell, values.real)
        return values - (sums / counts)[:, self._shell]

    def _at(self, transform: Tensor, points: Tensor) -> Tensor:
        """Coefficients at points (..., P, 3) as (kx, ky, kz); (..., P) complex."""
        size = self.box_size * PADDING
        grid = (2 * (points * PADDING + size // 2) + 1) / size - 1
        flat = grid.reshape(1, 1, 1, -1, 3)
        values = torch.nn.functional.grid_sample(transform, flat, align_corners=False)[0, :, 0, 0]
        return torch.complex(values[0], values[1]).view(points.shape[:-1])

    def _shells(self, first: Tensor, second: Tensor) -> Tensor:
        """Correlation of coefficients (m, P) in each shell, (m, n_shells)."""
        parts = torch.stack(((first * second.conj()).real, first.abs().square(), second.abs().square()))
        sums = parts.new_zeros(3, len(first), self.n_shells).index_add_(2, self._shell, parts)
        power = (sums[1] * sums[2]).sqrt()
        correlation = torch.where(power > 0, sums[0] / power.clamp_min(torch.finfo(power.dtype).tiny), 0.0)
        correlation[:, 0] = 1.0
        return correlation.double()


def _sampled(volume: Tensor) -> Tensor:
    """Transform of a map as two channels, as grid_sample takes it."""
    return torch.view_as_real(padded_transform(volume, PADDING)).permute(3, 0, 1, 2)[None].contiguous()
