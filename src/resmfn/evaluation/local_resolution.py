"""Local resolution: the FSC of the half maps inside a moving window."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.fsc import FscCurve, fourier_shell_correlation, last_shell_of_both, randomize_phases
from resmfn.evaluation.halfmaps import HALF_MAP_THRESHOLD
from resmfn.fourier import soft_sphere
from resmfn.fourier.half_space import HalfSpaceShells

WINDOW_RADIUS, WINDOW_EDGE = 12.5, 25.0
"""Å: a soft sphere, as RELION's local resolution has it by default."""
RANDOMIZED_FROM = 25.0
"""Å: beyond it, the correlation due to the window is measured by phase randomization and subtracted.
No comparison recorded."""
COARSEST = 50.0  # Å, where a window never agrees; no comparison recorded


def local_resolution(
    half1: Tensor, half2: Tensor, mask: Tensor, pixel_size: float, *, generator: torch.Generator
) -> Tensor:
    """Return the local resolution (N, N, N) in Å: inside the mask, and 0 elsewhere.

    Windows stand a radius (12.5 Å) apart wherever the mask is above one half. In each, the FSC is corrected for
    the window as in :func:`phase_randomized_fsc`; its first fall below 0.143 is spread over the window's voxels, in
    frequency, weighted by the window. No window is finer than the maps go.

    Parameters
    ----------
    half1, half2
        (N, N, N): independent half maps, better not masked tightly.
    mask
        (N, N, N), 0 to 1.
    pixel_size
        Å.
    generator
        Draws the random phases.

    Notes
    -----
    Windowed FSC: Cardone, Heymann and Steven, J. Struct. Biol. 184 (2013) 226; weights as in relion_postprocess.
    """
    size = half1.shape[0]
    reach = math.ceil((WINDOW_RADIUS + WINDOW_EDGE) / pixel_size)
    box = 2 * reach + 2
    window = soft_sphere(
        box, WINDOW_RADIUS / pixel_size, WINDOW_EDGE / pixel_size, device=half1.device, dtype=torch.float64
    )
    start = max(1, round(size * pixel_size / RANDOMIZED_FROM))
    centers = _centers(mask, max(1, round(WINDOW_RADIUS / pixel_size)))
    if not centers:
        return torch.zeros_like(half1)
    around = _Surroundings.of(torch.tensor(centers), box, size)
    of_box = HalfSpaceShells.of(size, half1.device)
    randomized = (randomize_phases(half, start, generator, of_box).to(half1.dtype) for half in (half1, half2))
    parts = [around.cut(part) for part in (half1, half2, *randomized)]
    shells = HalfSpaceShells.of(box, half1.device)
    total, weights = (torch.zeros_like(parts[0]) for _ in range(2))
    last = last_shell_of_both(half1, half2, of_box)
    finest = size * pixel_size / last if 0 < last < size // 2 - 1 else 0.0  # that close to Nyquist, maps end there
    for center in centers:
        here = around.window(center)
        resolution = max(finest, _window_resolution([part[here] for part in parts], window, pixel_size, shells))
        total[here] += window / resolution
        weights[here] += window
    frequency = around.put_back(total / weights.clamp_min(1e-12))
    inside = (mask > 0) & (frequency > 0)
    return torch.where(inside, 1 / frequency.clamp_min(1e-12), 0.0).to(half1.dtype)


@dataclass(frozen=True)
class _Surroundings:
    """The part of a box that all windows together cover; beyond the box maps are 0."""

    first: tuple[int, ...]
    """Its first voxel z, y, x, and the one after its last; negative, or beyond the box, where windows are."""
    last: tuple[int, ...]
    window_size: int
    box_size: int

    @classmethod
    def of(cls, centers: Tensor, window_size: int, box_size: int) -> _Surroundings:
        half = window_size // 2
        first, last = centers.amin(dim=0) - half, centers.amax(dim=0) - half + window_size
        return cls(tuple(first.tolist()), tuple(last.tolist()), window_size, box_size)

    def cut(self, volume: Tensor) -> Tensor:
        """Return what lies in it of a map (N, N, N)."""
        return torch.nn.functional.pad(volume, self._margins())

    def put_back(self, part: Tensor) -> Tensor:
        """Return a map (N, N, N) that is 0 elsewhere."""
        return torch.nn.functional.pad(part, [-margin for margin in self._margins()])

    def window(self, center: tuple[int, int, int]) -> tuple[slice, ...]:
        """Return where the window around a voxel of the box lies in it."""
        starts = (c - self.window_size // 2 - first for c, first in zip(center, self.first, strict=True))
        return tuple(slice(start, start + self.window_size) for start in starts)

    def _margins(self) -> list[int]:
        pairs = [(-first, last - self.box_size) for first, last in zip(self.first, self.last, strict=True)]
        return [margin for pair in reversed(pairs) for margin in pair]


def _centers(mask: Tensor, step: int) -> list[tuple[int, int, int]]:
    """Return the voxels z, y, x of a lattice through the origin where a mask is above one half."""
    lattice = torch.zeros_like(mask, dtype=torch.bool)
    first = (mask.shape[0] // 2) % step
    lattice[first::step, first::step, first::step] = True
    return [tuple(center) for center in (lattice & (mask > 0.5)).nonzero().tolist()]


def _window_resolution(parts: list[Tensor], window: Tensor, pixel_size: float, shells: HalfSpaceShells) -> float:
    """Return the resolution in Å of two halves in a window; the parts are both halves, and both with random phases."""
    curve, noise = (
        fourier_shell_correlation(parts[i], parts[i + 1], pixel_size, window, shells=shells).correlation for i in (0, 2)
    )
    frequency = torch.arange(len(curve), dtype=torch.float64, device=curve.device) / (window.shape[0] * pixel_size)
    noise = torch.where(frequency > 1 / RANDOMIZED_FROM, noise.clamp(0, 1 - 1e-6), 0.0)
    corrected = FscCurve(frequency, (curve - noise) / (1 - noise))
    return min(corrected.resolution_at(HALF_MAP_THRESHOLD), COARSEST)
