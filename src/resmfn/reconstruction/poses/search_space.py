"""Where poses are searched: rotations by the map's symmetry, shifts on grids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.fourier import radius_grid
from resmfn.reconstruction.config import ScorePrecision
from resmfn.reconstruction.images.observations import Observations

STEP_SHARE = 0.19
"""Spacing of the shift grid, as a share of the shortest wavelength in the band."""

FINER = 2
"""Shifts that are found apart from rotations cost next to nothing: their grid is so many times finer."""


WITHIN_EXTENT = 0.98
"""Share of the power of a map's positive density within its extent. Of three kinases at 24 Å in a mask of 130 Å that
makes spheres of 40 to 44 Å; they are told apart within 38 and within 45 Å, within 65 Å they are not."""
BEYOND_NOISE = 3.0
"""Standard deviations of the sum of a shell's signed squares, if each voxel's sign were by chance, that density is
beyond; voxels of a coarse map are not independent, so that noise reaches it where it would reach 1.5. In the map of 798
images, most of them of closed adenylate kinase (30 Å), noise within a mask of 65 Å holds 17 % of the power."""
BEYOND_EXTENT = 1.2
"""Radius that is searched, over the extent of the coarse map: where a mask fits the particle, the mask's own. In a mask
of 65 Å, whose bands are so much coarser, 785 images of closed adenylate kinase (30 Å) come to 10.1 Å and 17 degrees; in
one of 42 Å to 4.7 Å and 6 degrees."""


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

    def around(self, volume: Tensor, box_size: int) -> SearchSpace:
        """Return the search of what is as large as a coarse map (M, M, M), where the mask leaves much around it."""
        extent = BEYOND_EXTENT * extent_of_map(volume, self, box_size)
        return replace(self, mask_radius=min(self.mask_radius, extent))


def extent_of_map(volume: Tensor, space: SearchSpace, box_size: int) -> float:
    """Return the radius, in pixels of the images, of a sphere around the center that holds the density of a map.

    Noise is as often negative as positive. From the shell of most power outward density ends with the first shell that
    is not positive beyond chance; what lies further out is noise or a neighbor. A map without density fills what is
    searched.
    """
    distance, flat = radius_grid(volume.shape[0], 3, volume.device).flatten(), volume.flatten()
    shell, signed = distance.round().long(), flat * flat.abs()
    excess, spread = (torch.zeros(int(shell.max()) + 1, device=flat.device) for _ in range(2))
    excess.index_add_(0, shell, signed)
    spread.index_add_(0, shell, signed.square())
    is_density = excess > BEYOND_NOISE * spread.sqrt()
    if not bool(is_density.any()):
        return space.mask_radius
    densest = int((excess * is_density).argmax())
    end = densest + int(is_density[densest:].long().cumprod(0).sum())
    distance, order = distance.sort()
    power = (flat[order].clamp_min(0).square() * (shell[order] <= end)).cumsum(0)
    holds = distance[int(torch.searchsorted(power, WITHIN_EXTENT * power[-1]))]
    return min(space.mask_radius, (float(holds) + 1) * box_size / volume.shape[0])


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
