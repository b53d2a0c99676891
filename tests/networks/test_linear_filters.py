"""Filters of Fourier series: transfer functions are the transforms of kernels, products are convolutions."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from resmfn.core import InputError
from resmfn.networks import LinearFilter, filter_series, residual_mfn, sample_series, series_on_axes

KERNELS = {
    "gaussian": (lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi), 9.0),
    "box": (lambda x: 1.0, 0.5),
    "lanczos": (lambda x: np.sinc(x) * np.sinc(x / 3), 3.0),
}
"""Kernel of width 1, and how far it reaches."""


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("k", [0.0, 0.1, 1 / 3, 0.5, 2 / 3, 1.7])
def test_the_transfer_function_is_the_transform_of_the_kernel(kind: str, k: float) -> None:
    kernel, reach = KERNELS[kind]
    norm, _ = integrate.quad(kernel, -reach, reach, limit=200)
    expected, _ = integrate.quad(lambda x: kernel(x) * math.cos(2 * math.pi * k * x), -reach, reach, limit=200)
    found = LinearFilter(kind, 2.5).transfer(torch.tensor([k / 2.5], dtype=torch.float64))
    assert float(found) == pytest.approx(expected / norm, abs=1e-9)


@pytest.mark.parametrize("kind", KERNELS)
def test_a_filtered_series_is_the_field_convolved(kind: str, generator: torch.Generator) -> None:
    """At one point, by quadrature over the kernel's reach on both axes."""
    network = residual_mfn(2, 8, box_size=12, generator=generator, dtype=torch.float64)
    width, at = 0.06, torch.tensor([0.11, -0.23], dtype=torch.float64)
    kernel, reach = KERNELS[kind]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    weights = weights * [kernel(x * reach) for x in nodes]
    weights = torch.as_tensor(weights / weights.sum())
    offsets = torch.as_tensor(nodes * reach * width)
    points = torch.stack(torch.meshgrid(at[0] - offsets, at[1] - offsets, indexing="ij"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        expected = (weights[:, None] * weights * network(points).view(60, 60)).sum()
        series = filter_series(network.fourier_coefficients(), LinearFilter(kind, width), 2)
        found = series_on_axes(series, [at[:1], at[1:]])[0, 0]
        unfiltered = network(at[None])[0, 0]
    assert float(found) == pytest.approx(float(expected), rel=1e-6, abs=1e-9)
    assert abs(float(found - unfiltered)) > 1e-3


def test_filters_follow_one_another_as_gaussians_do(generator: torch.Generator) -> None:
    series = torch.randn(2, 7, 7, 7, generator=generator, dtype=torch.complex128)
    twice = filter_series(filter_series(series, LinearFilter("gaussian", 0.03), 3), LinearFilter("gaussian", 0.04), 3)
    torch.testing.assert_close(twice, filter_series(series, LinearFilter("gaussian", 0.05), 3))


def test_a_series_on_the_axes_of_a_grid_is_sampled_there(generator: torch.Generator) -> None:
    """Any coordinates, each axis its own; on a regular grid, what the transform gives."""
    series = residual_mfn(2, 8, 3, box_size=9, generator=generator, dtype=torch.float64).fourier_coefficients().detach()
    axis = (torch.arange(12, dtype=torch.float64) - 6) / 12
    whole = sample_series(series, 12, dim=2)
    torch.testing.assert_close(series_on_axes(series, [axis, axis]), whole)
    torch.testing.assert_close(series_on_axes(series, [axis[2:5], axis[:1]]), whole[:, 2:5, :1])
    assert series_on_axes(series.to(torch.complex64), [axis, axis]).dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "message"), [("box", "got 'box'"), ("box:x", "got 'box:x'"), ("bax:1", "one of"), ("box:nan", "positive")]
)
def test_what_is_no_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearFilter.parse(text)
    assert LinearFilter.parse("lanczos:2.5") == LinearFilter("lanczos", 2.5)
