"""Discrete Fourier transforms whose origin sits at index ``N // 2`` in both domains."""

from __future__ import annotations

import torch
from torch import Tensor

_IMAGE = (-2, -1)
_MAP = (-3, -2, -1)


def fft2_centered(images: Tensor) -> Tensor:
    """Transform images ``(..., N, N)`` without a factor: the zero frequency is the sum of the pixels."""
    return _forward(images, _IMAGE)


def ifft2_centered(transform: Tensor) -> Tensor:
    """Undo :func:`fft2_centered`; complex ``(..., N, N)``, take ``.real`` where the images were real."""
    return _inverse(transform, _IMAGE)


def fftn_centered(volume: Tensor) -> Tensor:
    """Transform the last three axes of ``(..., N, N, N)`` without a factor."""
    return _forward(volume, _MAP)


def ifftn_centered(transform: Tensor) -> Tensor:
    """Undo :func:`fftn_centered`; complex ``(..., N, N, N)``, take ``.real`` where the map was real."""
    return _inverse(transform, _MAP)


def _forward(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=dim), dim=dim), dim=dim)


def _inverse(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(x, dim=dim), dim=dim), dim=dim)
