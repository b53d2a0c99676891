"""Axes of a map: turns of 360 / n degrees after which it looks much like itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.alignment.rotation_search import Candidates, MapPair, ball, refine
from resmfn.evaluation.views import fibonacci_half_sphere
from resmfn.rotations import exp_so3, log_so3

PRIMES = (2, 3, 5, 7, 11, 13)
"""Every point group but C1 has an axis of prime order; orders that are not prime are tried on the lines found."""
N_AXES = 800
"""Directions tried over the half sphere, some 5 degrees apart."""
KEEP = 5
"""Of each order, the best that are this far apart."""
SEPARATION_DEG = 14.0
"""Twofold axes of D12 lie 15 degrees apart."""
REACH = 0.12
"""Of the box: how far a turn about the molecule's center may miss, where an odd subunit has moved that center."""
CHUNK = 256
STEPS = 6
MOST_SEARCHED, MOST_POINTS = 1200, 2500
"""The search, and a refinement, look at no more coefficients than this, evenly thinned."""
LEAST_SCORE = 0.25
"""Of whitened coefficients in the band of the search; at 0.1 lie the best turns of maps without a symmetry."""
ANGLE_SLACK_DEG = 4.0
"""A turn that ends farther from 360 / n than this has run away to another maximum."""


@dataclass(frozen=True)
class Axis:
    """A turn that a map may have as a symmetry."""

    order: int
    """n: the angle is 360 / n degrees."""
    direction: Tensor
    """Unit vector x, y, z, (3,) float64."""
    translation: Tensor
    """(R - 1) c in voxels, (3,) float64: how a copy moves as the axis passes through c and not the origin."""
    score: float
    """Weighted correlation of whitened coefficients inside the band of the search."""

    def rotation(self) -> Tensor:
        """R, (3, 3)."""
        return exp_so3(self.direction * (2 * math.pi / self.order))


def search_axes(volume: Tensor, radius: float, radius_fine: float, primes: tuple[int, ...] = PRIMES) -> list[Axis]:
    """Find, for each prime order, the axes about which a turned map is most like itself.

    Parameters
    ----------
    volume
        (N, N, N), centered and masked by a sphere.
    radius
        Band in which all directions are tried, Fourier pixels.
    radius_fine
        Band in which the best are refined.
    primes
        Orders.

    Returns
    -------
    list[Axis]
        At most :data:`KEEP` of each order, the best first.
    """
    pair = MapPair(volume, volume)
    points = pair.points(1.0, radius)
    points = points[:: -(-len(points) // MOST_SEARCHED)]
    directions = fibonacci_half_sphere(N_AXES).to(volume)
    shifts = ball(REACH * volume.shape[-1], step=volume.shape[-1] / (3 * radius)).to(volume)
    starts = [_best(pair, directions, shifts, points, order) for order in primes]
    found = Candidates(
        torch.cat([rotation for rotation, _ in starts]),
        torch.cat([translation for _, translation in starts]),
        torch.ones(len(primes) * KEEP, dtype=torch.int64),
        volume.new_zeros(len(primes) * KEEP),
    )
    orders = torch.tensor(primes).repeat_interleave(KEEP)
    for band in (radius, radius_fine):
        found = _refined(pair, found, band)
        alike = found.score >= (LEAST_SCORE if band == radius else -1.0)
        found, orders = found.select(alike), orders[alike]
    axes = []
    for i, order in enumerate(orders.tolist()):
        vector = log_so3(found.rotation[i].double())
        angle = float(torch.rad2deg(vector.norm()))
        if abs(angle - 360 / order) <= ANGLE_SLACK_DEG:
            axes.append(Axis(order, vector / vector.norm(), found.translation[i].double(), float(found.score[i])))
    return _distinct(axes)


def refined_turns(volume: Tensor, rotation: Tensor, center: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Climb from turns R (m, 3, 3) about c (3,) to the nearest maxima; R (m, 3, 3) and (R - 1) c (m, 3), float64."""
    pair = MapPair(volume, volume)
    rotation, center = rotation.to(volume), center.to(volume)
    start = Candidates(
        rotation,
        rotation @ center - center,
        torch.ones(len(rotation), dtype=torch.int64),
        volume.new_zeros(len(rotation)),
    )
    found = _refined(pair, start, radius)
    return found.rotation.double(), found.translation.double()


def _refined(pair: MapPair, candidates: Candidates, radius: float) -> Candidates:
    """Climb from every candidate; nothing to climb from is nothing found."""
    if len(candidates.score) == 0:
        return candidates
    points = pair.points(1.0, radius)
    points = points[:: -(-len(points) // MOST_POINTS)]
    return refine(pair, candidates, points, torch.ones_like(points[:, 0]), STEPS)


def center_of(rotation: Tensor, translation: Tensor) -> Tensor:
    """Return the point c (3,) nearest the origin that (R - 1) c = t of all turns (m, 3, 3), (m, 3) leave in place."""
    system = (rotation - torch.eye(3, dtype=rotation.dtype)).reshape(-1, 3)
    return torch.linalg.lstsq(system, translation.reshape(-1, 1), driver="gelsd", rcond=1e-3).solution[:, 0]


def _best(pair: MapPair, directions: Tensor, shifts: Tensor, points: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Turns (KEEP, 3, 3) by 360 / order about the best directions, and the best of the shifts (T, 3) of each."""
    rotation = exp_so3(directions * (2 * math.pi / order))
    reference = pair.reference_at(points)
    norm = reference.abs().square().sum()
    phase = 2 * math.pi / pair.box_size * (points @ shifts.T)
    basis = torch.cat((phase.cos(), -phase.sin()))
    scores, best = [], []
    for chunk in rotation.split(CHUNK):
        moved = pair.moving_at(chunk, points)
        power = (moved.abs().square().sum(-1) * norm).sqrt()
        product = moved * reference.conj()
        found = (torch.cat((product.real, product.imag), -1) @ basis).max(-1)
        scores.append(found.values / power)
        best.append(found.indices)
    ranked = torch.cat(scores).argsort(descending=True)
    near = (directions @ directions.T).abs() > math.cos(math.radians(SEPARATION_DEG))
    free = torch.ones(len(directions), dtype=torch.bool)
    kept: list[int] = []
    for i in ranked.tolist():
        if bool(free[i]) and len(kept) < KEEP:
            kept.append(i)
            free &= ~near[i]
    index = torch.tensor(kept)
    return rotation[index], shifts[torch.cat(best)[index]]


def _distinct(axes: list[Axis]) -> list[Axis]:
    """Drop axes of one order that ended on the same line; the best first."""
    kept: list[Axis] = []
    for axis in sorted(axes, key=lambda axis: -axis.score):
        same = [o for o in kept if o.order == axis.order and abs(float(o.direction @ axis.direction)) > 0.995]
        if not same:
            kept.append(axis)
    return kept
