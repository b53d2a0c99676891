"""B-factor of a map from its Guinier plot, and sharpening by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.fsc import FscCurve
from resmfn.fourier import low_pass, radius_grid, shell_average
from resmfn.fourier.transforms import fftn_centered, ifftn_centered

GUINIER_FROM = 10.0
"""Å: shells coarser than this show the molecule's shape, not the fall of its amplitudes (RELION's default)."""
LEAST_SHELLS = 3  # fewer do not determine a line and its quality
FILTER_EDGE = 2.0
"""Width of the low-pass edge beyond the resolution, shells. No comparison recorded."""


@dataclass(frozen=True)
class GuinierFit:
    """A straight line through the logarithm of the amplitudes over the squared frequency."""

    b_factor: float
    """Å^2: 4 times the slope; below 0 where amplitudes fall."""
    correlation: float
    """Of the line with the points; -1 is a perfect fall."""
    n_shells: int
    intercept: float = 0.0
    """Logarithm of the line's amplitude at frequency 0."""


def fsc_weight(fsc: FscCurve) -> Tensor:
    """Return the expected correlation of each shell of the full map with the truth, ``sqrt(2 FSC / (1 + FSC))``.

    Rosenthal and Henderson, J. Mol. Biol. 333 (2003) 721, eq. 18; 0 where the half maps do not agree.
    """
    correlation = fsc.correlation.clamp(0, 1)
    return (2 * correlation / (1 + correlation)).sqrt()


def fit_guinier(volume: Tensor, fsc: FscCurve, resolution: float) -> GuinierFit | None:
    """Fit the fall of a map's amplitudes between 10 Å and its resolution; None if fewer than three shells lie there.

    Parameters
    ----------
    volume
        (N, N, N): the mean of two half maps.
    fsc
        Of those halves, mask-corrected; weights the amplitudes first, so that noise does not flatten the fall.
    resolution
        Å: the last shell to use.
    """
    squared, amplitude = guinier_points(volume, fsc)
    used = (fsc.frequency >= 1 / GUINIER_FROM) & (fsc.frequency <= 1 / resolution) & (amplitude > 0)
    if int(used.sum()) < LEAST_SHELLS:
        return None
    x, y = squared[used], amplitude[used].log()
    middle = (float(x.mean()), float(y.mean()))
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / x.square().sum())
    correlation = float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt().clamp_min(1e-300))
    return GuinierFit(4 * slope, correlation, int(used.sum()), middle[1] - slope * middle[0])


def guinier_points(volume: Tensor, fsc: FscCurve) -> tuple[Tensor, Tensor]:
    """Return the squared frequency (1/Å^2) of each shell of a map (N, N, N), and its FSC-weighted mean amplitude."""
    amplitude = shell_average(fftn_centered(volume.double()).abs(), volume.shape[0]) * fsc_weight(fsc).double()
    return fsc.frequency.double().square(), amplitude


def sharpen(volume: Tensor, fsc: FscCurve, b_factor: float, resolution: float) -> Tensor:
    """Weight a map (N, N, N) by its FSC, correct it for a B-factor, and low-pass it at its resolution."""
    size = volume.shape[0]
    pixel_size = 1 / (2 * float(fsc.frequency[-1])) * (2 * (size // 2) / size)
    radius = radius_grid(size, 3, volume.device)
    squared = (radius / (size * pixel_size)).square()
    shell = radius.round().long().clamp_max(len(fsc.frequency) - 1)
    weight = fsc_weight(fsc).to(volume.device)[shell] * torch.exp(-b_factor / 4 * squared)
    sharpened = ifftn_centered(fftn_centered(volume.double()) * weight).real
    cutoff = min(size * pixel_size / resolution, size / 2)
    return low_pass(sharpened, cutoff, FILTER_EDGE).to(volume.dtype)
