"""Where poses are searched: rotations by the map's symmetry, shifts on grids."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.fourier import radius_grid
from resmfn.reconstruction.config import ScorePrecision
from resmfn.reconstruction.images.observations import Observations

STEP_SHARE = 0.19
"""Spacing of the shift grid, as a share of the shortest wavelength in the band."""

FINER = 2
"""Shifts that are found apart from rotations cost next to nothing: their grid is so many times finer."""


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, beside rotations."""

    mask_radius: float
    """Pixels."""
    shift_range: float
    """Å; 0 keeps images centered."""
    symmetry: str = "C1"
    """Point group of the map."""
    precision: ScorePrecision = "full"
    """Of the scores that rank poses."""


def first_offsets(observations: Observations, radius: float, space: SearchSpace) -> Tensor:
    """Return the shifts (T, 2) in Å that fill the range at the spacing that a radius needs."""
    return _disc(space.shift_range, shift_step(observations, radius), observations.device)


def neighbor_offsets(observations: Observations, radius: float, space: SearchSpace) -> Tensor:
    """Return 0 and its four neighbors on the shift grid of a radius, in Å; 0 alone if images are centered."""
    step = shift_step(observations, radius)
    return _disc(step if space.shift_range > 0 else 0.0, step, observations.device)


def fine_offsets(observations: Observations, radius: float, space: SearchSpace) -> Tensor:
    """Return the shifts (T, 2) in Å that fill the range at ``FINER`` times the density that a radius needs."""
    return _disc(space.shift_range, shift_step(observations, radius) / FINER, observations.device)


def shift_step(observations: Observations, radius: float) -> float:
    """Return the spacing of shifts, Å, that a radius needs."""
    return STEP_SHARE * observations.box_size * observations.pixel_size / radius


def _disc(reach: float, step: float, device: torch.device) -> Tensor:
    n = int(reach / step)
    side = 2 * n + 1
    points = (radius_grid(side, 2, device) <= reach / step + 1e-6).nonzero() - n
    return points.flip(1).float() * step


def shift_spread(shift: Tensor, space: SearchSpace) -> float | None:
    """Return the spread of the shifts found so far, never narrower than a tenth of the range; None at first."""
    if space.shift_range == 0 or not bool(shift.any()):
        return None
    return max(float(shift.square().mean().sqrt()), 0.1 * space.shift_range)
