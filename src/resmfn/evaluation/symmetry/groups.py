"""Point groups laid onto the axes of a map: which groups two axes allow, and how the map then lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from resmfn.evaluation.symmetry.axes import Axis
from resmfn.rotations import log_so3, point_group

ANGLE_SLACK_DEG = 5.0
"""Between two axes of a map, from the angle that a group asks for."""


@dataclass(frozen=True)
class Placed:
    """A point group as it lies in a map: its elements are F S F^T, S the group in RELION's setting."""

    name: str
    frame: Tensor
    """F, (3, 3) float64, proper: what lies along RELION's z in the group lies along F z in the map."""

    def elements(self) -> Tensor:
        """All turns but the identity, (m - 1, 3, 3) float64."""
        return self.frame @ point_group(self.name)[1:] @ self.frame.T

    @property
    def size(self) -> int:
        """How many turns the group has."""
        return len(point_group(self.name))


@cache
def lines_of(name: str) -> tuple[Tensor, list[int]]:
    """Return the axes of a group: unit vectors (l, 3), one of each line, and the highest order of each."""
    vectors = log_so3(point_group(name)[1:])
    lines: list[Tensor] = []
    counts: list[int] = []
    for vector in vectors / vectors.norm(dim=1, keepdim=True):
        same = [i for i, line in enumerate(lines) if abs(float(line @ vector)) > 1 - 1e-6]
        if same:
            counts[same[0]] += 1
        else:
            lines.append(vector)
            counts.append(1)
    return torch.stack(lines), [count + 1 for count in counts]


def placements(axes: Sequence[Axis]) -> Iterator[Placed]:
    """Yield every group that an axis, or two axes of a map at the right angle, allow, as it would lie.

    Parameters
    ----------
    axes
        Of any order; on a line with several orders the highest counts.

    Yields
    ------
    Placed
        Cn for each axis; Dn, T, O and I for each pair that fits.
    """
    for axis in axes:
        yield Placed(f"C{axis.order}", _turn_onto(axis.direction))
    for i, first in enumerate(axes):
        for second in axes[i + 1 :]:
            yield from _of_pair(first, second)


def _of_pair(first: Axis, second: Axis) -> Iterator[Placed]:
    if first.order < second.order:
        first, second = second, first
    names = ["T", "O", "I"] + ([f"D{first.order}"] if second.order == 2 else [])
    for name in names:
        lines, orders = lines_of(name)
        start = next((k for k, order in enumerate(orders) if order == first.order), None)
        if start is None:
            continue
        cosine = float(first.direction @ second.direction)
        for k, order in enumerate(orders):
            wanted = max(-1.0, min(1.0, float(lines[start] @ lines[k])))
            for sign in (1, -1):
                off = math.degrees(abs(math.acos(max(-1, min(1, sign * cosine))) - math.acos(wanted)))
                if k != start and order == second.order and off < ANGLE_SLACK_DEG:
                    frame = _frame(lines[start], lines[k], first.direction, sign * second.direction)
                    yield Placed(name, frame)
                    break
            else:
                continue
            break  # other lines of this order at this angle are the same placement, or its copy


def _frame(a: Tensor, b: Tensor, onto_a: Tensor, onto_b: Tensor) -> Tensor:
    """Return the rotation that takes a onto onto_a, and b into the half plane of onto_b."""

    def basis(u: Tensor, v: Tensor) -> Tensor:
        w = torch.linalg.cross(u, v)
        w = w / w.norm()
        return torch.stack((u, torch.linalg.cross(w, u), w), dim=1)

    return basis(onto_a, onto_b) @ basis(a, b).T


def _turn_onto(direction: Tensor) -> Tensor:
    """Return the smallest rotation that takes z onto a direction (3,)."""
    z = direction.new_tensor([0.0, 0.0, 1.0])
    if float(direction[2]) < 0:
        direction = -direction  # an axis has no sign: the smaller turn
    cross = torch.linalg.cross(z, direction)
    k = direction.new_zeros(3, 3)
    k[0, 1], k[0, 2], k[1, 0], k[1, 2], k[2, 0], k[2, 1] = (
        -cross[2], cross[1], cross[2], -cross[0], -cross[1], cross[0],
    )  # fmt: skip
    return torch.eye(3, dtype=direction.dtype) + k + k @ k / (1 + float(direction[2]))
