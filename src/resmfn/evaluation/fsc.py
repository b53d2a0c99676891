"""Fourier shell correlation of two maps, and its correction for the mask.

Shells are hard and one Fourier pixel wide (shell = rounded radius), 0 to ``box_size // 2``, as in RELION and EMAN2.
A resolution is the first crossing of a threshold, linearly interpolated in frequency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError, ShapeError
from resmfn.fourier.half_space import HalfSpaceShells, half_space_of, map_of_half_space
from resmfn.fourier.masks import soft_sphere

RANDOMIZE_BELOW = 0.8
"""Phases are randomized from the first shell where the unmasked correlation falls below this, as in RELION."""
RANDOMIZE_MARGIN = 2
"""Shells after that one which the mask still blurs into each other, and which therefore stay uncorrected."""
RANDOM_DRAWS = 4  # averaged, to steady the correction; no comparison recorded
INNER = 0.4
"""Radius in boxes within which the rim does not fade the maps that say from where phases are randomized."""
_MOST_ADDED = 1 - 1e-6
EMPTY = 1e-26
"""A shell with less than this share of the strongest shell's power holds only rounding noise: it is called empty."""
ROUNDED = 1e-12
"""The same share, of maps that were kept in single precision: it leaves some 1e-16. Shell 0 is not the strongest shell
meant: a constant that a map has beside its density would empty all others."""


@dataclass(frozen=True)
class FscCurve:
    """Fourier shell correlation against spatial frequency."""

    frequency: Tensor
    """Center of each shell in 1/Å, (n_shells,), from 0 to Nyquist."""
    correlation: Tensor
    """Correlation of each shell, (n_shells,), -1 to 1; 0 where a map has no power."""

    def resolution_at(self, threshold: float) -> float:
        """Resolution in Å where the curve first falls below ``threshold``, linearly interpolated.

        The last shell (Nyquist) is ignored: a curve that stays above up to it has the Nyquist resolution. One that
        stays above up to a shell where a map ends, and is 0 from there on, has the resolution of the last shell before:
        there is nothing to interpolate to. A curve that is below the threshold at shell 1 has no resolution: infinity.
        Shell 0 is not looked at: it is one real coefficient, which correlates by 1 or -1.
        """
        last = len(self.frequency) - 1
        below = (self.correlation[1:last] < threshold).nonzero().flatten()
        if len(below) == 0:
            return 1.0 / float(self.frequency[last])
        k = int(below[0]) + 1
        if k == 1:
            return math.inf
        upper, lower = float(self.correlation[k - 1]), float(self.correlation[k])
        start, stop = float(self.frequency[k - 1]), float(self.frequency[k])
        ends = not bool(self.correlation[k:].any())
        fraction = 0.0 if ends else (upper - threshold) / (upper - lower)
        return 1.0 / (start + fraction * (stop - start))

    def area(self) -> float:
        """Area under the curve, with frequency as a fraction of Nyquist: 1 for two equal maps."""
        return float(torch.trapezoid(self.correlation, self.frequency) / self.frequency[-1])


@dataclass(frozen=True)
class PhaseRandomizedFsc:
    """The four curves of a mask-corrected half-map comparison."""

    unmasked: FscCurve
    masked: FscCurve
    randomized: FscCurve
    """Masked, with phases of both maps randomized from ``randomized_from`` on: the correlation due to the mask."""
    corrected: FscCurve
    randomized_from: float
    """Å; 0 where the unmasked curve never fell far enough and nothing was randomized."""

    def by_name(self) -> dict[str, FscCurve]:
        """Return the curves as files name and order them."""
        return {name: getattr(self, name) for name in ("corrected", "masked", "unmasked", "randomized")}

    def added_by_mask(self) -> Tensor:
        """Return the correlation due to the mask alone in each shell; 0 where it was not measured."""
        if self.randomized_from == 0:
            return torch.zeros_like(self.randomized.correlation)
        first = round(float(1 / self.randomized_from / self.unmasked.frequency[1])) + RANDOMIZE_MARGIN
        added = self.randomized.correlation.clamp(max=_MOST_ADDED)
        added[:first] = 0.0
        return added


def fourier_shell_correlation(
    a: Tensor, b: Tensor, pixel_size: float, mask: Tensor | None = None, *, shells: HalfSpaceShells | None = None
) -> FscCurve:
    """Correlate two maps shell by shell in Fourier space.

    Parameters
    ----------
    a, b
        Maps, (N, N, N), on the same grid.
    pixel_size
        Å per voxel.
    mask
        Multiplies both maps first, (N, N, N).
    shells
        Those of the box, where they are at hand.

    Returns
    -------
    FscCurve
        N // 2 + 1 shells, computed and returned in float64 (weak shells drown in the rounding of float32).

    Raises
    ------
    ShapeError
        If the maps, or the mask, are not cubes of one size.

    Notes
    -----
    Harauz and van Heel, Optik 73 (1986) 146; hard shells, no soft weights.
    """
    _require_same_cubes(a, b, mask)
    first, second = (half_space_of(x.double() if mask is None else x.double() * mask) for x in (a, b))
    return _curve(first, second, pixel_size, shells or HalfSpaceShells.of(len(a), a.device))


def phase_randomized_fsc(
    half1: Tensor, half2: Tensor, mask: Tensor, pixel_size: float, *, generator: torch.Generator
) -> PhaseRandomizedFsc:
    """Correct a masked half-map correlation for the correlation that the mask itself creates.

    The maps are whitened first: every shell is brought to the same power. Without a mask that changes no correlation;
    under one it keeps the strongest shells, 10^5 times the weakest in a hollow sphere, from leaking into all others.
    Beyond the shell where the correlation within the box (its rim left out, where a neighboring particle may be cut
    off) falls below 0.8, the phases of both maps are replaced by random ones and the masked correlation is measured
    again; that correlation is due to the mask and is subtracted, ``(masked - randomized) / (1 - randomized)``. The
    first two randomized shells keep the masked value. Shells beyond the last that both maps have are 0, as they are
    without a mask: under one they hold what leaks from shells that agree.

    Parameters
    ----------
    half1, half2
        Independent half maps, (N, N, N).
    mask
        Soft mask, (N, N, N), 0 to 1.
    pixel_size
        Å per voxel.
    generator
        Draws the random phases (the mean of four draws).

    Notes
    -----
    Chen et al., Ultramicroscopy 135 (2013) 24, eq. 4.
    """
    shells = HalfSpaceShells.of(len(half1), half1.device)
    unmasked = fourier_shell_correlation(half1, half2, pixel_size, shells=shells)
    nothing = slice(last_shell_of_both(half1, half2, shells) + 1, None)
    half1, half2 = whitened(half1, shells), whitened(half2, shells)
    masked = fourier_shell_correlation(half1, half2, pixel_size, mask, shells=shells)
    masked.correlation[nothing] = 0
    size = half1.shape[0]
    inner = soft_sphere(size, INNER * size, (0.5 - INNER) * size, device=half1.device)
    loose = fourier_shell_correlation(half1, half2, pixel_size, inner, shells=shells)
    low = (loose.correlation[1:] < RANDOMIZE_BELOW).nonzero().flatten()
    if len(low) == 0:
        return PhaseRandomizedFsc(unmasked, masked, masked, masked, 0.0)
    start = int(low[0]) + 1
    draws = []
    for _ in range(RANDOM_DRAWS):
        first, second = (randomize_phases(half, start, generator, shells) for half in (half1, half2))
        draws.append(fourier_shell_correlation(first, second, pixel_size, mask, shells=shells).correlation)
    randomized = torch.stack(draws).mean(0)
    randomized[nothing] = 0
    corrected = masked.correlation.clone()
    beyond = start + RANDOMIZE_MARGIN
    noise = randomized[beyond:].clamp(max=_MOST_ADDED)
    corrected[beyond:] = ((corrected[beyond:] - noise) / (1 - noise)).clamp(min=-1.0)
    frequency = unmasked.frequency
    return PhaseRandomizedFsc(
        unmasked,
        masked,
        FscCurve(frequency, randomized),
        FscCurve(frequency, corrected),
        1.0 / float(frequency[start]),
    )


def last_shell_of_both(half1: Tensor, half2: Tensor, shells: HalfSpaceShells | None = None) -> int:
    """Return the last shell in which two maps (N, N, N) both have more power than rounding leaves."""
    shells = shells or HalfSpaceShells.of(len(half1), half1.device)
    return min(_last_shell(half1, shells), _last_shell(half2, shells))


def _last_shell(volume: Tensor, shells: HalfSpaceShells) -> int:
    power = shells.means(_power(half_space_of(volume.double())))
    strongest = power[1:].max()
    return int((power > ROUNDED * strongest).nonzero().max()) if bool(strongest > 0) else 0


def whitened(volume: Tensor, shells: HalfSpaceShells | None = None) -> Tensor:
    """Return a map (N, N, N) in float64 whose shells all have the same power; shells without any stay empty."""
    transform, shells = half_space_of(volume.double()), shells or HalfSpaceShells.of(len(volume), volume.device)
    power = shells.sums(_power(transform)) / shells.count
    gain = torch.where(power > ROUNDED * power[1:].max(), power.clamp_min(1e-300).rsqrt(), 0.0)
    return map_of_half_space(transform.mul_(gain[shells.index]), len(volume))


def fsc_csv_text(curves: Mapping[str, FscCurve]) -> str:
    """Return curves on one frequency axis as CSV text.

    Columns: ``shell``, ``frequency`` (1/Å), ``resolution`` (Å, empty at shell 0), then one a curve, by its name.
    """
    if not curves:
        raise ResmfnError("a table of curves needs at least one curve, got none")
    frequency = next(iter(curves.values())).frequency
    if any(not torch.equal(c.frequency, frequency) for c in curves.values()):
        raise ResmfnError("curves of one table must share their frequencies, got different boxes or pixel sizes")
    rows = [",".join(("shell", "frequency", "resolution", *curves))]
    for k, f in enumerate(frequency.tolist()):
        values = [f"{float(c.correlation[k]):.6f}" for c in curves.values()]
        rows.append(",".join((str(k), f"{f:.8f}", f"{1 / f:.4f}" if f else "", *values)))
    return "\n".join(rows) + "\n"


def _curve(a: Tensor, b: Tensor, pixel_size: float, shells: HalfSpaceShells) -> FscCurve:
    """Correlate the coefficients of two maps."""
    box_size = len(a)
    used = slice(box_size // 2 + 1)
    cross = shells.sums((torch.view_as_real(a) * torch.view_as_real(b)).sum(dim=-1))[used]
    power = (shells.sums(_power(a)) * shells.sums(_power(b))).sqrt()[used]
    floor = max(EMPTY * float((power / shells.count[used]).max()), torch.finfo(power.dtype).tiny) * shells.count[used]
    correlation = torch.where(power > floor, cross / power.clamp(min=floor), 0.0)
    frequency = torch.arange(len(power), dtype=power.dtype, device=power.device) / (box_size * pixel_size)
    return FscCurve(frequency, correlation)


def _power(coefficients: Tensor) -> Tensor:
    return torch.view_as_real(coefficients).square().sum(dim=-1)


def randomize_phases(
    volume: Tensor, start: int, generator: torch.Generator, shells: HalfSpaceShells | None = None
) -> Tensor:
    """Give every coefficient of a map (N, N, N) from shell ``start`` on the phase of white noise; amplitudes stay."""
    shells = shells or HalfSpaceShells.of(len(volume), volume.device)
    noise = torch.randn(volume.shape, generator=generator, dtype=torch.float64, device=generator.device)
    phase = half_space_of(noise.to(volume.device)).sgn_()
    transform = half_space_of(volume.double())
    return map_of_half_space(torch.where(shells.index >= start, phase.mul_(transform.abs()), transform), len(volume))


def _require_same_cubes(a: Tensor, b: Tensor, mask: Tensor | None) -> None:
    shapes = [tuple(x.shape) for x in (a, b, mask) if x is not None]
    if len(set(shapes)) != 1 or len(shapes[0]) != 3 or len(set(shapes[0])) != 1:
        listed = ", ".join("x".join(map(str, s)) for s in shapes)
        raise ShapeError(f"maps and mask must be cubes of one size, got {listed}: resample one of them first")
