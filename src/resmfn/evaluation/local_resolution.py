"""Local resolution: the FSC of the half maps inside a moving window."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.evaluation.fsc import FscCurve, fourier_shell_correlation, last_shell_of_both, randomize_phases
from resmfn.evaluation.halfmaps import HALF_MAP_THRESHOLD
from resmfn.fourier import soft_sphere

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
    halves = [half1.double(), half2.double()]
    halves += [randomize_phases(half, start, generator) for half in halves]
    padded = [torch.nn.functional.pad(half, [box // 2] * 6) for half in halves]
    total, weights = (torch.zeros(padded[0].shape, dtype=torch.float64, device=half1.device) for _ in range(2))
    last = last_shell_of_both(half1, half2)
    finest = size * pixel_size / last if 0 < last < size // 2 - 1 else 0.0  # that close to Nyquist, maps end there
    for center in _centers(mask, max(1, round(WINDOW_RADIUS / pixel_size))):
        here = tuple(slice(c, c + box) for c in center)
        resolution = max(finest, _window_resolution([p[here] for p in padded], window, pixel_size))
        total[here] += window / resolution
        weights[here] += window
    middle = (slice(box // 2, box // 2 + size),) * 3
    frequency = total[middle] / weights[middle].clamp_min(1e-12)
    inside = (mask > 0) & (frequency > 0)
    return torch.where(inside, 1 / frequency.clamp_min(1e-12), 0.0).to(half1.dtype)


def _centers(mask: Tensor, step: int) -> list[tuple[int, int, int]]:
    """Return the voxels z, y, x of a lattice through the origin where a mask is above one half."""
    lattice = torch.zeros_like(mask, dtype=torch.bool)
    first = (mask.shape[0] // 2) % step
    lattice[first::step, first::step, first::step] = True
    return [tuple(center) for center in (lattice & (mask > 0.5)).nonzero().tolist()]


def _window_resolution(parts: list[Tensor], window: Tensor, pixel_size: float) -> float:
    """Return the resolution in Å of two halves in a window; the parts are both halves, and both with random phases."""
    curve, noise = (fourier_shell_correlation(parts[i], parts[i + 1], pixel_size, window).correlation for i in (0, 2))
    frequency = torch.arange(len(curve), dtype=torch.float64, device=curve.device) / (window.shape[0] * pixel_size)
    noise = torch.where(frequency > 1 / RANDOMIZED_FROM, noise.clamp(0, 1 - 1e-6), 0.0)
    corrected = FscCurve(frequency, (curve - noise) / (1 - noise))
    return min(corrected.resolution_at(HALF_MAP_THRESHOLD), COARSEST)
