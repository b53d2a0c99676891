"""One picture that shows how good a reconstruction is: FSC, central slices, views, pose errors."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from resmfn.core import atomic_write
from resmfn.evaluation import (
    Evaluation,
    FscCurve,
    MapComparison,
    PoseComparison,
    ViewCoverage,
    enclosing_diameter,
)
from resmfn.fourier import low_pass
from resmfn.reports.html.pictures import graticule, view_sphere
from resmfn.reports.tables import resolution_ticks, resolution_words

DPI = 150
STYLE: dict[Any, Any] = {"font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN, GRAY = "#1f5fa8", "#d9730d", "#2e8540", "#666666"
SCALE_BARS = (500, 200, 100, 50, 20, 10, 5, 2, 1)
ERROR_RANGE = 30.0
GRAY_SAMPLE = 1_000_000
"""Voxels that are ranked for the gray scale, at most about."""


def draw_evaluation(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    reference: Tensor | None = None,
    half_maps: Mapping[str, FscCurve] | None = None,
) -> None:
    """Draw what an evaluation found as one PNG.

    Parameters
    ----------
    path
        The PNG; an existing one is replaced.
    evaluation
        The parts it lacks are left out of the picture.
    reference
        The true map, (N, N, N), for the slices.
    half_maps
        Curves of the run's fsc.csv by name; "corrected" is drawn, or else the first.
    """
    from matplotlib import rc_context

    with rc_context(STYLE), atomic_write(path) as temporary:
        _compose(evaluation, reference, half_maps or {}).savefig(temporary, dpi=DPI, format="png")


def _compose(evaluation: Evaluation, reference: Tensor | None, half_maps: Mapping[str, FscCurve]) -> Figure:
    """Two rows: what concerns the map, what concerns the poses."""
    maps, poses, views = evaluation.maps, evaluation.poses, evaluation.views
    rows = [maps is not None, evaluation.rotations is not None or poses is not None]
    figure = Figure(figsize=(13, 4.9 * sum(rows)), layout="constrained")
    parts = iter(figure.subfigures(sum(rows), 1, squeeze=False).flat)
    if maps is not None:
        left, right = next(parts).subfigures(1, 2, width_ratios=(1, 1.15))
        _draw_fsc(left.subplots(), maps, half_maps)
        if reference is not None:
            _draw_slices(right, maps, reference)
    if rows[1]:
        left, right = next(parts).subfigures(1, 2, width_ratios=(1.15, 1))
        if evaluation.rotations is not None and views is not None:
            _draw_views(left, evaluation, views)
        if poses is not None:
            _draw_errors(right.subplots(), poses)
    return figure


def _draw_fsc(axes: Axes, maps: MapComparison, half_maps: Mapping[str, FscCurve]) -> None:
    """Curves against spatial frequency, with the resolution at their thresholds in the legend."""
    curves: list[tuple[FscCurve, str, str, str, float, tuple[float, ...]]] = [
        (maps.masked, "with mask", BLUE, "-", 2.4, (0.5, 0.143)),
        (maps.unmasked, "without mask", ORANGE, "--", 1.4, (0.5, 0.143)),
    ]
    nyquist = float(maps.masked.frequency[-1])
    if half_maps:
        name = "corrected" if "corrected" in half_maps else next(iter(half_maps))
        curves += [(half_maps[name], "half maps", GREEN, "-", 1.4, (0.143,))]
    for curve, name, color, style, width, thresholds in curves:
        found = [(t, curve.resolution_at(t)) for t in thresholds]
        found = [(t, resolution) for t, resolution in found if math.isfinite(resolution)]
        label = ", ".join(f"{resolution_words(curve, t)} at {t:g}" for t, _ in found) or "none"
        axes.plot(
            curve.frequency.tolist(), curve.correlation.tolist(), style, color=color, lw=width, label=f"{name}: {label}"
        )
        crossed = [(1 / resolution, t) for t, resolution in found if 1 / resolution < nyquist]
        axes.plot([f for f, _ in crossed], [t for _, t in crossed], "o", color=color, ms=5)
    for threshold in (0.5, 0.143):
        axes.axhline(threshold, color=GRAY, lw=0.8, ls=":")
        axes.text(1.01 * nyquist, threshold, f"{threshold}", color=GRAY, fontsize=9, va="center")
    axes.set(xlim=(0, nyquist), ylim=(min(-0.05, float(maps.unmasked.correlation.min()) - 0.02), 1.03))
    axes.set(xlabel="spatial frequency (1/Å)", ylabel="Fourier shell correlation")
    axes.legend(loc="best", framealpha=0.9, edgecolor="none")
    top = axes.secondary_xaxis("top")
    ticks = resolution_ticks(nyquist)
    top.set_xticks([1 / t for t in ticks], [f"{t:g}" for t in ticks])
    top.set_xlabel("resolution (Å)")


def _draw_slices(figure: SubFigure, maps: MapComparison, reference: Tensor) -> None:
    """Central sections of the aligned map above those of the reference: one filter, one gray scale, one crop."""
    pixel_size, box_size = maps.alignment.pixel_size, reference.shape[0]
    resolution = maps.masked.resolution_at(0.5)
    if math.isfinite(resolution):
        cutoff = box_size * pixel_size / resolution
        aligned, reference = (low_pass(v.cpu().double(), cutoff, 2.0) for v in (maps.aligned, reference))
        note = f" (to {resolution:.1f} Å)"
    else:
        aligned, reference, note = maps.aligned.cpu().double(), reference.cpu().double(), ""
    spread = aligned - aligned.mean()
    aligned = spread * ((spread * (reference - reference.mean())).sum() / spread.square().sum()) + reference.mean()
    center = box_size // 2
    half = min(center, math.ceil(0.58 * enclosing_diameter(reference, pixel_size) / pixel_size))
    crop = slice(center - half, center + half)
    values = reference[crop, crop, crop].flatten()
    values = values[:: len(values) // GRAY_SAMPLE + 1]  # quantile takes 2^24 values at most, and needs fewer
    low, high = (float(values.quantile(q)) for q in (0.02, 0.998))
    panels: Any = figure.subplots(2, 3)
    for row, (volume, name) in enumerate(((aligned, "aligned map"), (reference, "reference"))):
        sections = ((volume[center], "x", "y"), (volume[:, center], "x", "z"), (volume[:, :, center], "y", "z"))
        for axes, (section, across, up) in zip(panels[row], sections, strict=True):
            pixels = section[crop, crop].numpy()
            axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="bicubic")
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(f"{across}{up} section")
            for spine in axes.spines.values():
                spine.set_visible(False)
        panels[row][0].set_ylabel(name + note, fontsize=11)
    _draw_scale_bar(panels[1][0], pixel_size, 2 * half)


def _draw_scale_bar(axes: Axes, pixel_size: float, box_size: int) -> None:
    length = next(s for s in (*SCALE_BARS, 0.0) if s <= 0.3 * box_size * pixel_size)
    start, height = 0.06 * box_size, 0.07 * box_size
    axes.plot([start, start + length / pixel_size], [height, height], color="white", lw=3, solid_capstyle="butt")
    axes.text(start, height + 0.03 * box_size, f"{length:g} Å", color="white", fontsize=10, va="bottom")


def _draw_views(figure: SubFigure, evaluation: Evaluation, views: ViewCoverage) -> None:
    """Density of viewing directions over the sphere in an equal-area (Mollweide) projection."""
    rotation, copies = evaluation.rotations, evaluation.n_copies
    if rotation is None:
        return
    axes = figure.add_subplot()
    density = view_sphere(rotation)
    top = max(2.0, float(np.nanmax(density)))
    image = axes.imshow(density, cmap="viridis", vmin=0, vmax=top, extent=(-1, 1, -1, 1), aspect=0.5)
    meridians, labels = graticule()
    for line in meridians:
        axes.plot(*line.T, color="white", lw=0.4, alpha=0.4)
    for x, text in labels:
        axes.text(x + 0.01, 0.01, text, color="white", fontsize=8)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[], yticks=[], xlabel="rot", ylabel="tilt")
    axes.set_frame_on(False)
    in_true_frame = evaluation.maps is not None or evaluation.poses is not None
    frame = "in the reference's frame" if in_true_frame else "in the map's frame"
    counted = f", each {copies} times by its symmetry" if copies > 1 else ""
    axes.set_title(f"Viewing directions of {len(rotation) // copies} images{counted}, {frame}", pad=14)
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.06, pad=0.08, aspect=36)
    bar.set_label(
        f"density (1 = uniform views). From {views.smallest:.2g} to {views.largest:.2g}; "
        f"{views.sparse_share:.0%} of the sphere below 0.5"
    )


def _draw_errors(axes: Axes, poses: PoseComparison) -> None:
    """Histogram of rotation errors; errors beyond the range are counted in the last bar."""
    e = poses.alignment.errors_deg.cpu()
    limit = ERROR_RANGE if poses.errors.median < ERROR_RANGE / 2 else 180.0
    n_bins = 60
    edges = torch.linspace(0, limit, n_bins + 1)
    share = torch.histc(e.clamp(max=limit * (1 - 1e-9)), n_bins, 0, limit) / len(e)
    axes.bar(
        edges[:-1].tolist(),
        (100 * share).tolist(),
        width=limit / n_bins,
        align="edge",
        color=BLUE,
        edgecolor="white",
        lw=0.4,
    )
    axes.axvline(poses.errors.median, color=ORANGE, lw=1.5)
    beyond = float((e > limit).double().mean())
    lines = [
        f"median {poses.errors.median:.2f}°, mean {poses.errors.mean:.2f}°",
        f"within 5°: {poses.errors.share_within_5:.1%}",
        f"within 10°: {poses.errors.share_within_10:.1%}",
    ]
    if limit < 180:
        lines.append(f"beyond {limit:g}°: {beyond:.1%} (last bar)")
    lines += [
        f"shift error {poses.shifts.rms:.2f} Å rms",
        f"hand: {'same' if poses.alignment.hand > 0 else 'mirrored'}",
    ]
    axes.text(0.97, 0.95, "\n".join(lines), transform=axes.transAxes, ha="right", va="top", linespacing=1.5)
    axes.set(xlim=(0, limit), xlabel="rotation error (degrees)", ylabel="images (%)")
    axes.set_title("Pose errors after global alignment")
