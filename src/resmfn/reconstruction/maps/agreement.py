"""How far two half maps agree, and how far the next round may use the images."""

from __future__ import annotations

from torch import Tensor

from resmfn.evaluation import fourier_shell_correlation


def half_map_fsc(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """Return the correlation of two maps ``(M, M, M)`` in each shell up to a radius; empty shells have 0."""
    curve = fourier_shell_correlation(first, second, 1.0).correlation
    return curve[: int(radius) + 1].nan_to_num(0.0)


def next_radius(fsc: Tensor, radius: float, radius_max: float) -> float:
    """Return how far the next round may use the images: a little beyond where the half maps still agree.

    The step is at most a quarter of the radius, so that no pose is more than a fraction of a wavelength off.
    """
    below = (fsc[1:] < 0.3).nonzero()
    agreed = float(below[0]) if len(below) else float(len(fsc) - 1)
    wanted = max(agreed * 1.15 + 2, radius) if len(below) else radius * 1.25 + 1
    return min(wanted, radius * 1.25 + 1, radius_max)
