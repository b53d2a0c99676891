"""The resolution of two independent half maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.fsc import PhaseRandomizedFsc, fourier_shell_correlation, phase_randomized_fsc

HALF_MAP_THRESHOLD = 0.143
"""Correlation of the half maps at which the map of all images correlates 0.5 with the truth."""


@dataclass(frozen=True)
class HalfMapResult:
    """Half-map curves, and the resolution read from them."""

    curves: PhaseRandomizedFsc
    resolution: float
    """Å, where the mask-corrected curve first falls below 0.143."""
    resolution_unmasked: float
    """Å, the same of the unmasked curve."""


def half_map_resolution(
    half1: Tensor, half2: Tensor, mask: Tensor | None, pixel_size: float, *, generator: torch.Generator
) -> HalfMapResult:
    """Resolution at which two independent half maps stop agreeing, corrected for the mask.

    Parameters
    ----------
    half1, half2
        Maps of disjoint halves of the particles, (N, N, N), in one frame.
    mask
        Soft mask, (N, N, N), or None: then all four curves are the unmasked one.
    pixel_size
        Å per voxel.
    generator
        Draws the random phases of the correction.

    Notes
    -----
    Threshold: Rosenthal and Henderson, J. Mol. Biol. 333 (2003) 721. Correction: Chen et al., Ultramicroscopy 135
    (2013) 24. Half maps that are zero outside a mask already carry that mask in their "unmasked" curve; only a mask
    given here is corrected for.
    """
    if mask is None:
        curve = fourier_shell_correlation(half1, half2, pixel_size)
        curves = PhaseRandomizedFsc(curve, curve, curve, curve, 0.0)
    else:
        curves = phase_randomized_fsc(half1, half2, mask, pixel_size, generator=generator)
    return HalfMapResult(
        curves,
        curves.corrected.resolution_at(HALF_MAP_THRESHOLD),
        curves.unmasked.resolution_at(HALF_MAP_THRESHOLD),
    )
