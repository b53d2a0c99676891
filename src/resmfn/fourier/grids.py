"""Pixel grids, shells and the half plane of Fourier pixels that a real image needs."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError


def centered_indices(n: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return ``arange(n) - n // 2``: positions along one axis, in pixels, with 0 at the origin."""
    return torch.arange(n, device=device, dtype=dtype) - n // 2


def radius_grid(
    box_size: int, ndim: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the distance of every pixel from the origin, in pixels; shape ``(box_size,) * ndim``."""
    squared = centered_indices(box_size, device, dtype).square()
    total = squared
    for _ in range(ndim - 1):
        total = total[..., None] + squared
    return total.sqrt()


def shell_index(box_size: int, ndim: int, device: torch.device | str | None = None) -> Tensor:
    """Return the hard shell ``rint(radius)`` of every pixel; int64 ``(box_size,) * ndim``.

    Shells beyond ``box_size // 2`` (the corners) keep their number. No pixel lies on the border of two shells.
    """
    return radius_grid(box_size, ndim, device, torch.float64).round().long()


def half_plane_pixels(radius_max: float, radius_min: float = 0.0, device: torch.device | str | None = None) -> Tensor:
    """Return the integer Fourier pixels ``(kx, ky)`` of a ring, one of each Friedel pair.

    Kept are ``kx > 0`` and, on the axis ``kx = 0``, ``ky >= 0``: what a real image needs, in the order of growing
    radius, so that a smaller ring is a prefix of a larger one.

    Parameters
    ----------
    radius_max, radius_min
        Radii in Fourier pixels, both inclusive; the zero frequency is there only if ``radius_min`` is not positive.

    Returns
    -------
        int64 ``(P, 2)``.
    """
    reach = int(radius_max)
    ky = torch.arange(-reach, reach + 1, device=device)
    kx = torch.arange(0, reach + 1, device=device)
    grid_y, grid_x = torch.meshgrid(ky, kx, indexing="ij")
    pixels = torch.stack((grid_x.flatten(), grid_y.flatten()), dim=-1)
    squared = pixels.square().sum(dim=-1)
    wanted = (squared <= radius_max**2) & ((pixels[:, 0] > 0) | (pixels[:, 1] >= 0))
    if radius_min > 0:
        wanted &= squared >= radius_min**2
    pixels, squared = pixels[wanted], squared[wanted]
    return pixels[torch.argsort(squared, stable=True)]


def shell_average(power: Tensor, box_size: int, ndim: int | None = None) -> Tensor:
    """Return the mean over each hard shell ``rint(radius)`` = 0 ... ``box_size // 2``; corners are left out.

    Parameters
    ----------
    power
        Centered image or map, real or complex, ``(..., box_size, box_size[, box_size])``.
    box_size
        Side of the box, in pixels.
    ndim
        2 or 3 when leading axes are a batch; by default all axes of ``power`` are the box's.

    Returns
    -------
        ``(..., box_size // 2 + 1)``, dtype of ``power``.

    Raises
    ------
    ShapeError
        The trailing axes are not ``box_size`` long.
    """
    ndim = power.ndim if ndim is None else ndim
    if ndim not in (2, 3) or tuple(power.shape[-ndim:]) != (box_size,) * ndim:
        raise ShapeError(f"power must end in 2 or 3 axes of {box_size}, got shape {tuple(power.shape)}")
    shell = shell_index(box_size, ndim, power.device).flatten()
    n_shells = box_size // 2 + 1
    wanted = shell < n_shells
    flat = power.flatten(start_dim=-ndim)[..., wanted]
    total = flat.new_zeros((*flat.shape[:-1], n_shells)).index_add(-1, shell[wanted], flat)
    return total / torch.bincount(shell[wanted], minlength=n_shells).to(power.device)


def quick_size(least: int) -> int:
    """Return the smallest even number of at least ``least`` without prime factors above 5: quick to transform."""
    size = least + least % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
