"""Soft masks and low-pass filters."""

import pytest
import torch

from resmfn.core import ResmfnError
from resmfn.fourier import fftn_centered, low_pass, radius_grid, soft_mask_from_support, soft_sphere


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_edge_lies_outside_the_radius(ndim: int) -> None:
    mask, radius = soft_sphere(32, 8.0, 4.0, ndim=ndim, dtype=torch.float64), radius_grid(32, ndim, dtype=torch.float64)
    assert bool((mask[radius <= 8] == 1).all())
    assert bool((mask[radius >= 12] == 0).all())
    between = (radius > 8) & (radius < 12)
    assert bool(((mask > 0) & (mask < 1))[between].all())
    assert mask[radius == 10].unique().tolist() == pytest.approx([0.5])


def test_no_edge_is_a_hard_ball() -> None:
    assert torch.equal(soft_sphere(9, 3.0, 0.0), (radius_grid(9, 3) <= 3).float())


def test_a_point_grows_to_a_soft_ball() -> None:
    support = torch.zeros(21, 21, 21, dtype=torch.bool)
    support[10, 10, 10] = True
    torch.testing.assert_close(soft_mask_from_support(support, 4.0, 3.0), soft_sphere(21, 4.0, 3.0))


def test_an_empty_support_is_refused() -> None:
    with pytest.raises(ResmfnError, match="at least one True voxel"):
        soft_mask_from_support(torch.zeros(4, 4, 4, dtype=torch.bool), 1, 1)


def test_low_pass_keeps_what_is_below_and_removes_what_is_above(generator: torch.Generator) -> None:
    volume = torch.randn(16, 16, 16, generator=generator, dtype=torch.float64)
    before, after = fftn_centered(volume), fftn_centered(low_pass(volume, 4.0, 2.0))
    radius = radius_grid(16, 3, dtype=torch.float64)
    torch.testing.assert_close(after[radius <= 4], before[radius <= 4])
    assert after[radius >= 6].abs().max() < 1e-10
