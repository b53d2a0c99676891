"""In-plane shifts as phase factors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def phase_shift(pixels: Tensor, shift: Tensor, pixel_size: float, box_size: int) -> Tensor:
    """Return the factor that moves an image's content to MINUS ``shift``: exp(+2 pi i k . shift / (N pixel_size)).

    Parameters
    ----------
    pixels
        int64 ``(P, 2)``: (kx, ky).
    shift
        ``(n, 2)``: (rlnOriginXAngst, rlnOriginYAngst) in Å, the shift that would center the image.
    pixel_size
        Å per pixel.
    box_size
        N, the side of the image.

    Returns
    -------
        Complex ``(n, P)``; differentiable in ``shift``.
    """
    k = pixels.to(shift)
    x, y = (shift * (2 * math.pi / (box_size * pixel_size)))[:, :, None].unbind(dim=1)
    angle = torch.addcmul(x * k[:, 0], y, k[:, 1])
    return torch.complex(angle.cos(), angle.sin())
