"""Rotational point groups, oriented as in RELION: the same axes as ``relion_refine --print_symmetry_ops`` prints.

A map V has a symmetry if ``V(S r) = V(r)`` for every matrix S of the group; a pose A then gives the same image as
``A S``. Groups are grown from two generators each.
"""

from __future__ import annotations

import math
import re
from functools import cache

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError

_GOLDEN = (1 + math.sqrt(5)) / 2
_CYCLIC = re.compile(r"([CD])([1-9][0-9]?)")
_Axis = tuple[float, float, float, int]
"""x, y, z of an axis, and its order."""
_AXES: dict[str, tuple[_Axis, _Axis]] = {
    "T": ((0, 0, 1, 3), (0, math.sqrt(2 / 3), math.sqrt(1 / 3), 2)),
    "O": ((0, 0, 1, 4), (1, 1, 1, 3)),
    "I1": ((0, 1, _GOLDEN, 5), (1, 1, 1, 3)),
    "I2": ((1, 0, _GOLDEN, 5), (1, 1, 1, 3)),
    "I3": ((0, 0, 1, 5), (2, 0, -1, 5)),
    "I4": ((0, 0, 1, 5), (2, 0, 1, 5)),
}
_SAME = 1e-6


@cache
def point_group(name: str) -> Tensor:
    """Return the matrices (m, 3, 3) float64 of a point group, the identity first; not to be written to.

    Parameters
    ----------
    name
        C1, C2, ... C99; D1 ... D99 (n-fold axis along z, a twofold one along x); T (threefold along z); O (fourfold
        along the axes); I1, I2, I3, I4, or I for I2 (twofold axes along x, y and z). Either case.

    Raises
    ------
    ResmfnError
        The name is none of these.
    """
    wanted = name.strip().upper()
    cyclic = _CYCLIC.fullmatch(wanted)
    axes: tuple[_Axis, ...]
    if cyclic is not None:
        around_z = (0, 0, 1, int(cyclic[2]))
        axes = (around_z,) if cyclic[1] == "C" else (around_z, (1, 0, 0, 2))
    elif wanted in (*_AXES, "I"):
        axes = _AXES["I2" if wanted == "I" else wanted]
    else:
        raise ResmfnError(f"a point group must be C1 to C99, D1 to D99, T, O, I or I1 to I4, got {name!r}")
    return _grown([_turn(axis) for axis in axes])


def asymmetric_unit(rotation: Tensor, group: Tensor) -> Tensor:
    """Return which poses (n, 3, 3) are, among their symmetric copies, the nearest to the identity; bool (n,).

    One in as many as the group has elements: of a fine grid of poses, those that a search needs to try.
    """
    # The angle of a rotation falls as its trace grows.
    traces = torch.einsum("nij,gji->ng", rotation, group.to(rotation))
    return traces[:, 0] >= traces.amax(dim=1) - _SAME


def _turn(axis: _Axis) -> Tensor:
    """Return the smallest rotation about an axis, by Rodrigues' formula."""
    x, y, z = (torch.tensor(axis[:3], dtype=torch.float64) / math.hypot(*axis[:3])).tolist()
    angle = 2 * math.pi / axis[3]
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _grown(generators: list[Tensor]) -> Tensor:
    """Multiply until the group is closed."""
    group = [torch.eye(3, dtype=torch.float64)]
    for element in group:  # grows while it is walked
        for generator in generators:
            product = element @ generator
            if all(float((product - known).abs().max()) > _SAME for known in group):
                group.append(product)
    return torch.stack(group)
