"""Resampling by cropping or padding the Fourier transform.

The origin stays at ``N // 2`` and grey values stay: a constant keeps its value. The term of an even box that has
no mate (index 0, frequency -N/2) is split evenly over -N/2 and +N/2 when a box grows, and the two are added when a
box shrinks. So real stays real, and shrinking what was enlarged gives the original back exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError


def resize_images(images: Tensor, new_size: int) -> Tensor:
    """Resample images ``(..., N, N)`` to ``(..., new_size, new_size)`` over the same field of view.

    The pixel size becomes ``N / new_size`` times the old one. Real stays real.
    """
    return _resize(images, new_size, ndim=2)


def resize_map(volume: Tensor, new_size: int) -> Tensor:
    """Resample maps ``(..., N, N, N)`` to ``(..., new_size, new_size, new_size)`` over the same box.

    The voxel size becomes ``N / new_size`` times the old one. Real stays real.
    """
    return _resize(volume, new_size, ndim=3)


def _resize(x: Tensor, new_size: int, ndim: int) -> Tensor:
    old_size = x.shape[-1] if x.ndim else 0
    if x.ndim < ndim or tuple(x.shape[-ndim:]) != (old_size,) * ndim:
        raise ShapeError(f"the last {ndim} axes must be equally long, got shape {tuple(x.shape)}")
    if new_size < 1:
        raise ShapeError(f"new_size must be at least 1, got {new_size}")
    if new_size == old_size:
        return x.clone()
    dims = tuple(range(-ndim, 0))
    spectrum = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=dims), dim=dims), dim=dims)
    for dim in dims:
        spectrum = _resize_axis(spectrum, dim, new_size)
    resized = torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=dims), dim=dims), dim=dims)
    resized = resized * (new_size / old_size) ** ndim
    return resized if x.is_complex() else resized.real


def _resize_axis(spectrum: Tensor, dim: int, new_size: int) -> Tensor:
    """Crop or zero-pad one axis of a centered spectrum; even boxes as the module says."""
    old_size = spectrum.shape[dim]
    if new_size < old_size:
        start = old_size // 2 - new_size // 2
        kept = spectrum.narrow(dim, start, new_size)
        if new_size % 2:
            return kept
        folded = kept.narrow(dim, 0, 1) + spectrum.narrow(dim, start + new_size, 1)
        return torch.cat((folded, kept.narrow(dim, 1, new_size - 1)), dim=dim)
    if old_size % 2 == 0:
        half = spectrum.narrow(dim, 0, 1) / 2
        spectrum = torch.cat((half, spectrum.narrow(dim, 1, old_size - 1), half), dim=dim)
    before = new_size // 2 - old_size // 2
    after = new_size - before - spectrum.shape[dim]
    return torch.cat((_zeros(spectrum, dim, before), spectrum, _zeros(spectrum, dim, after)), dim=dim)


def _zeros(like: Tensor, dim: int, length: int) -> Tensor:
    shape = list(like.shape)
    shape[dim] = length
    return like.new_zeros(shape)
