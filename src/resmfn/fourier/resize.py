"""Resampling by cropping or padding the Fourier transform.

The origin stays at ``N // 2`` and so do gray values: a constant keeps its value. The term of an even box that has
no Friedel mate (frequency -N/2) is split evenly over -N/2 and +N/2 when a box grows, and the two are added when a
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
    if new_size < old_size and not x.is_complex():
        return _shrink_real(x, new_size, ndim)
    dims = tuple(range(-ndim, 0))
    spectrum = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=dims), dim=dims), dim=dims)
    for dim in dims:
        spectrum = _resize_axis(spectrum, dim, new_size)
    resized = torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=dims), dim=dims), dim=dims)
    resized = resized * (new_size / old_size) ** ndim
    return resized if x.is_complex() else resized.real


def _shrink_real(x: Tensor, new_size: int, ndim: int) -> Tensor:
    """Crop the transform axis by axis, so that each but the first is computed only where it is kept."""
    old_size, half = x.shape[-1], new_size // 2
    # In plain transforms index 0 is the origin: a ramp of phases moves it from old_size // 2 to new_size // 2.
    turns = 2 * torch.pi * ((old_size // 2) / old_size - half / new_size)
    k = torch.arange(half + 1, device=x.device, dtype=x.dtype)
    ramp = torch.polar(torch.ones_like(k), turns * k)
    spectrum = torch.fft.rfft(x)[..., : half + 1] * ramp
    if new_size % 2 == 0:
        spectrum[..., half] *= 2  # the inverse keeps the real part, half the sum of the two terms that meet here
    for dim in range(-2, -ndim - 1, -1):
        shape = (-1, *(1,) * (-1 - dim))
        whole = torch.fft.fft(spectrum, dim=dim)
        positive = whole.narrow(dim, 0, half + 1) * ramp.view(shape)
        negative = whole.narrow(dim, old_size - half, half) * ramp[1:].flip(0).conj().view(shape)
        if new_size % 2 == 0:
            negative.narrow(dim, 0, 1).add_(positive.narrow(dim, half, 1))
            positive = positive.narrow(dim, 0, half)
        spectrum = torch.fft.ifft(torch.cat((positive, negative), dim=dim), dim=dim)
    return torch.fft.irfft(spectrum, n=new_size) * (new_size / old_size) ** ndim


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
