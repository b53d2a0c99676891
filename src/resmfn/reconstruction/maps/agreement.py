"""How far two half maps agree, and how far the next round may use the images."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.evaluation import half_map_resolution

AGREED = 0.143
"""Correlation of the half maps down to which a shell counts as agreed upon. With 0.3, rounds of 3,000 images of
adenylate kinase with ramps, structural noise and neighbors stopped at 5.60 Å against the truth, in place of 5.40 Å."""


def half_map_fsc(first: Tensor, second: Tensor, mask: Tensor, radius: float, *, generator: torch.Generator) -> Tensor:
    """Return the correlation in each shell up to a radius of two half maps within a mask, corrected for the mask.

    Parameters
    ----------
    first, second
        ``(M, M, M)``: maps that were solved without the mask.
    mask
        ``(M, M, M)``, on the device that computes.
    radius
        Fourier pixels.
    generator
        Draws the random phases of the correction.

    Returns
    -------
    Tensor
        (shells,); 0 where there is nothing.
    """
    first, second = first.to(mask.device), second.to(mask.device)
    curve = half_map_resolution(first, second, mask, 1.0, generator=generator).curves.corrected
    return curve.correlation[: int(radius) + 1].nan_to_num(0.0).to(first)


def next_radius(fsc: Tensor, radius: float, radius_max: float) -> float:
    """Return the radius of the next round: a little beyond where the half maps agree, even if that is less than now.

    It grows by a quarter at most, so that no pose is more than a fraction of a wavelength off.
    """
    below = (fsc[1:] < AGREED).nonzero()
    most = min(farthest_next(radius), radius_max)
    return min(float(below[0]) * 1.15 + 2, most) if len(below) else most


def farthest_next(radius: float) -> float:
    """Return the largest radius, in Fourier pixels, that may follow another."""
    return radius * 1.25 + 1
