"""The maps whose symmetry is asked for on their working grids, and what turned copies of them are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError
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
LEAST_BRIGHT = 0.1
"""Highest value of a coarse map above its solvent, as a share of the largest below or above, that is not chance."""
RADIAL_STEP = 0.5
"""Voxels between the spheres that a map is averaged over."""


@dataclass(frozen=True)
class Scene:
    """The maps on their working grids, and what copies are compared with."""

    small: Tensor
    copies: TurnedCopies
    reference: Tensor
    """(shells,): correlation of the half maps; 1 of a single map."""
    random: Tensor
    """(turns, shells)."""
    directional: TurnedCopies
    """Of the maps less their mean over each sphere about the center. Every turn leaves that mean in place: it says
    nothing of a symmetry, and is nearly all of a hollow sphere."""
    directional_random: Tensor
    """(shells,): mean correlation of the same random turns of these."""
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

    def rises(self, directional: Tensor, last: int) -> bool:
        """Say whether each copy, by its curve of :attr:`directional` (m, shells), beats random turns to a shell."""
        shells = slice(2, max(last, 4) + 1)
        return bool(((directional - self.directional_random)[:, shells].mean(1) > LEAST_RISE).all())

    def is_as_alike_as_halves(self, directional: Tensor) -> bool:
        """Say whether copies, by their correlation of :attr:`directional` (m, shells), agree as well as half maps do.

        Where half maps agree in nothing but what is the same in all directions, there is nothing to judge.
        """
        judged = slice(2, self.limit + 1)
        halves, curves = _smooth(self.directional.halves())[judged], _smooth(directional)[:, judged]
        return bool(((curves >= AGREES * halves) | (halves < HALF_MAP)).all())


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
    exact = _center_of_mass(maps[0], mask)
    center = exact.round().long()
    maps = [torch.roll(v, tuple((-center).flip(0).tolist()), (0, 1, 2)) for v in maps]
    whole, maps = maps, [(v - (v * mask).sum() / mask.sum()) * mask for v in maps]
    last = size // 2 - 1
    copies = _copies_of(maps, last)
    directional = _copies_of([_without_radial_mean(v, exact - center) * mask for v in whole], last)
    turns, origin = random_rotations(N_RANDOM, generator=generator, dtype=torch.float64), torch.zeros(3)
    reference = copies.halves() if halves is not None else torch.ones(last + 1, dtype=torch.float64)
    low = (_smooth(reference)[1:] < HALF_MAP).nonzero()[:, 0].tolist()
    own = [_last_of_its_own(before, after) for before, after in zip(whole, maps, strict=True)]
    limit = max(4, min(last, *own, *low[:1]))
    smaller = resize_map(_without_radial_mean(whole[0], exact - center) * mask, min(size, SEARCH_BOX))
    diameter = 2 * molecule_radius(low_pass(maps[0], size / 8, 2.0)) * pixel
    return Scene(
        smaller, copies, reference, copies.turned(turns, origin), directional,
        directional.turned(turns, origin).mean(0), center * pixel, pixel, side, halves is not None, limit, diameter,
    )  # fmt: skip


def _copies_of(maps: list[Tensor], last: int) -> TurnedCopies:
    """Compare the half maps, or a single map with itself."""
    return TurnedCopies(maps[min(1, len(maps) - 1)], maps[-1], last)


def _without_radial_mean(volume: Tensor, center: Tensor) -> Tensor:
    """Return a map less its mean over each sphere about a point (3,), voxels x, y, z from the origin."""
    index = centered_indices(volume.shape[0]).to(volume)
    x, y, z = (index - c for c in center)
    place = (x.square() + y[:, None].square() + z[:, None, None].square()).sqrt() / RADIAL_STEP
    below = place.long()
    above = place - below
    n = int(below.max()) + 2
    sums = torch.zeros(2, n).to(volume)
    for bins, weight in ((below, 1 - above), (below + 1, above)):
        sums.index_add_(1, bins.flatten(), torch.stack((weight * volume, weight)).flatten(1))
    profile = sums[0] / sums[1].clamp_min(1e-6)
    return volume - (profile[below] * (1 - above) + profile[below + 1] * above)


def _smooth(curves: Tensor) -> Tensor:
    """Mean of each shell (..., shells) and its two neighbors."""
    padded = torch.cat((curves[..., :1], curves, curves[..., -1:]), dim=-1)
    return (padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]) / 3


def _last_of_its_own(whole: Tensor, masked: Tensor) -> int:
    """Return the last shell of a map within a sphere that is not made up of what leaked into it."""
    before, after = (shell_average(fftn_centered(v).abs().square(), len(v)) for v in (whole, masked))
    own = (_smooth(before) >= OWN_POWER * _smooth(after))[: len(whole) // 2]
    return int(own.nonzero()[-1]) if bool(own.any()) else 0


def _center_of_mass(volume: Tensor, mask: Tensor) -> Tensor:
    """Voxels (3,), x, y, z: the center of what is brighter than the solvent, which every symmetry leaves in place."""
    smooth = low_pass(volume, volume.shape[0] / 8, 2.0)
    smooth = (smooth - smooth[(mask > 0) & (mask < 1)].median()) * mask  # the sphere's rim shows the solvent
    if not bool(smooth.max() > LEAST_BRIGHT * smooth.abs().max()):
        raise ResmfnError(
            "the map must be brighter inside the sphere that is looked into than at its rim, and is nowhere; invert "
            "its contrast, or give another --mask-diameter"
        )
    bright = (smooth - 0.2 * smooth.max()).clamp(min=0)
    index = centered_indices(volume.shape[0])
    sums = torch.stack([(bright.sum(axes) * index).sum() for axes in ((0, 1), (0, 2), (1, 2))])
    return sums / bright.sum()
