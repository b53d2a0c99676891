"""Figures in words, the same on the terminal and on a page, and plain tables of them."""

from __future__ import annotations

import math

from resmfn.evaluation import Evaluation, FscCurve, HalfMapResult, HandVerdict, MapAlignment
from resmfn.rotations import euler_from_matrix

_RESOLUTIONS = (100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.4, 1.2, 1)
_TICK_GAP = 0.07
"""Least distance of two labels, as a share of the axis: they do not touch in the figures of the report."""
HANDS = {1: "same", -1: "mirrored"}
SAME = 0.01
"""Relative difference from Nyquist within which a resolution is called Nyquist: less than a shell of any box."""


def resolution_ticks(nyquist: float) -> list[float]:
    """Return round resolutions in Å, coarse to fine, with room for their labels on an axis linear in frequency.

    Parameters
    ----------
    nyquist
        End of the axis, 1/Å.
    """
    ticks: list[float] = []
    last = 0.0
    for t in _RESOLUTIONS:
        if 1 / t <= nyquist * 1.0001 and 1 / t - last > _TICK_GAP * nyquist:
            ticks.append(t)
            last = 1 / t
    return ticks


def resolution_words(curve: FscCurve, threshold: float) -> str:
    """Return where a curve falls below a threshold: ``4.25 Å``, ``3.00 Å (Nyquist)`` if it never does, or ``none``."""
    return angstrom(curve.resolution_at(threshold), 1 / float(curve.frequency[-1]))


def angstrom(value: float | None, nyquist: float | None = None) -> str:
    """Return a resolution in words, marked if it is Nyquist.

    Parameters
    ----------
    value
        Å; None or infinity is none.
    nyquist
        Å; None where it is not known.
    """
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:.2f} Å" + (" (Nyquist)" if is_nyquist(value, nyquist) else "")


def is_nyquist(value: float, nyquist: float | None) -> bool:
    """Return whether a resolution is Nyquist."""
    return nyquist is not None and value <= nyquist * (1 + SAME)


def evaluation_table(evaluation: Evaluation) -> str:
    """Lines for the FSC, the alignment, the poses, the shifts and the views; parts not compared are left out."""
    lines: list[str] = []
    if evaluation.maps is not None:
        lines += [fsc_table({"without mask": evaluation.maps.unmasked, "with mask": evaluation.maps.masked}), ""]
        lines += [alignment_table(evaluation.maps.alignment)]
        if evaluation.maps.hand is not None:
            lines += [_two_columns([("hand of the model", hand_words(evaluation.maps.hand))])]
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
        text = (
            f"{views.smallest:.2f} to {views.largest:.2f} of uniform, {views.sparse_share:.0%} of the sphere below 0.5"
        )
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


def hand_words(verdict: HandVerdict) -> str:
    """Say in a line whether a map has the hand of a model, and by what margin."""
    figures = f"mean correlation {verdict.margin:.3f} above that of the other hand, {verdict.significance:.1f} σ"
    if verdict.hand == 0:
        return f"undecided ({figures})"
    return f"{'the map has it' if verdict.hand == 1 else 'the mirror image has it, see --flip-hand'} ({figures})"


def half_map_table(result: HalfMapResult, *, is_masked: bool) -> str:
    """Resolutions of two maps; with a mask also those of the masked and the corrected curve.

    Parameters
    ----------
    result
        Curves of the maps.
    is_masked
        Whether a mask was used.
    """
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
    rows = [("FSC", "at 0.5", "at 0.143", "area")]
    for name, curve in curves.items():
        half, low = (resolution_words(curve, threshold) for threshold in (0.5, 0.143))
        rows.append((name, half, low, f"{curve.area():.3f}"))
    left, right = (max(10, *(len(row[i]) + 2 for row in rows)) for i in (1, 2))
    return "\n".join(f"{a:<{width}}{b:>{left}}{c:>{right}}{d:>8}" for a, b, c, d in rows)


def _two_columns(rows: list[tuple[str, str]]) -> str:
    width = 19
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
