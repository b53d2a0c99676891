"""Centered transforms: the origin is index N // 2 in both domains, for odd and even boxes."""

import pytest
import torch

from resmfn.fourier import fft2_centered, fftn_centered, ifft2_centered, ifftn_centered

SIZES = (7, 8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("forward", "inverse", "ndim"), [(fft2_centered, ifft2_centered, 2), (fftn_centered, ifftn_centered, 3)]
)
def test_round_trip_and_dtype(size: int, forward, inverse, ndim: int, generator: torch.Generator) -> None:
    x = torch.randn(2, *(size,) * ndim, generator=generator, dtype=torch.float64)
    assert forward(x).dtype == torch.complex128
    torch.testing.assert_close(inverse(forward(x)).real, x)
    assert inverse(forward(x)).imag.abs().max() < 1e-14


@pytest.mark.parametrize("size", SIZES)
def test_a_point_at_the_origin_is_constant_in_fourier_space(size: int) -> None:
    image = torch.zeros(size, size, dtype=torch.float64)
    image[size // 2, size // 2] = 1
    torch.testing.assert_close(fft2_centered(image), torch.ones(size, size, dtype=torch.complex128))


@pytest.mark.parametrize("size", SIZES)
def test_a_constant_is_the_zero_frequency(size: int) -> None:
    spectrum = fftn_centered(torch.ones(size, size, size, dtype=torch.float64))
    assert spectrum[(size // 2,) * 3].real == pytest.approx(size**3)
    assert spectrum.abs().sum() == pytest.approx(size**3)


@pytest.mark.parametrize("size", SIZES)
def test_a_wave_along_x_lies_on_the_last_axis(size: int) -> None:
    x = (torch.arange(size, dtype=torch.float64) - size // 2) / size
    wave = torch.exp(2j * torch.pi * 2 * x).expand(size, size)
    spectrum = fft2_centered(wave)
    assert spectrum[size // 2, size // 2 + 2].real == pytest.approx(size**2)
    assert spectrum.abs().sum() == pytest.approx(size**2)
