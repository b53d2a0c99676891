"""Which hand of a map a known structure has: the map and its mirror image, each fitted rigidly, and compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.alignment.map_alignment import MapAlignment, align_both_hands, apply_alignment
from resmfn.evaluation.fsc import FscCurve, fourier_shell_correlation
from resmfn.fourier.grids import shell_index

DECIDED = 5.0
"""Standard errors by which one hand must fit better."""
LEAST_MARGIN = 0.02
"""Difference of the areas under both curves, as shares of the frequencies where either fits: a model that is not the
molecule fits neither hand, and a chance difference of it is no hand."""
FITS = 0.143
"""Correlation down to which a shell of either hand counts."""
LARGEST = 0.999
"""Correlation beyond which Fisher's transform is cut off."""


@dataclass(frozen=True)
class HandVerdict:
    """Both hands of a map against a structure."""

    hand: int
    """1: the map has the structure's hand; -1: its mirror image has; 0: undecided."""
    margin: float
    """Mean correlation of the better hand less that of the other, over the shells where either fits."""
    significance: float
    """The same in standard errors."""
    better: MapAlignment
    other: MapAlignment
    curve: FscCurve
    """Map and structure within the mask, the better hand."""
    curve_other: FscCurve


def judge_hand(volume: Tensor, structure: Tensor, pixel_size: float, mask: Tensor) -> HandVerdict:
    """Fit both hands of a map to a structure, and say which is right.

    Parameters
    ----------
    volume, structure
        (N, N, N): a map, and the density of a model.
    pixel_size
        Å.
    mask
        (N, N, N), in the structure's frame.

    Notes
    -----
    Correlations of a shell are compared by Fisher's transform, whose variance is 1 / n with n the independent
    coefficients of the shell: half of its voxels (Friedel's law) times the share of the box that the mask holds.
    """
    alignments = align_both_hands(volume, structure, pixel_size)
    curves = [
        fourier_shell_correlation(apply_alignment(volume, alignment), structure, pixel_size, mask)
        for alignment in alignments
    ]
    better, other = (curve.correlation for curve in curves)
    low = (torch.maximum(better, other)[1:-1] < FITS).nonzero()
    last = int(low[0]) if len(low) else len(better) - 2
    if last < 1:
        return HandVerdict(0, 0.0, 0.0, *alignments, *curves)
    judged = slice(1, last + 1)
    size = volume.shape[0]
    voxels = torch.bincount(shell_index(size, 3).flatten(), minlength=size // 2 + 1)[judged].double()
    free = (voxels / 2 * float(mask.double().square().mean())).clamp_min(1.0)
    difference = _fisher(better[judged]) - _fisher(other[judged])
    significance = float((free * difference).sum() / (2 * free.sum()).sqrt())
    margin = float((better - other)[judged].mean())
    decided = significance > DECIDED and margin > LEAST_MARGIN
    return HandVerdict(alignments[0].hand if decided else 0, margin, significance, *alignments, *curves)


def _fisher(correlation: Tensor) -> Tensor:
    return torch.atanh(correlation.clamp(-LARGEST, LARGEST))
