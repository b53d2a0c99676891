"""Validation of a map by its two half maps, in one record."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.directional import DirectionalFsc, directional_fsc
from resmfn.evaluation.fsc import FscCurve
from resmfn.evaluation.halfmaps import HalfMapResult, half_map_resolution
from resmfn.evaluation.local_resolution import local_resolution
from resmfn.evaluation.sharpening import GuinierFit, contour_level, fit_guinier, sharpen

LOCAL_SAMPLE = 1_000_000
"""Voxels whose local resolutions are ranked at most."""


@dataclass(frozen=True)
class Validation:
    """Figures and maps derived from two half maps."""

    halves: HalfMapResult
    fit: GuinierFit | None
    """None where too few shells lie between 10 Å and the resolution."""
    b_factor: float
    """Å^2, that was corrected for: fitted or given."""
    directions: DirectionalFsc
    local: Tensor
    """(N, N, N): local resolution inside the mask, Å; 0 elsewhere."""
    sharpened: Tensor
    """(N, N, N): the mean of the halves, weighted by its FSC, sharpened, filtered at its resolution, masked."""
    contour: float | None = None
    """Grey value at which to look at the sharpened map; None where no level is above the noise."""

    def figures(self) -> dict[str, object]:
        """Return the figures by name: Å, Å^2, and shares (docs/validation.md); None where there is none."""
        curves, resolutions = self.halves.curves, self.directions.resolutions()
        named = {"unmasked": curves.unmasked, "masked": curves.masked, "corrected": curves.corrected}
        return {
            **figures_of_curves(named),
            "phases_randomized_from": figure(curves.randomized_from),
            "b_factor": None if self.fit is None else figure(self.fit.b_factor),
            "b_factor_undone": figure(self.b_factor),
            "guinier_correlation": None if self.fit is None else figure(self.fit.correlation),
            "directional_resolution": {
                "best": figure(float(resolutions.min())),
                "worst": figure(float(resolutions.max())),
                "sphericity": figure(self.directions.sphericity()),
                "cfar": figure(self.directions.area_ratio()),
            },
            "local_resolution": self._local_figures(),
            "contour_level": None if self.contour is None else float(f"{self.contour:.5g}"),
        }

    def _local_figures(self) -> dict[str, float | None]:
        inside = self.local[self.local > 0].double()
        names = ("p05", "median", "p95")
        if not len(inside):
            return dict.fromkeys(names)
        shares = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64, device=inside.device)
        spread = torch.quantile(inside[:: max(1, len(inside) // LOCAL_SAMPLE)], shares)
        return dict(zip(names, map(figure, spread.tolist()), strict=True))

    def directional_curves(self) -> dict[str, FscCurve]:
        """Return the lowest, middle and highest correlation of all directions, by shell, and those along the axes."""
        correlation, frequency = self.directions.correlation, self.directions.frequency
        ranked = correlation.sort(dim=0).values
        found = {"lowest": ranked[0], "median": ranked[len(ranked) // 2], "highest": ranked[-1]}
        for axis, name in enumerate("xyz"):
            found[f"along_{name}"] = correlation[self.directions.directions[:, axis].abs().argmax()]
        return {name: FscCurve(frequency, values) for name, values in found.items()}


def validate_halves(
    half1: Tensor,
    half2: Tensor,
    mask: Tensor,
    pixel_size: float,
    *,
    generator: torch.Generator,
    b_factor: float | None = None,
    halves: HalfMapResult | None = None,
) -> Validation:
    """Measure curves, B-factor, local and directional resolution, and sharpen.

    Parameters
    ----------
    half1, half2
        (N, N, N): maps of disjoint halves of the particles, in one frame, made without the mask.
    mask
        (N, N, N), soft.
    pixel_size
        Å.
    generator
        Draws random phases.
    b_factor
        B-factor to correct for, Å^2, instead of the fitted one.
    halves
        Their curves, where they are known already.
    """
    if halves is None:
        halves = half_map_resolution(half1, half2, mask, pixel_size, generator=generator)
    mean, corrected = (half1 + half2) / 2, halves.curves.corrected
    fit = None if math.isinf(halves.resolution) else fit_guinier(mean, corrected, halves.resolution)
    undone = b_factor if b_factor is not None else (0.0 if fit is None else fit.b_factor)
    sharpened = sharpen(mean, corrected, undone, halves.resolution) * mask
    noise = sharpen((half1 - half2) / 2, corrected, undone, halves.resolution)
    return Validation(
        halves,
        fit,
        undone,
        directional_fsc(half1, half2, pixel_size, mask, added_by_mask=halves.curves.added_by_mask()),
        local_resolution(half1, half2, mask, pixel_size, generator=generator),
        sharpened,
        contour_level(sharpened, mask, noise),
    )


def figures_of_curves(curves: dict[str, FscCurve]) -> dict[str, dict[str, float | None]]:
    """Return resolutions (Å) and areas of curves, by their names."""
    return {
        "resolution_0143": {name: figure(curve.resolution_at(0.143)) for name, curve in curves.items()},
        "resolution_05": {name: figure(curve.resolution_at(0.5)) for name, curve in curves.items()},
        "fsc_area": {name: figure(curve.area()) for name, curve in curves.items()},
    }


def figure(value: float) -> float | None:
    """Return a rounded figure, or None where there is none."""
    return round(value, 4) if math.isfinite(value) else None
