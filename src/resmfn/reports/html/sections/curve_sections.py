"""The sections of curves and figures: agreement of the half maps, validation, and comparison with a known truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resmfn.core import ResmfnError
from resmfn.data import read_map
from resmfn.data.runs.file_names import HALF_MAPS, UNMASKED_HALF_MAPS
from resmfn.evaluation import FscCurve, fit_guinier, guinier_points
from resmfn.reports.html.charts import Axes, Line, line_chart
from resmfn.reports.html.elements import Markup
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.run_record import RunRecord
from resmfn.reports.tables import HANDS, angstrom, resolution_ticks, resolution_words
from resmfn.reports.values import entry, number, numbers

THRESHOLDS = ((0.143, "0.143"), (0.5, "0.5"))
CURVES = (
    ("corrected", "corrected for the mask", 1, False),
    ("masked", "with mask", 3, False),
    ("unmasked", "without mask", 2, False),
    ("randomized", "phases randomized, with mask", 5, True),
)
"""Curves of fsc.csv: of the half maps that were solved without mask and network."""
TABLED = CURVES[:3]
LARGEST_BOX = 512
"""Beyond, two half maps are too large to be read for a plot."""


def fsc_section(record: RunRecord) -> Markup:
    """Return the Fourier shell correlation of the half maps, and of directions where it was measured."""
    lines = [
        Line(_points(record.fsc[key]), _with_resolution(label, record.fsc[key]), color, dashed)
        for key, label, color, dashed in CURVES
        if key in record.fsc
    ]
    best = _best(record.fsc)
    alt = (
        f"Fourier shell correlation of the half maps against resolution: {resolution_words(best, 0.143)} at 0.143, "
        f"{resolution_words(best, 0.5)} at 0.5."
    )
    rows: dict[str, object] = {label: _said(record.fsc[key]) for key, label, _, _ in TABLED if key in record.fsc}
    split = number(record.summary, "resolution_split")
    if record.keeps_poses:
        rows["halves independent beyond"] = "no resolution: they share the poses of the input"
    elif split:
        rows["halves independent beyond"] = f"{split:.2f} Å"
    cards = [
        card(line_chart(lines, _fsc_axes(best), alt), "Fourier shell correlation"),
        card(table(rows), "Resolution"),
        *_directional(record),
    ]
    how = (
        "How well two maps agree, each made from half of the particles, from coarse detail (left) to fine (right). "
        "The resolution is where the corrected curve falls below 0.143; if it never does, it is Nyquist, the "
        "limit of the pixel size. The curve with random phases shows the correlation that the mask alone creates: it "
        "should be near zero there."
    )
    return section("fsc", "Agreement of the half maps", how, columns(cards))


def validation_section(record: RunRecord) -> Markup:
    """Return the figures of validation.json and of the noise control in words, and the Guinier plot."""
    found, nyquist = record.validation, record.nyquist
    said: dict[str, object] = {}
    control = [number(record.summary, "noise_control", name) for name in ("n_images", "gain", "gain_error")]
    lead = [number(record.summary, "noise_control", name) for name in ("lead", "lead_error")]
    if None not in control:
        said["noise control"] = (
            f"{control[0]:,.0f} images not used for the map fit it better than noise by {control[1]:.4g} ± "
            f"{control[2]:.2g} nat"
            + (f", and better than random maps by {lead[0]:.4g} ± {lead[1]:.2g}" if None not in lead else "")
        )
    bad = number(record.summary, "n_bad")
    if bad is not None:
        said["images that look like noise"] = f"{bad:,.0f} of {number(record.summary, 'n_particles') or 0:,.0f}"
    area = number(found, "fsc_area", "corrected")
    if area is not None:
        said["area under the corrected FSC"] = f"{area:.3f} of Nyquist"
    if entry(found, "directional_resolution") is not None:
        ends = [angstrom(number(found, "directional_resolution", name), nyquist) for name in ("best", "worst")]
        round_ = number(found, "directional_resolution", "sphericity")
        said["by direction"] = f"{ends[0]} to {ends[1]}" + ("" if round_ is None else f", sphericity {round_:.3f}")
    if entry(found, "local_resolution") is not None:
        finest, middle, coarsest = (
            angstrom(number(found, "local_resolution", name), nyquist) for name in ("p05", "median", "p95")
        )
        said["local resolution"] = f"median {middle}; 90 % of the voxels {finest} to {coarsest}"
    b_factor = number(found, "b_factor")
    if b_factor is not None:
        said["B-factor"] = f"{b_factor:.0f} Å², fitted beyond 10 Å; the sharpened map is corrected for it"
    correlation = numbers(found, "starts", "correlation")
    if len(correlation) > 1:
        said["maps of the starts"] = "correlation with the likeliest " + ", ".join(f"{v:.2f}" for v in correlation)
    how = (
        "All figures are from half maps that were solved without mask and without a network, each from its own half of "
        "the images. The correlation that the mask creates is measured by phase randomization and subtracted."
    )
    return section("validation", "Validation", how, columns([card(table(said)), *_guinier(record)]))


def truth_section(record: RunRecord) -> Markup:
    """Return what ``resmfn evaluate`` found: map and poses against the true ones."""
    found, nyquist = record.evaluation, None
    frequency = numbers(found, "fsc", "frequency")
    curves = {}
    for key, name in (("masked", "with mask"), ("unmasked", "without mask")):
        values = numbers(found, "fsc", key, "correlation")
        if len(values) == len(frequency) > 1:
            curves[name] = FscCurve(torch.tensor(frequency).double(), torch.tensor(values).double())
    if curves:
        nyquist = 1 / frequency[-1] if frequency[-1] > 0 else None
    said: dict[str, object] = {name: _said(curve) for name, curve in curves.items()}
    hand = number(found, "map", "hand")
    if hand is not None:
        said["map's hand"] = HANDS.get(int(hand), "not known")
    poses = [number(found, "poses", name) for name in ("median", "mean", "share_within_5", "share_within_10")]
    if None not in poses:
        said["rotation error"] = f"median {poses[0]:.2f}°, mean {poses[1]:.2f}°"
        said["images within 5°, 10°"] = f"{100 * (poses[2] or 0):.1f} %, {100 * (poses[3] or 0):.1f} %"
    shift = number(found, "shifts", "rms")
    if shift is not None:
        said["shift error"] = f"{shift:.2f} Å rms"
    said |= {
        label: found[key] for key, label in (("reference", "true map"), ("true_poses", "true poses")) if found.get(key)
    }
    cards = [card(table(said), "Figures")]
    if curves and nyquist is not None:
        lines = [
            Line(_points(curve), _with_resolution(name, curve, 0.5), i)
            for i, (name, curve) in enumerate(curves.items(), 1)
        ]
        first = next(iter(curves.values()))
        alt = f"Fourier shell correlation of the map with the true one: {resolution_words(first, 0.5)} at 0.5."
        cards.insert(0, card(line_chart(lines, _fsc_axes(first), alt), "Map against the truth"))
    how = (
        "The result of resmfn evaluate (evaluation.json), after alignment by rotation, shift and hand. Against a known "
        "truth the resolution is where the curve falls below 0.5. It describes the map and poses at the time when it "
        "was run."
    )
    return section("truth", "Against the truth", how, columns(cards))


def _best(curves: dict[str, FscCurve]) -> FscCurve:
    return next((curves[key] for key, _, _, _ in CURVES if key in curves), next(iter(curves.values())))


def _guinier(record: RunRecord) -> list[Markup]:
    """One card with the Guinier plot of the mean half map and the line fitted for the B-factor."""
    mean, curve = _mean_of_halves(record), record.fsc.get("corrected")
    if mean is None or curve is None or len(curve.frequency) != mean.shape[0] // 2 + 1:
        return []
    squared, amplitude = guinier_points(mean, curve)
    used = (amplitude > 0) & (squared > 0)
    points = list(zip(squared[used].tolist(), amplitude[used].log().tolist(), strict=True))
    if len(points) < 2:
        return []
    lines = [Line(points, "mean of the half maps, weighted by their FSC", 1, dots=True, joined=False)]
    resolution = curve.resolution_at(0.143)
    fit = fit_guinier(mean, curve, resolution)
    said = "Too few shells lie between 10 Å and the resolution for a line."
    if fit is not None:
        ends = (0.01, min(float(squared[-1]), resolution**-2))
        line = [(x, fit.intercept + fit.b_factor / 4 * x) for x in ends]
        lines.append(Line(line, f"line fitted to {fit.n_shells} shells: B-factor {fit.b_factor:.0f} Å²", 2))
        said = f"4 times its slope is the B-factor, {fit.b_factor:.0f} Å²; correlation {fit.correlation:.3f}."
    axes = Axes("squared frequency (1/Å²)", "ln of the mean amplitude", (0.0, points[-1][0]))
    alt = f"Guinier plot: logarithm of the amplitude over the squared frequency, {len(points)} shells. {said}"
    return [card(line_chart(lines, axes, alt), "Guinier plot", said)]


def _mean_of_halves(record: RunRecord) -> Tensor | None:
    """Return the mean of the half maps without mask, as the run's B-factor is of; runs of other programs lack them."""
    pairs = [[record.folder / name for name in names] for names in (UNMASKED_HALF_MAPS, HALF_MAPS)]
    paths = next((pair for pair in pairs if all(path.is_file() for path in pair)), None)
    if paths is None:
        return None
    try:
        first, second = (read_map(path) for path in paths)
    except ResmfnError:  # the section of the maps says what is wrong with them
        return None
    return (
        (first.data + second.data) / 2
        if first.data.shape == second.data.shape and first.box_size <= LARGEST_BOX
        else None
    )


def _points(curve: FscCurve) -> list[tuple[float, float]]:
    return list(zip(curve.frequency.tolist(), curve.correlation.tolist(), strict=True))


def _said(curve: FscCurve) -> str:
    at = [f"{resolution_words(curve, threshold)} at {threshold}" for threshold in (0.143, 0.5)]
    return f"{at[0]}, {at[1]}, area {curve.area():.3f}"


def _with_resolution(label: str, curve: FscCurve, threshold: float = 0.143) -> str:
    return label if label.startswith("phases") else f"{label}: {resolution_words(curve, threshold)}"


def _fsc_axes(curve: FscCurve) -> Axes:
    nyquist = float(curve.frequency[-1])
    ticks = [(1 / t, f"{t:g}") for t in resolution_ticks(nyquist)]
    low = min(-0.05, min(float(curve.correlation.min()), 0.0) - 0.02)
    return Axes("spatial frequency (1/Å)", "correlation", (0.0, nyquist), (low, 1.02), THRESHOLDS, ticks, "Å")


def _directional(record: RunRecord) -> list[Markup]:
    """One card with the curves of single directions, if the run has them: the first column is the frequency."""
    rows = [row for row in record.directional if "frequency" in row]
    names = [name for name in (rows[0] if rows else {}) if name not in ("shell", "frequency", "resolution")]
    if not names:
        return []
    lines: Sequence[Line] = [
        Line([(row["frequency"], row[name]) for row in rows if name in row], name.replace("_", " "), 1 + i % 6)
        for i, name in enumerate(names)
    ]
    if len(lines) > 6:
        lines = [Line(line.points, "", 5) for line in lines]
    axes = Axes("spatial frequency (1/Å)", "correlation", (0.0, rows[-1]["frequency"]), (-0.1, 1.02), THRESHOLDS)
    chart = line_chart(lines, axes, f"Fourier shell correlation within cones about {len(names)} directions.")
    note = "The closer these curves lie together, the more alike the resolution in all directions."
    return [card(chart, "By direction", note)]
