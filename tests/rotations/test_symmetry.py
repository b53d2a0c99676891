"""Point groups: closed, of the right order, with RELION's axes."""

import subprocess

import pytest
import torch

from resmfn.core import ResmfnError, make_generator
from resmfn.rotations import asymmetric_unit, geodesic_degrees, point_group, random_rotations

ORDERS = {"C1": 1, "C2": 2, "C7": 7, "D1": 2, "D2": 4, "D3": 6, "D7": 14, "T": 12, "O": 24}
ORDERS |= dict.fromkeys(("I", "I1", "I2", "I3", "I4"), 60)


def contains(group: torch.Tensor, matrices: torch.Tensor) -> bool:
    difference = (matrices[:, None] - group).abs().amax(dim=(-2, -1))
    return bool((difference.amin(dim=1) < 1e-4).all())


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_a_group_is_a_group(name: str, order: int) -> None:
    group = point_group(name)
    assert len(group) == order
    assert torch.equal(group[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(group), torch.ones(order, dtype=torch.float64))
    assert contains(group, (group[:, None] @ group).reshape(-1, 3, 3))
    assert contains(group, group.mT)
    apart = (group[:, None] - group).abs().amax(dim=(-2, -1)) + torch.eye(order)
    assert float(apart.min()) > 0.01


@pytest.mark.relion
@pytest.mark.parametrize("name", [name for name in ORDERS if name != "D1"])
def test_the_axes_are_relions(name: str, relion) -> None:
    command = [str(relion / "relion_refine"), "--sym", name, "--print_symmetry_ops"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    starts = [i + 1 for i, line in enumerate(lines) if line.strip().startswith("R(")]
    theirs = torch.tensor([[[float(x) for x in line.split()] for line in lines[i : i + 3]] for i in starts])
    ours = point_group(name)
    assert len(theirs) == len(ours)
    assert contains(ours, theirs.double())
    assert contains(theirs.double(), ours)


def test_names_are_read_in_either_case_and_others_refused() -> None:
    assert torch.equal(point_group(" d3"), point_group("D3"))
    for name in ("", "C0", "C100", "D", "X3", "I5", "C-1", "4"):
        with pytest.raises(ResmfnError, match="a point group must be C1 to C99"):
            point_group(name)


@pytest.mark.parametrize("name", ["C1", "C4", "D2", "T", "I"])
def test_every_pose_has_one_like_it_in_the_asymmetric_unit(name: str) -> None:
    group = point_group(name)
    rotation = random_rotations(400, generator=make_generator(1), dtype=torch.float64)
    alike = rotation[:, None] @ group
    inside = asymmetric_unit(alike.reshape(-1, 3, 3), group).view(400, len(group))
    assert torch.equal(inside.sum(dim=1), torch.ones(400, dtype=torch.int64))
    angle = geodesic_degrees(alike, torch.eye(3, dtype=torch.float64))
    assert torch.equal(angle.argmin(dim=1), inside.int().argmax(dim=1))
