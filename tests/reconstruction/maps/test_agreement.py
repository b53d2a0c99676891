"""How far the next round goes: a little beyond where half maps agree, never beyond the images, or back."""

import pytest
import torch

from resmfn.reconstruction.maps.agreement import AGREED, next_radius


def falling(n: int, at: int) -> torch.Tensor:
    """Return a correlation that falls below the threshold at a shell."""
    fsc = torch.full((n,), 0.9)
    fsc[at:] = AGREED - 0.01
    return fsc


def test_it_goes_a_little_beyond_the_first_shell_that_does_not_agree() -> None:
    assert next_radius(falling(20, 10), 12.0, 40.0) == pytest.approx(9 * 1.15 + 2)
    assert next_radius(falling(20, 4), 16.0, 40.0) == pytest.approx(3 * 1.15 + 2)  # and back


def test_a_correlation_between_the_threshold_and_one_half_still_agrees() -> None:
    fsc = falling(20, 10)
    fsc[5:10] = AGREED + 0.05
    assert next_radius(fsc, 12.0, 40.0) == pytest.approx(9 * 1.15 + 2)


def test_it_grows_by_a_quarter_at_most_and_not_beyond_the_images() -> None:
    assert next_radius(torch.full((9,), 0.9), 8.0, 40.0) == pytest.approx(8 * 1.25 + 1)
    assert next_radius(falling(30, 25), 8.0, 40.0) == pytest.approx(8 * 1.25 + 1)
    assert next_radius(torch.full((9,), 0.9), 8.0, 10.0) == 10.0
