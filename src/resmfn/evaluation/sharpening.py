"""B-factor of a map from its Guinier plot, and sharpening by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.fsc import FscCurve
from resmfn.fourier import low_pass
from resmfn.fourier.half_space import HalfSpaceShells, half_space_of, half_space_radius, map_of_half_space

GUINIER_FROM = 10.0
"""Å: shells coarser than this show the molecule's shape, not the fall of its amplitudes (RELION's default)."""
LEAST_SHELLS = 3  # fewer do not determine a line and its quality
FILTER_EDGE = 2.0
"""Width of the low-pass edge beyond the resolution, shells. No comparison recorded."""
NOISE_SHARE = 0.01
"""Share of the voxels above the recommended contour level, at most, that noise alone would bring there."""
CONTOUR_SAMPLE = 1_000_000
"""Voxels that are ranked for the contour level, at most."""


LARGEST_EXPONENT = 40.0
"""Of the factor that a B-factor gives a frequency: 2e17, far beyond any that means anything, and finite in float32."""


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

    Rosenthal and Henderson, J. Mol. Biol. 333 (2003) 721, eq. 18; 0 where the half maps do not agree,
    or hold nothing, so that there is no correlation: maps that were padded beyond the frequencies of their data.
    """
    correlation = fsc.correlation.nan_to_num(0.0).clamp(0, 1)
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
    mean = HalfSpaceShells.of(len(volume), volume.device).means(half_space_of(volume.double()).abs())
    return fsc.frequency.double().square(), mean * fsc_weight(fsc).double()


def sharpen(volume: Tensor, fsc: FscCurve, b_factor: float, resolution: float) -> Tensor:
    """Weight a map (N, N, N) by its FSC, correct it for a B-factor, and low-pass it at its resolution."""
    size = volume.shape[0]
    pixel_size = 1 / (2 * float(fsc.frequency[-1])) * (2 * (size // 2) / size)
    cutoff = min(size * pixel_size / resolution, size / 2)
    radius = half_space_radius(size, volume.device)
    # What the low-pass takes away is not amplified first: a steep B-factor would overflow in the corners.
    squared = (radius.clamp_max(cutoff + FILTER_EDGE) / (size * pixel_size)).square()
    shell = radius.round().long().clamp_max(len(fsc.frequency) - 1)
    weight = fsc_weight(fsc).to(volume.device)[shell] * torch.exp((-b_factor / 4 * squared).clamp_max(LARGEST_EXPONENT))
    sharpened = map_of_half_space(half_space_of(volume.double()) * weight, size)
    return low_pass(sharpened, cutoff, FILTER_EDGE).to(volume.dtype)


def contour_level(volume: Tensor, mask: Tensor, noise: Tensor) -> float | None:
    """Return a grey value at which the surface of a map encloses density and next to no noise.

    The lowest level of which noise alone would put at most 1 % of the voxels above it (a false discovery rate, as in
    Beckers, Jakobi and Sachse, IUCrJ 6 (2019) 18), or the level that parts bright voxels from dark ones best (Otsu,
    IEEE Trans. SMC 9 (1979) 62) if that is higher, as it is in maps with little noise.

    Parameters
    ----------
    volume
        (N, N, N): the map to be shown.
    mask
        (N, N, N): voxels above 1/2 count.
    noise
        (N, N, N): half the difference of the half maps, filtered and sharpened as the map was.

    Returns
    -------
    float or None
        None where no level is above the noise.
    """
    inside = mask > 0.5
    values = volume[inside].double()
    values = values[:: max(1, len(values) // CONTOUR_SAMPLE)].sort(descending=True).values
    if len(values) < 2:
        return None
    spread = noise[inside].double().std().clamp_min(1e-30)
    rank = torch.arange(1, len(values) + 1, device=values.device)
    share = torch.special.ndtr(-values / spread) * len(values) / rank
    passing = (share <= NOISE_SHARE).nonzero()
    if not len(passing):
        return None
    return max(float(values[passing.max()]), _parting_level(values))


def _parting_level(ordered: Tensor) -> float:
    """Return the value at which the variance between the values (n,) above and below it is largest."""
    n = len(ordered)
    count = torch.arange(1, n, device=ordered.device, dtype=ordered.dtype)
    total = ordered.cumsum(0)
    above, below = total[:-1] / count, (total[-1] - total[:-1]) / (n - count)
    return float(ordered[(count * (n - count) * (above - below).square()).argmax()])
