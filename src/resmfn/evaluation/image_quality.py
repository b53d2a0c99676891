"""Similarity of an image or a map to the true one: MSE, PSNR and SSIM."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError

SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian window, pixels."""
SSIM_RADIUS = 5
"""Pixels on each side of the window's center: 11 in all, as published."""
SSIM_CONSTANTS = (0.01, 0.03)  # Wang et al. 2004


def mean_squared_error(image: Tensor, truth: Tensor) -> float:
    """Mean over all pixels and channels of the squared difference."""
    _require_same_shape(image, truth)
    return (image - truth).square().mean().item()


def peak_signal_to_noise(image: Tensor, truth: Tensor, *, data_range: float = 1.0) -> float:
    """PSNR in dB: ``10 log10(data_range^2 / MSE)``; infinite for equal images."""
    error = mean_squared_error(image, truth)
    return 10 * math.log10(data_range**2 / error) if error > 0 else math.inf


def structural_similarity(image: Tensor, truth: Tensor, *, dim: int = 2, data_range: float = 1.0) -> float:
    """Mean structural similarity, Gaussian window (Wang et al., IEEE Trans. Image Process. 13 (2004), 600).

    As scikit-image gives it with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``: population
    moments under an 11-pixel window, the border of 5 pixels left out of the mean, channels averaged.

    Parameters
    ----------
    image, truth
        (*spatial,) or (*spatial, channels), ``dim`` spatial axes of at least 11 pixels.
    dim
        2 for images, 3 for volumes.
    data_range
        Difference of the largest and the smallest value that a pixel may have.

    Raises
    ------
    ShapeError
        If the shapes differ, have other numbers of axes, or a side is shorter than the window.
    """
    _require_same_shape(image, truth)
    least = 2 * SSIM_RADIUS + 1
    if image.ndim not in (dim, dim + 1) or min(image.shape[:dim]) < least:
        raise ShapeError(f"structural similarity needs {dim} axes of at least {least}, got {tuple(image.shape)}")
    a, b = (t.reshape(*t.shape[:dim], -1).movedim(-1, 0) for t in (image, truth))
    mean_a, mean_b, square_a, square_b, product = (_windowed(t, dim) for t in (a, b, a * a, b * b, a * b))
    c1, c2 = ((k * data_range) ** 2 for k in SSIM_CONSTANTS)
    variances = square_a - mean_a.square() + square_b - mean_b.square()
    covariance = product - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (numerator / ((mean_a.square() + mean_b.square() + c1) * (variances + c2))).mean().item()


def _windowed(values: Tensor, dim: int) -> Tensor:
    """Gaussian mean over the window at every pixel that holds a whole one, axis after axis; (channels, *spatial)."""
    x = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=values.dtype, device=values.device)
    weights = torch.exp(-0.5 * (x / SSIM_SIGMA).square())
    weights = weights / weights.sum()
    for axis in range(1, dim + 1):
        values = values.unfold(axis, len(weights), 1) @ weights
    return values


def _require_same_shape(image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape:
        raise ShapeError(f"image and truth must have one shape, got {tuple(image.shape)} and {tuple(truth.shape)}")
