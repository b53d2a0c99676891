"""Fourier resampling keeps values, the origin and reality, at any pair of odd and even sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core import ShapeError, make_generator
from resmfn.fourier import resize_images, resize_map

sizes = st.integers(4, 13)


def smooth(size: int) -> torch.Tensor:
    """A periodic function of position / field of view with two cycles at most, sampled on ``size`` pixels."""
    p = (torch.arange(size, dtype=torch.float64) - size // 2) / size
    y, x = torch.meshgrid(p, p, indexing="ij")
    tau = 2 * torch.pi
    return 3 + torch.cos(tau * x) + 0.5 * torch.sin(tau * (x + y)) - 0.2 * torch.cos(tau * (2 * y - x) + 0.3)


@given(old=st.integers(5, 14), new=st.integers(5, 14))
def test_a_band_limited_function_is_sampled_exactly(old: int, new: int) -> None:
    torch.testing.assert_close(resize_images(smooth(old), new), smooth(new))


@given(old=sizes, new=sizes, seed=st.integers(0, 99))
def test_shrinking_what_was_enlarged_is_the_identity(old: int, new: int, seed: int) -> None:
    small, large = sorted((old, new))
    x = torch.randn(2, small, small, generator=make_generator(seed), dtype=torch.float64)
    torch.testing.assert_close(resize_images(resize_images(x, large), small), x)


@given(old=sizes, new=sizes)
def test_constants_keep_their_value(old: int, new: int) -> None:
    resized = resize_map(torch.full((old, old, old), 2.5, dtype=torch.float64), new)
    torch.testing.assert_close(resized, torch.full((new, new, new), 2.5, dtype=torch.float64))


@given(old=sizes, new=sizes)
def test_real_stays_real_without_discarding_anything(old: int, new: int) -> None:
    x = torch.randn(old, old, old, generator=make_generator(1), dtype=torch.float64)
    resized = resize_map(x.to(torch.complex128), new)
    assert resized.imag.abs().max() < 1e-12
    torch.testing.assert_close(resize_map(x, new), resized.real)


@given(small=sizes)
def test_enlarging_passes_through_the_old_samples(small: int) -> None:
    x = torch.randn(small, small, generator=make_generator(2), dtype=torch.float64)
    tripled = resize_images(x, 3 * small)
    start = (3 * small) // 2 - 3 * (small // 2)
    torch.testing.assert_close(tripled[start::3, start::3], x)


def test_gradients_flow(generator: torch.Generator) -> None:
    x = torch.randn(3, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: resize_map(v, 4), (x,))
    assert torch.autograd.gradcheck(lambda v: resize_map(v, 2), (x,))


def test_a_map_that_is_no_cube_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"last 3 axes must be equally long, got shape \(4, 4, 5\)"):
        resize_map(torch.zeros(4, 4, 5), 8)
    with pytest.raises(ShapeError, match="new_size must be at least 1, got 0"):
        resize_images(torch.zeros(4, 4), 0)


@given(old=st.integers(5, 14), new=st.integers(4, 13), seed=st.integers(0, 99))
def test_real_input_is_shrunk_as_complex_input_is(old: int, new: int, seed: int) -> None:
    """Real input has a way of its own, which computes no more of the transform than is kept."""
    x = torch.randn(old, old, old, generator=make_generator(seed), dtype=torch.float64)
    torch.testing.assert_close(resize_map(x, new), resize_map(x.to(torch.complex128), new).real)
    torch.testing.assert_close(resize_images(x, new), resize_images(x.to(torch.complex128), new).real)
