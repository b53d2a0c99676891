"""Sampling of Fourier space, where closed forms are known."""

import math

import pytest
import torch

from resmfn.evaluation.sampling import SIDE_VIEWS, fourier_sampling
from resmfn.evaluation.views import symmetric_copies
from resmfn.reports.html.sections.structure_sections import sampling_words
from resmfn.rotations import concentrated_rotations, matrix_from_euler, point_group, random_rotations, super_fibonacci


def seen_from(tilt: torch.Tensor, rot: torch.Tensor) -> torch.Tensor:
    return matrix_from_euler(torch.stack((rot, tilt, torch.zeros_like(rot)), dim=1).double())


def test_even_views_lose_nothing() -> None:
    found = fourier_sampling(super_fibonacci(20_000, torch.float64), radius=15)
    assert found.scf == pytest.approx(1, abs=0.02)
    assert found.scf_star == found.scf
    assert found.unsampled == 0


def test_side_views_have_eight_over_pi_squared() -> None:
    """Slices that all hold one axis meet a direction at an angle a to it as often as 1 / sin a."""
    rot = torch.arange(20_000, dtype=torch.float64) * 360 / 20_000
    found = fourier_sampling(seen_from(torch.full_like(rot, 90.0), rot), radius=15)
    assert found.scf == pytest.approx(SIDE_VIEWS, abs=0.01)
    assert found.unsampled == 0
    assert float(found.thinnest[2].abs()) < 0.3


def test_a_cone_that_no_slice_meets_is_counted_and_named() -> None:
    """Views within 30 degrees of z leave a cone of 60 degrees about z dark: a share 1 - cos 60 of all directions."""
    rot = torch.arange(20_000, dtype=torch.float64) * 222.49
    tilt = torch.rad2deg(torch.acos(1 - (1 - math.cos(math.pi / 6)) * (torch.arange(20_000).double() + 0.5) / 20_000))
    found = fourier_sampling(seen_from(tilt, rot), radius=60)
    assert found.unsampled == pytest.approx(0.5, abs=0.03)
    assert float(found.thinnest[2].abs()) > 0.5
    assert found.thinnest_share == 0
    assert found.scf_star < 0.05 < found.scf


def test_it_falls_as_views_prevail_and_rises_with_symmetry(generator: torch.Generator) -> None:
    views = {c: concentrated_rotations(3000, c, generator=generator, dtype=torch.float64) for c in (0.0, 2.0, 4.0)}
    factor = {c: fourier_sampling(v, radius=20).scf_star for c, v in views.items()}
    assert factor[0.0] > factor[2.0] + 0.05
    assert factor[2.0] > factor[4.0] + 0.05
    assert fourier_sampling(symmetric_copies(views[4.0], point_group("O")), radius=20).scf_star > 0.97


def test_few_views_are_too_few_to_tell(generator: torch.Generator) -> None:
    views = random_rotations(4000, generator=generator, dtype=torch.float64)
    for n, told in ((5, False), (200, False), (4000, True)):
        found = fourier_sampling(views[:n])
        assert found.is_decidable == told
        assert ("Too few views to tell" in sampling_words(found, None)) == (not told)
        assert 0 <= found.scf_star <= found.scf <= 1
