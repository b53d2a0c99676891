"""Plain tables for the terminal."""

from __future__ import annotations

import math

from resmfn.evaluation import Evaluation, FscCurve, HalfMapResult, MapAlignment
from resmfn.rotations import euler_from_matrix

HANDS = {1: "same", -1: "mirrored"}


def evaluation_table(evaluation: Evaluation) -> str:
    """Lines for the FSC, the alignment, the poses, the shifts and the views; parts not compared are left out."""
    lines: list[str] = []
    if evaluation.maps is not None:
        lines += [fsc_table({"without mask": evaluation.maps.unmasked, "with mask": evaluation.maps.masked}), ""]
        lines += [alignment_table(evaluation.maps.alignment)]
    if evaluation.poses is not None:
        poses = evaluation.poses
        angle = evaluation.map_to_pose_degrees()
        agrees = "" if angle is None else f", {angle:.2f}° from the map's alignment"
        rows = [
            ("rotation error", f"median {poses.errors.median:.2f}°, mean {poses.errors.mean:.2f}°"),
            ("  within 5° / 10°", f"{poses.errors.share_within_5:.1%} / {poses.errors.share_within_10:.1%}"),
            ("shift error", f"rms {poses.shifts.rms:.2f} Å, median {poses.shifts.median:.2f} Å"),
            ("poses' hand", f"{HANDS[poses.alignment.hand]}{agrees}"),
            ("images", f"{poses.n_particles}"),
        ]
        lines += ["" if lines else None, _two_columns(rows)]  # type: ignore[list-item]
    if evaluation.views is not None:
        views = evaluation.views
        text = f"{views.smallest:.2f} to {views.largest:.2f} of even, {views.sparse_share:.0%} of the sphere below 0.5"
        lines += [_two_columns([("view density", text)])]
    return "\n".join(line for line in lines if line is not None)


def alignment_table(alignment: MapAlignment) -> str:
    """Lines for the hand, rotation, shift and score of an alignment."""
    rot, tilt, psi = euler_from_matrix(alignment.rotation.mT).tolist()
    x, y, z = alignment.shift.tolist()
    return _two_columns(
        [
            (
                "map's hand",
                f"{HANDS[alignment.hand]} (score {alignment.score:.3f}, other {alignment.score_other_hand:.3f})",
            ),
            ("rotation", f"rot {rot:.2f}°, tilt {tilt:.2f}°, psi {psi:.2f}°"),
            ("shift", f"x {x:.2f} Å, y {y:.2f} Å, z {z:.2f} Å"),
        ]
    )


def half_map_table(result: HalfMapResult, *, is_masked: bool) -> str:
    """Resolutions of two maps; with a mask also those of the masked and the corrected curve."""
    curves = {"without mask": result.curves.unmasked}
    if is_masked:
        curves |= {"with mask": result.curves.masked, "corrected": result.curves.corrected}
    lines = [fsc_table(curves)]
    if is_masked and result.curves.randomized_from > 0:
        lines.append(f"phases randomized beyond {result.curves.randomized_from:.2f} Å")
    return "\n".join(lines)


def fsc_table(curves: dict[str, FscCurve]) -> str:
    """One line a curve: resolution at 0.5 and at 0.143, and the area."""
    width = max(map(len, curves)) + 2
    lines = [f"{'FSC':<{width}}{'at 0.5':>10}{'at 0.143':>11}{'area':>8}"]
    for name, curve in curves.items():
        half, low = (_angstrom(curve.resolution_at(threshold)) for threshold in (0.5, 0.143))
        lines.append(f"{name:<{width}}{half:>10}{low:>11}{curve.area():>8.3f}")
    return "\n".join(lines)


def _angstrom(resolution: float) -> str:
    return f"{resolution:.2f} Å" if math.isfinite(resolution) else "none"


def _two_columns(rows: list[tuple[str, str]]) -> str:
    width = 19
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
