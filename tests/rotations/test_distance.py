"""The geodesic angle."""

import pytest
import torch

from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.01, 1.0, 90.0, 179.0, 179.9999, 180.0])
def test_the_angle_between_a_rotation_and_its_turned_self(degrees: float, generator: torch.Generator) -> None:
    start = random_rotations(8, generator=generator, dtype=torch.float64)
    axis = random_rotations(8, generator=generator, dtype=torch.float64)[:, 0]
    turned = exp_so3(torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)) * axis) @ start
    expected = torch.full((8,), degrees, dtype=torch.float64)
    torch.testing.assert_close(geodesic_degrees(start, turned), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(geodesic_degrees(turned, start), expected, rtol=1e-9, atol=1e-9)


def test_the_angle_does_not_change_when_both_turn(generator: torch.Generator) -> None:
    a, b, g = (random_rotations(5, generator=generator, dtype=torch.float64) for _ in range(3))
    torch.testing.assert_close(geodesic_degrees(g @ a, g @ b), geodesic_degrees(a, b))
    torch.testing.assert_close(geodesic_degrees(a @ g, b @ g), geodesic_degrees(a, b))


def test_leading_axes_broadcast(generator: torch.Generator) -> None:
    rotations = random_rotations(4, generator=generator)
    table = geodesic_degrees(rotations[:, None], rotations[None])
    assert table.shape == (4, 4)
    assert table.diagonal().abs().max() < 1e-3
