"""The linear background of an image, from uneven ice or illumination, fitted around the particle."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.fourier import centered_indices

TILES = 8
"""Tiles along a side, whose means are fitted: a neighbor stands out of the noise in a tile's mean, not in a pixel."""
HUBER = 1.345
"""Standard deviations beyond which a tile counts less: 95 % efficient under normal noise (Huber 1981)."""
STEPS = 8  # reweightings; no comparison recorded
_DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def fit_planes(images: Tensor, outside: Tensor) -> Tensor:
    """Return the plane through each image around its particle, found robustly.

    Least squares on the means of tiles, reweighted by Huber's function, so that a neighboring particle or an edge of
    carbon in one corner does not tilt the plane.

    Parameters
    ----------
    images
        (n, N, N).
    outside
        bool (N, N): pixels that show no particle, on all sides of it.

    Returns
    -------
    Tensor
        (n, 3): value at the origin, slope along x and along y, in gray values and gray values a pixel.
    """
    design, tile_of, count = _tiles(outside, images.dtype)
    pixels = images[:, outside]
    means = pixels.new_zeros(len(images), len(count)).index_add_(1, tile_of, pixels) / count
    weight = torch.ones_like(means)
    plane = means.new_zeros(len(images), 3)
    for _ in range(STEPS):
        weighted = (count * weight)[:, :, None] * design
        normal = weighted.mT @ design
        plane = torch.linalg.solve(normal, (weighted.mT @ means[:, :, None]))[:, :, 0]
        residual = (means - plane @ design.T).abs() * count.sqrt()
        deviation = _DEVIATION_OF_MEDIAN * residual.median(dim=1, keepdim=True).values
        weight = (HUBER * deviation / residual.clamp_min(1e-30)).clamp_max(1.0)
    return plane * plane.new_tensor([1.0, 1.0 / len(outside), 1.0 / len(outside)])


def planes(coefficients: Tensor, box_size: int) -> Tensor:
    """Return the planes (n, N, N) of the coefficients (n, 3) that :func:`fit_planes` gives."""
    axis = centered_indices(box_size, coefficients.device, coefficients.dtype)
    level, along_x, along_y = coefficients[:, :, None, None].unbind(dim=1)
    return level + along_x * axis + along_y * axis[:, None]


def ramp_strength(coefficients: Tensor, deviation: Tensor, box_size: int) -> Tensor:
    """Return the rms of each plane over its image, in standard deviations (n,) of the noise around the particle."""
    return coefficients[:, 1:].norm(dim=1) * box_size / 12**0.5 / deviation


def _tiles(outside: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1, x and y (T, 3) of the tiles' centers in boxes, the tile of each pixel outside, and their sizes (T,)."""
    box_size = len(outside)
    y, x = outside.nonzero().unbind(dim=1)
    number = (y * TILES // box_size) * TILES + x * TILES // box_size
    _, tile_of, count = number.unique(return_inverse=True, return_counts=True)
    count = count.to(dtype)
    place = torch.stack((x, y)).to(dtype)
    center = place.new_zeros(2, len(count)).index_add_(1, tile_of, place) / count
    center = (center - box_size // 2) / box_size
    return torch.stack((torch.ones_like(count), *center), dim=1), tile_of, count
