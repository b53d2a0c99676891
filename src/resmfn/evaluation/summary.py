"""The comparison with the truth as one record, and as a dictionary with documented keys.

The keys are listed in ``docs/evaluation.md``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError
from resmfn.evaluation.alignment.map_alignment import MapAlignment, align_maps, apply_alignment
from resmfn.evaluation.alignment.model_hand import HandVerdict, judge_hand
from resmfn.evaluation.alignment.pose_error import (
    PoseAlignment,
    PoseErrors,
    ShiftErrors,
    align_poses,
    aligned_poses,
    shift_error,
)
from resmfn.evaluation.fsc import FscCurve, fourier_shell_correlation
from resmfn.evaluation.views import ViewCoverage, symmetric_copies, view_coverage
from resmfn.fourier.grids import radius_grid
from resmfn.fourier.masks import soft_sphere
from resmfn.rotations import geodesic_degrees

FORMAT_VERSION = 1
TRUTH_THRESHOLD, HALF_MAP_THRESHOLD = 0.5, 0.143
MASK_EDGE = 6.0
"""Voxels over which a spherical mask falls to 0."""
MASKED_SHARE = 0.999
"""Share of the reference's power that the default spherical mask holds."""


@dataclass(frozen=True)
class MapComparison:
    """A map against the true one, after alignment."""

    alignment: MapAlignment
    unmasked: FscCurve
    masked: FscCurve
    aligned: Tensor = field(repr=False)
    """The map in the reference's frame, (N, N, N)."""
    hand: HandVerdict | None = None
    """Which hand is the reference's; None where it was not asked."""


@dataclass(frozen=True)
class PoseComparison:
    """Estimated poses against true ones, after the best global alignment."""

    alignment: PoseAlignment
    errors: PoseErrors
    shifts: ShiftErrors
    n_particles: int


@dataclass(frozen=True)
class Evaluation:
    """A reconstruction against the truth; parts without input are None."""

    maps: MapComparison | None = None
    poses: PoseComparison | None = None
    views: ViewCoverage | None = None
    rotations: Tensor | None = field(default=None, repr=False)
    """Estimated poses A in the true frame where it is known, else in the map's own, with the copies of each that its
    symmetry makes, (n n_copies, 3, 3)."""
    n_copies: int = 1
    """Poses of an image that are alike by symmetry."""
    group: Tensor | None = field(default=None, repr=False)
    """Point group of the map, (m, 3, 3), in the frame of its poses; None without one."""

    def map_to_pose_degrees(self) -> float | None:
        """Angle between the map's and the poses' global rotation; None without both, or where their hands differ.

        Of a map with a point group, the least of those that its elements make of it: they leave the map as it is.
        """
        if self.maps is None or self.poses is None or self.maps.alignment.hand != self.poses.alignment.hand:
            return None
        alike = torch.eye(3, dtype=torch.float64)[None] if self.group is None else self.group.double().cpu()
        turned = self.poses.alignment.rotation.double().cpu() @ alike
        return float(geodesic_degrees(self.maps.alignment.rotation.double().cpu(), turned).min())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers under their documented keys: JSON types only, None for what is not known."""
        return {
            "format_version": FORMAT_VERSION,
            "map": _map_entry(self.maps),
            "hand": None if self.maps is None or self.maps.hand is None else _hand_entry(self.maps.hand),
            "fsc": _fsc_entry(self.maps),
            "poses": _pose_entry(self.poses, self.map_to_pose_degrees()),
            "shifts": _shift_entry(self.poses),
            "views": None if self.views is None else asdict(self.views),
        }


def compare_maps(
    estimated: Tensor, reference: Tensor, pixel_size: float, mask: Tensor, *, both_hands: bool = False
) -> MapComparison:
    """Align a map to the true one and correlate the two with and without a mask.

    Parameters
    ----------
    estimated, reference
        Maps, (N, N, N).
    pixel_size
        Å per voxel.
    mask
        In the reference's frame, (N, N, N).
    both_hands
        Whether to judge the hand as well, by the curves of both.
    """
    verdict = judge_hand(estimated, reference, pixel_size, mask) if both_hands else None
    alignment = align_maps(estimated, reference, pixel_size) if verdict is None else verdict.better
    aligned = apply_alignment(estimated, alignment)
    return MapComparison(
        alignment,
        fourier_shell_correlation(aligned, reference, pixel_size),
        fourier_shell_correlation(aligned, reference, pixel_size, mask),
        aligned,
        verdict,
    )


def compare_poses(
    estimated: Tensor,
    true: Tensor,
    estimated_shift: Tensor | None = None,
    true_shift: Tensor | None = None,
    group: Tensor | None = None,
) -> PoseComparison:
    """Compare poses A (n, 3, 3) and shifts (n, 2) in Å, image by image; shifts left out are 0.

    With the point group of the estimated map, (m, 3, 3), a pose is as good as its nearest symmetric copy.
    """
    none = torch.zeros_like(estimated[:, 0, :2])
    alignment = align_poses(estimated, true, group)
    shifts = shift_error(
        alignment.matched,
        none if estimated_shift is None else estimated_shift,
        none if true_shift is None else true_shift,
    )
    return PoseComparison(alignment, alignment.summary(), shifts, len(estimated))


def evaluate_run(
    maps: MapComparison | None = None,
    poses: PoseComparison | None = None,
    rotations: Tensor | None = None,
    group: Tensor | None = None,
) -> Evaluation:
    """Put the parts of an evaluation together.

    Parameters
    ----------
    maps, poses
        What was compared.
    rotations
        Estimated poses A, (n, 3, 3), as they stand in the file: their views are turned into the true frame.
    group
        Point group of the map, (m, 3, 3), in the frame of those poses: all copies of a pose are counted as views.

    Raises
    ------
    ResmfnError
        If nothing was compared.
    """
    if maps is None and poses is None:
        raise ResmfnError("nothing to compare with: give --reference, --true-poses or both")
    if rotations is None:
        return Evaluation(maps, poses, group=group)
    copies = 1 if group is None else len(group)
    if group is not None:
        rotations = symmetric_copies(rotations, group)
    known = poses or maps
    if known is not None:
        rotations = aligned_poses(rotations, known.alignment.rotation, known.alignment.hand)
    return Evaluation(maps, poses, view_coverage(rotations), rotations, copies, group)


def enclosing_diameter(reference: Tensor, pixel_size: float) -> float:
    """Diameter in Å of the centered sphere that holds 99.9 % of a map's power; it and its soft edge fit the box.

    In boxes of some 12 voxels, which the edge alone fills, it is two voxels.
    """
    box_size = reference.shape[-1]
    radius = radius_grid(box_size, 3, reference.device, reference.dtype).flatten()
    order = torch.argsort(radius)
    power = (reference - reference.median()).square().flatten()[order].cumsum(0)
    enclosing = float(radius[order][int((power < MASKED_SHARE * power[-1]).sum())])
    return 2 * pixel_size * max(min(enclosing, box_size / 2 - MASK_EDGE), 1.0)


def spherical_mask(box_size: int, pixel_size: float, diameter: float) -> Tensor:
    """Centered soft sphere, (N, N, N): 1 inside ``diameter`` (Å), 0 from six voxels outside it on."""
    if diameter <= 0:
        raise ResmfnError(f"the diameter of a mask must be positive, got {diameter:g} Å")
    return soft_sphere(box_size, diameter / pixel_size / 2, MASK_EDGE)


def _curve_entry(curve: FscCurve) -> dict[str, Any]:
    return {
        "resolution_05": _finite(curve.resolution_at(TRUTH_THRESHOLD)),
        "resolution_0143": _finite(curve.resolution_at(HALF_MAP_THRESHOLD)),
        "area": round(curve.area(), 5),
        "correlation": [round(c, 5) for c in curve.correlation.tolist()],
    }


def _map_entry(maps: MapComparison | None) -> dict[str, Any] | None:
    if maps is None:
        return None
    a = maps.alignment
    return {
        "box_size": maps.aligned.shape[-1],
        "pixel_size": a.pixel_size,
        "hand": a.hand,
        "rotation": a.rotation.tolist(),
        "shift": a.shift.tolist(),
        "score": a.score,
        "score_other_hand": a.score_other_hand,
    }


def _hand_entry(verdict: HandVerdict) -> dict[str, Any]:
    curves = {"better": verdict.curve, "other": verdict.curve_other}
    return {
        "hand": verdict.hand,
        "margin": round(verdict.margin, 5),
        "significance": round(verdict.significance, 2),
        "correlation": {name: [round(c, 5) for c in curve.correlation.tolist()] for name, curve in curves.items()},
    }


def _fsc_entry(maps: MapComparison | None) -> dict[str, Any] | None:
    if maps is None:
        return None
    return {
        "frequency": [round(f, 7) for f in maps.unmasked.frequency.tolist()],
        "unmasked": _curve_entry(maps.unmasked),
        "masked": _curve_entry(maps.masked),
    }


def _pose_entry(poses: PoseComparison | None, map_to_pose: float | None) -> dict[str, Any] | None:
    if poses is None:
        return None
    alignment = {"hand": poses.alignment.hand, "rotation": poses.alignment.rotation.tolist()}
    return {"n_particles": poses.n_particles, **asdict(poses.errors), **alignment, "map_to_poses": map_to_pose}


def _shift_entry(poses: PoseComparison | None) -> dict[str, Any] | None:
    if poses is None:
        return None
    shifts = poses.shifts
    return {"rms": shifts.rms, "median": shifts.median, "translation": shifts.translation.tolist()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
