"""Noise at a stated signal-to-noise ratio."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError


def add_noise(images: Tensor, snr: float, *, generator: torch.Generator) -> Tensor:
    """Return images plus white Gaussian noise whose variance is each image's own variance over ``snr``.

    Parameters
    ----------
    images
        Clean images ``(n, N, N)``, after the CTF.
    snr
        Variance of the clean image over variance of the noise.
    generator
        Where the random numbers come from; they are drawn on its device.

    Raises
    ------
    ResmfnError
        ``snr`` is not positive and finite.
    """
    if not 0 < snr < math.inf:
        raise ResmfnError(f"snr must be positive and finite, got {snr}; leave the noise out for clean images")
    white = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=generator.device)
    deviation = (images.var(dim=(-2, -1), correction=0, keepdim=True) / snr).sqrt()
    return images + deviation * white.to(images.device)
