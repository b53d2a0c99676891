"""Which point group a map has, and to which resolution."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError, ShapeError
from resmfn.evaluation.symmetry.axes import Axis, center_of, refined_turns, search_axes
from resmfn.evaluation.symmetry.groups import Placed, placements
from resmfn.evaluation.symmetry.scene import AGREES, PARTLY, SMALLEST_BOX, Scene, make_scene
from resmfn.rotations import exp_so3, log_so3, point_group

MOST_ORDER = 24
"""Highest order of an axis that is tried."""
LEAST_DETAIL = 5.0
"""Of a molecule's diameter, how many resolution elements copies must agree in before that is called a symmetry of any
kind: at lower resolution every ellipsoid has D2, every rod any Cn."""
SAME_REACH = 1.15
"""Groups that hold about as far: the larger is named."""
MOST_AXES = 12
"""Of a map, from which groups are put together."""
MOST_ELEMENTS = 8
"""Of a group, that a first look at it takes."""
N_BANDS = 6


@dataclass(frozen=True)
class Band:
    """Shells taken together."""

    resolution: float
    """Å, the finer end."""
    halves: float | None
    """Correlation of the half maps; None of a single map."""
    copies: float
    """Mean correlation of the copies."""
    worst: float
    """Correlation of the copy that agrees least."""
    random: float
    """Mean correlation of random turns of the map."""
    random_spread: float
    """Their standard deviation."""


@dataclass(frozen=True)
class GroupFit:
    """How far a map has a point group."""

    name: str
    """As RELION calls it."""
    frame: Tensor
    """(3, 3): columns are where the group's x, y and z axes in RELION's setting lie in the map."""
    center: Tensor
    """Å, x, y, z from voxel N // 2, (3,): the point that stays in place."""
    resolution: float
    """Å, to which the copy that agrees least agrees at least half as well as the half maps do."""
    agreement: float
    """Correlation of the worst copy over that of the half maps (of a single map: over 1), all shells judged."""
    holds: bool = True
    """Whether that copy agrees as well as the half maps do, to the last band that is judged."""
    bands: tuple[Band, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under their documented keys (docs/symmetry.md); JSON types only."""
        return {
            "name": self.name,
            "resolution": self.resolution,
            "agreement": self.agreement,
            "frame": self.frame.tolist(),
            "center": self.center.tolist(),
            "bands": [asdict(band) for band in self.bands],
        }


@dataclass(frozen=True)
class SymmetryResult:
    """What a map says of its symmetry."""

    group: GroupFit
    """The largest group that holds to the limit; C1 where there is none."""
    pseudo: GroupFit | None
    """A larger group whose copies agree, but less well than the half maps do; None where there is none."""
    limit: float
    """Å, down to which there was something to judge."""
    diameter: float
    """Å, of a ball with the molecule's radius of gyration."""
    has_halves: bool
    axes: tuple[Axis, ...]
    """Turns after which the map looks much like itself, the best first; translations in voxels of the search."""

    @property
    def is_decidable(self) -> bool:
        """Whether there is enough detail to speak of a symmetry at all."""
        return self.limit * LEAST_DETAIL <= self.diameter

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under their documented keys (docs/symmetry.md); JSON types only."""
        return {
            "is_decidable": self.is_decidable,
            "group": self.group.to_dict(),
            "pseudo": None if self.pseudo is None else self.pseudo.to_dict(),
            "limit": self.limit,
            "diameter": self.diameter,
            "has_halves": self.has_halves,
            "axes": [
                {"order": axis.order, "direction": axis.direction.tolist(), "score": axis.score} for axis in self.axes
            ],
        }


def find_symmetry(
    volume: Tensor,
    pixel_size: float,
    halves: tuple[Tensor, Tensor] | None = None,
    *,
    mask_diameter: float | None = None,
    generator: torch.Generator,
) -> SymmetryResult:
    """Find the point group of a map.

    Parameters
    ----------
    volume
        (N, N, N).
    pixel_size
        Å.
    halves
        Its half maps, (N, N, N) each: they tell noise from asymmetry.
    mask_diameter
        Å, of the sphere that is looked into, about the molecule's center; by default 0.84 of the box.
    generator
        Draws the random turns.

    Raises
    ------
    ShapeError, ResmfnError
        If maps are no cubes of one size, or constant.
    """
    _require_maps(volume, halves)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # many small operations gain nothing from more
    try:
        return _find(volume, pixel_size, halves, mask_diameter, generator)
    finally:
        torch.set_num_threads(before)


def _find(
    volume: Tensor,
    pixel_size: float,
    halves: tuple[Tensor, Tensor] | None,
    mask_diameter: float | None,
    generator: torch.Generator,
) -> SymmetryResult:
    scene = make_scene(volume, pixel_size, halves, mask_diameter, generator)
    detail = LEAST_DETAIL * scene.side / scene.diameter
    radius = min(max(detail, 6.0), 14.0, scene.small.shape[0] / 2 - 3)
    axes = search_axes(scene.small, radius, min(1.6 * radius, scene.small.shape[0] / 2 - 2))
    alike = [axis for axis in axes if scene.reach(_curve(scene, axis)[0], PARTLY) >= detail]
    pool = _with_multiples(scene, alike, detail)
    fits: list[GroupFit] = []
    seen: list[Placed] = []
    for placed in sorted(placements(pool), key=lambda placed: -placed.size):
        if any(_same(placed, other) for other in seen):
            continue
        seen.append(placed)
        fit = _fit(scene, placed, pool, detail)
        if fit is not None:
            fits.append(fit)
            if fit.holds:
                break  # what follows is no larger
    return _chosen(scene, fits, alike)


def _chosen(scene: Scene, fits: list[GroupFit], axes: list[Axis]) -> SymmetryResult:
    """Take the group that holds to the limit and, of the larger ones that do not, the one that holds farthest."""
    limit = scene.side / scene.limit
    true = [fit for fit in fits if fit.holds]
    partial = [fit for fit in fits if not fit.holds]
    none = GroupFit("C1", torch.eye(3, dtype=torch.float64), scene.offset, limit, 1.0, True)
    finest = min((fit.resolution for fit in partial), default=0.0)
    near = [fit for fit in partial if fit.resolution <= SAME_REACH * finest]
    pseudo = max(near, key=lambda fit: len(point_group(fit.name)), default=None)
    return SymmetryResult(true[0] if true else none, pseudo, limit, scene.diameter, scene.has_halves, tuple(axes))


def _curve(scene: Scene, axis: Axis) -> Tensor:
    """Correlation of the copy about one axis, (1, shells)."""
    center = center_of(axis.rotation()[None], axis.translation[None]) * scene.scale
    return scene.copies.turned(axis.rotation()[None], center)


def _with_multiples(scene: Scene, axes: list[Axis], least: float) -> list[Axis]:
    """Add, on each line, the higher orders whose smallest turn leaves the map alike; the best axes of all."""
    reached = []
    for axis in axes:
        center = center_of(axis.rotation()[None], axis.translation[None])
        for order in range(axis.order, MOST_ORDER + 1, axis.order):
            turn = exp_so3(axis.direction * (2 * math.pi / order))
            curve = scene.copies.turned(turn[None], center * scene.scale)[0]
            last = scene.reach(curve, PARTLY)
            directional = scene.directional.turned(turn[None], center * scene.scale)
            if last >= least and scene.rises(directional, last):
                reached.append((last, axis.score, replace(axis, order=order, translation=turn @ center - center)))
    reached.sort(key=lambda entry: entry[:2], reverse=True)
    return [axis for _, _, axis in reached[:MOST_AXES]]


def _fit(scene: Scene, placed: Placed, pool: list[Axis], detail: float) -> GroupFit | None:
    """Refine how a group lies, and judge it; None where it does not even hold coarsely."""
    elements = placed.elements()
    rough = _pool_center(placed, pool)
    chosen = elements[torch.linspace(0, len(elements) - 1, min(MOST_ELEMENTS, len(elements))).round().long()]
    if scene.reach(scene.copies.turned(chosen, rough * scene.scale).mean(0), PARTLY) < 0.5 * detail:
        return None
    radius = min(scene.small.shape[0] / 2 - 2, float(scene.limit))
    turns, translation = refined_turns(scene.small, chosen, rough, radius)
    placed = Placed(placed.name, _corrected(chosen, turns) @ placed.frame)
    center = center_of(turns, translation) * scene.scale
    curves = scene.copies.turned(placed.elements(), center)
    judged = slice(2, scene.limit + 1)
    shares = curves[:, judged].sum(1) / scene.reference[judged].sum()
    least = int(shares.argmin())
    worst = curves[least]
    directional = scene.directional.turned(placed.elements(), center)
    alone = range(len(curves)) if len(curves) < 8 else [least]
    last, whole = (min(scene.reach(curves[i], share) for i in alone) for share in (PARTLY, AGREES))
    nearly = last >= detail and float(shares.min()) >= PARTLY
    if not (nearly or whole >= detail) or not scene.rises(directional, last):
        return None
    holds = scene.is_as_alike_as_halves(directional[list(alone)]) if scene.has_halves else whole == scene.limit
    return GroupFit(
        placed.name,
        placed.frame,
        scene.offset + center * scene.pixel_size,
        scene.side / last,
        float(shares.min()),
        holds,
        _bands(scene, curves, worst),
    )


def _pool_center(placed: Placed, pool: list[Axis]) -> Tensor:
    """Return the point that the map's own axes which belong to a group leave in place, voxels of the search."""
    elements = placed.elements()
    own = [axis for axis in pool if float((elements - axis.rotation()).abs().amax((1, 2)).min()) < 0.15]
    if not own:
        return torch.zeros(3, dtype=torch.float64)
    return center_of(torch.stack([a.rotation() for a in own]), torch.stack([a.translation for a in own]))


def _corrected(before: Tensor, after: Tensor) -> Tensor:
    """Return the rotation (3, 3) that takes the axes of some turns (m, 3, 3) onto those that they were refined to."""
    old, new = (v / v.norm(dim=1, keepdim=True) for v in (log_so3(before), log_so3(after)))
    new = new * (old * new).sum(1, keepdim=True).sign()
    # A little of the identity keeps the turn about a single axis, which it cannot tell, where it was.
    u, _, vh = torch.linalg.svd(torch.einsum("mi,mj->ij", new, old) + 1e-3 * torch.eye(3, dtype=old.dtype))
    sign = torch.tensor([1.0, 1.0, float(torch.sign(torch.linalg.det(u @ vh)))], dtype=old.dtype)
    return (u * sign) @ vh


def _bands(scene: Scene, curves: Tensor, worst: Tensor) -> tuple[Band, ...]:
    edges = torch.linspace(1, scene.limit, min(N_BANDS, scene.limit - 1) + 1).round().long().tolist()
    found = []
    for low, high in pairwise(edges):
        shells = slice(low + 1, high + 1)
        turned = scene.random[:, shells].mean(1)
        found.append(
            Band(
                scene.side / high,
                float(scene.reference[shells].mean()) if scene.has_halves else None,
                float(curves[:, shells].mean()),
                float(worst[shells].mean()),
                float(turned.mean()),
                float(turned.std()),
            )
        )
    return tuple(found)


def _same(a: Placed, b: Placed) -> bool:
    """Say whether two placements of a group are one."""
    if a.name != b.name:
        return False
    distance = (a.elements()[:, None] - b.elements()[None]).abs().amax((2, 3))
    return float(distance.amin(1).max()) < 0.2


def _require_maps(volume: Tensor, halves: tuple[Tensor, Tensor] | None) -> None:
    for name, v in zip(("map", "first half map", "second half map"), (volume, *(halves or ())), strict=False):
        if v.ndim != 3 or len(set(v.shape)) != 1 or v.shape != volume.shape:
            raise ShapeError(f"maps must be cubes of one size, the {name} has shape {tuple(v.shape)}")
        if v.shape[0] < SMALLEST_BOX:
            raise ShapeError(f"a map needs {SMALLEST_BOX} voxels a side for its symmetry to be told, got {v.shape[0]}")
        if not bool(v.isfinite().all()) or float(v.max()) == float(v.min()):
            raise ResmfnError(f"the {name} is constant or not finite: it has no symmetry to be found")
