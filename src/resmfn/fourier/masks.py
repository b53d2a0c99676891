"""Soft masks in real space and low-pass filters in Fourier space; edges are raised cosines."""

from __future__ import annotations

import math

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from resmfn.core.errors import ResmfnError
from resmfn.fourier.grids import radius_grid
from resmfn.fourier.half_space import half_space_of, half_space_radius, map_of_half_space


def soft_sphere(
    box_size: int,
    radius: float,
    edge: float,
    ndim: int = 3,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a disc or ball: 1 inside ``radius``, 0 beyond ``radius + edge``, a cosine fall between; in pixels."""
    return _cosine_fall(radius_grid(box_size, ndim, device, dtype) - radius, edge)


def soft_mask_from_support(support: Tensor, dilate: float, edge: float) -> Tensor:
    """Grow a support by ``dilate`` pixels and let it fall to 0 over ``edge`` more.

    Parameters
    ----------
    support
        Boolean, any number of axes; True where the molecule is.
    dilate, edge
        Distances in pixels.

    Returns
    -------
        float32, shape and device of ``support``.

    Raises
    ------
    ResmfnError
        No element of ``support`` is True.
    """
    if not bool(support.any()):
        raise ResmfnError("the support of a mask must have at least one True voxel, got none; lower its threshold")
    distance = distance_transform_edt(~support.cpu().numpy())
    outside = torch.as_tensor(distance, dtype=torch.float32, device=support.device) - dilate
    return _cosine_fall(outside, edge)


def low_pass(volume: Tensor, cutoff_pixels: float, edge: float) -> Tensor:
    """Keep frequencies of real maps ``(..., N, N, N)`` up to a radius, none beyond ``cutoff_pixels + edge``.

    Both are in Fourier pixels: pixel ``k`` is the frequency ``k / (N * pixel_size)`` in 1/A.
    """
    box_size = volume.shape[-1]
    radius = half_space_radius(box_size, volume.device).to(volume.dtype)
    return map_of_half_space(half_space_of(volume) * _cosine_fall(radius - cutoff_pixels, edge), box_size)


def _cosine_fall(outside: Tensor, edge: float) -> Tensor:
    """1 where ``outside <= 0``, 0 where ``outside >= edge``, half a cosine between (hard if ``edge`` is 0)."""
    if edge <= 0:
        return (outside <= 0).to(outside.dtype)
    return 0.5 * (1 + torch.cos(math.pi * (outside / edge).clamp(0, 1)))
