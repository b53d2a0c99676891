"""The pose steps: exact gradients, images that do not know each other, rotations that stay rotations."""

import pytest
import torch
from torch import Tensor

from resmfn.core import make_generator
from resmfn.fourier import half_plane_pixels
from resmfn.physics.projection import extract_slices, padded_transform
from resmfn.reconstruction.published.poses import PoseSteps, Slices, improve_poses, tangent_gradient
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

BOX, N = 16, 5


@pytest.fixture
def scene() -> tuple[Slices, Tensor, Tensor, Tensor]:
    """Return slices of a map, true poses (n, 3, 3), the images' pixels (n, P) and their CTF, all float64."""
    generator = make_generator(3)
    volume = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    inner = slice(4, 12)
    volume[inner, inner, inner] = torch.rand(8, 8, 8, generator=generator, dtype=torch.float64)
    slices = Slices(padded_transform(volume), half_plane_pixels(5, radius_min=0.5))
    rotation = random_rotations(N, generator=generator, dtype=torch.float64)
    ctf = torch.rand(N, len(slices.pixels), generator=generator, dtype=torch.float64) - 0.3
    return slices, rotation, ctf * extract_slices(slices.transform, rotation, slices.pixels), ctf


def losses(tangent: Tensor, rotation: Tensor, values: Tensor, ctf: Tensor, slices: Slices) -> Tensor:
    predicted = ctf * extract_slices(slices.transform, exp_so3(tangent) @ rotation, slices.pixels)
    return (predicted - values).abs().square().sum(dim=1)


@pytest.mark.parametrize("size", [0.0, 0.4])
def test_gradient_is_that_of_finite_differences(scene, size):
    slices, rotation, values, ctf = scene
    values = values + 0.3 * values.roll(1, 0)
    tangent = size * torch.randn(N, 3, generator=make_generator(4), dtype=torch.float64)
    loss, gradient = tangent_gradient(tangent, rotation, values, ctf, slices)
    torch.testing.assert_close(loss, losses(tangent, rotation, values, ctf, slices))
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-7
        ahead, behind = (losses(tangent + sign * step, rotation, values, ctf, slices) for sign in (1, -1))
        torch.testing.assert_close(gradient[:, axis], (ahead - behind) / 2e-7, rtol=1e-5, atol=1e-4)


def test_poses_come_home_and_stay_rotations(scene):
    slices, rotation, values, ctf = scene
    turn = torch.nn.functional.normalize(torch.randn(N, 3, generator=make_generator(5), dtype=torch.float64)) * 0.1
    start = exp_so3(turn) @ rotation
    found, loss = improve_poses(start, values, ctf, slices, PoseSteps(0.01, 0.9, 0.9, 40))
    assert float(geodesic_degrees(start, rotation).min()) > 5
    assert float(geodesic_degrees(found, rotation).max()) < 1.5
    assert bool((loss < 0.1 * losses(torch.zeros(N, 3, dtype=torch.float64), start, values, ctf, slices)).all())
    identity = torch.eye(3, dtype=torch.float64).expand(N, 3, 3)
    torch.testing.assert_close(found @ found.mT, identity, atol=1e-12, rtol=0)


def test_an_image_moves_the_same_alone_as_among_others(scene):
    slices, rotation, values, ctf = scene
    steps = PoseSteps(0.01, 0.9, 0.9, 6)
    start = exp_so3(torch.full((N, 3), 0.05, dtype=torch.float64)) @ rotation
    together, _ = improve_poses(start, values, ctf, slices, steps)
    alone, _ = improve_poses(start[2:3], values[2:3], ctf[2:3], slices, steps)
    torch.testing.assert_close(alone[0], together[2])
