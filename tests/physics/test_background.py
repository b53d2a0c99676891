"""Linear backgrounds: found exactly, found past a neighbor, and measured in the noise's own units."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.fourier import radius_grid
from resmfn.physics import fit_planes, planes, ramp_strength


def outside(box_size: int) -> torch.Tensor:
    return radius_grid(box_size, 2) > 0.42 * box_size


@pytest.mark.parametrize("box_size", [24, 25, 64])
def test_a_plane_is_found_and_given_back(box_size: int) -> None:
    truth = torch.tensor([[0.3, 0.02, -0.01], [-2.0, 0.0, 0.05]], dtype=torch.float64)
    images = planes(truth, box_size)
    images[:, ~outside(box_size)] += 7.0  # the particle is not asked
    found = fit_planes(images, outside(box_size))
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)


def test_planes_follow_when_x_and_y_change_places() -> None:
    image = torch.randn(1, 33, 33, generator=make_generator(1), dtype=torch.float64)
    value, along_x, along_y = fit_planes(image, outside(33))[0]
    swapped = fit_planes(image.mT, outside(33))[0]
    torch.testing.assert_close(swapped, torch.stack((value, along_y, along_x)), rtol=1e-6, atol=1e-9)


def test_a_neighbor_in_one_corner_hardly_tilts_the_plane() -> None:
    n, box_size = 50, 64
    images = torch.randn(n, box_size, box_size, generator=make_generator(2))
    clean = fit_planes(images, outside(box_size))
    images[:, :16, :16] += 3.0  # a particle of three standard deviations, in one of four corners
    corner = fit_planes(images, outside(box_size))
    added = planes(corner - clean, box_size).std(dim=(1, 2)).mean()
    ordinary = images[:, outside(box_size)]
    y, x = (outside(box_size).nonzero() - box_size // 2).float().unbind(dim=1)
    design = torch.stack((torch.ones_like(x), x, y), dim=1)
    plain = planes(torch.linalg.lstsq(design, ordinary.T).solution.T - clean, box_size).std(dim=(1, 2)).mean()
    assert float(added) < 0.4 * float(plain)


def test_ramps_are_measured_over_the_whole_image() -> None:
    coefficients = torch.tensor([[5.0, 0.01, -0.02]])
    whole = planes(coefficients, 64)
    rms = (whole - whole.mean()).square().mean().sqrt()
    torch.testing.assert_close(ramp_strength(coefficients, torch.tensor([2.0]), 64), rms[None] / 2, rtol=1e-3, atol=0.0)
