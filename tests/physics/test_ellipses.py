"""Ellipses: their closed forms against each other and against sums over a fine image."""

import math

import pytest
import torch

from resmfn.inverse import ParallelBeam
from resmfn.physics import Ellipses

DOUBLE = torch.float64


@pytest.fixture
def phantom() -> Ellipses:
    return Ellipses(
        values=torch.tensor([1.0, 0.5], dtype=DOUBLE),
        centers=torch.tensor([[3.0, -2.0], [-4.0, 5.0]], dtype=DOUBLE),
        half_axes=torch.tensor([[6.0, 3.0], [2.0, 4.0]], dtype=DOUBLE),
        angles=torch.tensor([0.4, -0.9], dtype=DOUBLE),
    )


def test_the_sum_of_the_image_is_the_area(phantom: Ellipses) -> None:
    area = math.pi * (18 + 0.5 * 8)
    assert float(phantom.image(32, 16).sum()) == pytest.approx(area, rel=2e-3)
    assert phantom.transform(torch.zeros(2, dtype=DOUBLE)).real == pytest.approx(area)
    assert phantom.line_integrals(torch.tensor([1.1], dtype=DOUBLE), 400).sum() == pytest.approx(area, rel=0.02)


def test_line_integrals_are_those_of_the_image(phantom: Ellipses) -> None:
    angles = torch.linspace(0, 3, 7, dtype=DOUBLE)
    found, expected = phantom.line_integrals(angles, 40), ParallelBeam(40, angles)(phantom.image(40))
    assert float((found - expected).norm() / expected.norm()) < 0.08  # edges, which pixels blur


def test_the_transform_is_that_of_the_image(phantom: Ellipses) -> None:
    """At low frequencies, where pixels are fine; signs and turns show in the phases."""
    k = torch.tensor([[1, 0], [0, 1], [2, -1], [-1, 3]], dtype=DOUBLE) / 32
    axis = torch.arange(32, dtype=DOUBLE) - 16
    waves = torch.exp(-2j * math.pi * (k[:, :1, None] * axis + k[:, 1:, None] * axis[:, None]))
    expected = (waves * phantom.image(32, 16)).sum(dim=(1, 2))
    found = phantom.transform(k)
    assert float((found - expected).abs().max() / expected.abs().max()) < 0.02


def test_the_head_scales_with_its_box() -> None:
    small, large = Ellipses.head(32).image(32, 16), Ellipses.head(64).image(64)
    assert small.dtype == torch.float32
    assert Ellipses.head(32, DOUBLE).values.dtype == DOUBLE
    assert float(large.sum()) == pytest.approx(4 * float(small.sum()), rel=0.01)
