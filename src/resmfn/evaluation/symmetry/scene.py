"""The maps whose symmetry is asked for on their working grids, and what turned copies of them are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.alignment.map_alignment import molecule_radius
from resmfn.evaluation.symmetry.copies import TurnedCopies
from resmfn.fourier import centered_indices, fftn_centered, low_pass, resize_map, shell_average, soft_sphere
from resmfn.rotations import random_rotations

WORK_BOX, SEARCH_BOX = 128, 48
"""Larger boxes are compared, and searched for axes, at these sizes."""
SMALLEST_BOX = 24
MASK_RADIUS, MASK_EDGE = 0.42, 0.06
"""Sphere that is looked into, as fractions of the box."""
AGREES = 0.8
"""Share of the half maps' agreement that copies must reach in every band. Half of the fourfold copies of a ring with
one odd subunit in four fit, three quarters of those of a ring with one odd in eight."""
PARTLY = 0.5
"""The same share for a pseudo-symmetry. A random turn of a globular molecule falls below it within few shells."""
ALONE = 0.5
"""Correlation down to which copies of a single map count as alike; there is nothing to compare it with."""
HALF_MAP = 0.3
"""Correlation of half maps down to which bands are judged: below, both curves are mostly noise."""
OWN_POWER = 0.5
"""Share of the power of a shell within the sphere that the map must have had there before: what is more leaked through
the sphere's edge from other shells. A map that ends at 13 Å correlates at 6 Å with its copies to 0.9 by that alone."""
LEAST_RISE = 0.15
"""By which copies must correlate better than random turns, over the shells judged, in what is not the same in all
directions: random turns of apoferritin correlate to 0.6, for it is a hollow sphere, and its copies to little more."""
N_RANDOM = 60


@dataclass(frozen=True)
class Scene:
    """The maps on their working grids, and what copies are compared with."""

    small: Tensor
    copies: TurnedCopies
    reference: Tensor
    """(shells,): correlation of the half maps; 1 of a single map."""
    random: Tensor
    """(turns, shells)."""
    random_directional: Tensor
    """(shells,): the mean of the same, without what is the same in all directions."""
    offset: Tensor
    """Å: where the center of the working grids lies in the map."""
    pixel_size: float
    side: float
    has_halves: bool
    limit: int
    """Last shell that is judged."""
    diameter: float

    def reach(self, curve: Tensor, share: float) -> int:
        """Return the last shell to which copies with this correlation reach a share of the half maps' agreement."""
        floor = self.reference * (share if self.has_halves else ALONE)
        ok = _smooth(curve)[: self.limit + 1] >= _smooth(floor)[: self.limit + 1]
        bad = (~ok[2:]).nonzero()
        return self.limit if len(bad) == 0 else int(bad[0]) + 1

    @property
    def scale(self) -> float:
        """Voxels of the comparison in one of the search."""
        return self.copies.box_size / self.small.shape[0]

    def rises(self, rotation: Tensor, center: Tensor, last: int) -> bool:
        """Say whether the copy by a turn R (3, 3) about c (3,) agrees better than random turns, to the last shell."""
        shells = slice(2, max(last, 4) + 1)
        curve = self.copies.turned(rotation[None], center, radial=False)[0]
        return float((curve - self.random_directional)[shells].mean()) > LEAST_RISE


def make_scene(
    volume: Tensor,
    pixel_size: float,
    halves: tuple[Tensor, Tensor] | None,
    mask_diameter: float | None,
    generator: torch.Generator,
) -> Scene:
    """Bring maps to their grids, centered on the molecule and masked by a sphere; see :func:`find_symmetry`."""
    side = volume.shape[0] * pixel_size
    size = min(volume.shape[0], WORK_BOX)
    maps = [resize_map(v.detach().cpu().to(volume.dtype), size) for v in (volume, *(halves or ()))]
    pixel = side / size
    radius = MASK_RADIUS * size if mask_diameter is None else min(mask_diameter / 2 / pixel, MASK_RADIUS * size)
    mask = soft_sphere(size, radius, MASK_EDGE * size)
    center = _center_of_mass(maps[0], mask)
    maps = [torch.roll(v, tuple((-center).flip(0).tolist()), (0, 1, 2)) for v in maps]
    whole, maps = maps, [(v - (v * mask).sum() / mask.sum()) * mask for v in maps]
    first, second = (maps[0], maps[0]) if halves is None else (maps[1], maps[2])
    last = size // 2 - 1
    copies = TurnedCopies(first, second, last)
    turns = random_rotations(N_RANDOM, generator=generator, dtype=torch.float64)
    reference = copies.halves() if halves is not None else torch.ones(last + 1, dtype=torch.float64)
    low = (_smooth(reference)[1:] < HALF_MAP).nonzero()[:, 0].tolist()
    own = [_last_of_its_own(before, after) for before, after in zip(whole, maps, strict=True)]
    limit = max(4, min(last, *own, *low[:1]))
    smaller = resize_map(maps[0], min(size, SEARCH_BOX))
    diameter = 2 * molecule_radius(low_pass(maps[0], size / 8, 2.0)) * pixel
    return Scene(
        smaller, copies, reference, copies.turned(turns, torch.zeros(3)),
        copies.turned(turns, torch.zeros(3), radial=False).mean(0), center * pixel, pixel, side, halves is not None,
        limit, diameter,
    )  # fmt: skip


def _smooth(curve: Tensor) -> Tensor:
    """Mean of each shell and its two neighbors."""
    padded = torch.cat((curve[:1], curve, curve[-1:]))
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def _last_of_its_own(whole: Tensor, masked: Tensor) -> int:
    """Return the last shell of a map within a sphere that is not made up of what leaked into it."""
    before, after = (shell_average(fftn_centered(v).abs().square(), len(v)) for v in (whole, masked))
    own = (_smooth(before) >= OWN_POWER * _smooth(after))[: len(whole) // 2]
    return int(own.nonzero()[-1]) if bool(own.any()) else 0


def _center_of_mass(volume: Tensor, mask: Tensor) -> Tensor:
    """Whole voxels (3,) int64, x, y, z: the center of what is bright, which every symmetry leaves in place."""
    smooth = low_pass(volume, volume.shape[0] / 8, 2.0) * mask
    bright = (smooth - 0.2 * smooth.max()).clamp(min=0)
    index = centered_indices(volume.shape[0])
    sums = torch.stack([(bright.sum(axes) * index).sum() for axes in ((0, 1), (0, 2), (1, 2))])
    return (sums / bright.sum()).round().long()
