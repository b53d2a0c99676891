"""The sections that show figures: curves between half maps, views, progress, particles, optics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import torch

from resmfn.evaluation import FscCurve, ViewCoverage
from resmfn.evaluation.starts import SAME_LIKELIHOOD
from resmfn.reports.findings import median
from resmfn.reports.html.charts import Axes, Line, histogram, line_chart
from resmfn.reports.html.pictures import VIRIDIS, grey_uri, mollweide_uri
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.run_record import RunRecord

RESOLUTION_TICKS = (100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.4, 1.2, 1)
THRESHOLDS = ((0.143, "0.143"), (0.5, "0.5"))
CURVES = (
    ("corrected", "corrected for the mask", 1, False),
    ("masked", "with mask", 3, False),
    ("unmasked", "without mask", 2, False),
    ("explicit_corrected", "no network, corrected for the mask", 4, True),
    ("explicit_unmasked", "no network, no mask", 6, False),
    ("randomized", "phases randomized, with mask", 5, True),
)


def fsc_section(record: RunRecord) -> str:
    """Return the Fourier shell correlation of the half maps, and of directions where it was measured."""
    lines = [
        Line(_points(record.fsc[key]), _with_resolution(label, record.fsc[key]), color, dashed)
        for key, label, color, dashed in CURVES
        if key in record.fsc
    ]
    best = record.fsc.get("corrected") or next(iter(record.fsc.values()))
    alt = (
        f"Fourier shell correlation of the half maps against resolution: {_at(best, 0.143)} at 0.143, "
        f"{_at(best, 0.5)} at 0.5."
    )
    rows = {label: _said(record.fsc[key]) for key, label, _, _ in CURVES[:3] if key in record.fsc}
    split = record.summary.get("resolution_split")
    if split:
        rows["halves independent beyond"] = f"{float(split):.2f} Å"
    cards = [
        card(line_chart(lines, _fsc_axes(best), alt), "Fourier shell correlation"),
        card(table(rows), "Resolution"),
    ]
    cards += _directional(record)
    how = (
        "How well two maps agree, each made from half of the particles, from coarse detail (left) to fine (right). The "
        "resolution is where the corrected curve falls below 0.143. The curve of randomized phases shows "
        "what the mask alone "
        "would fake: it should be near zero there."
    )
    return section("fsc", "Agreement of the half maps", how, columns(cards))


def validation_section(record: RunRecord) -> str:
    """Return the figures of validation.json in words."""
    found = record.validation
    said: dict[str, object] = {}
    area, direction = found.get("fsc_area", {}), found.get("directional_resolution", {})
    local, explicit = found.get("local_resolution", {}), found.get("explicit", {}).get("resolution_0143", {})
    if area.get("corrected") is not None:
        said["area under the corrected FSC"] = f"{area['corrected']:.3f} of Nyquist"
    if explicit:
        bare = _angstrom(explicit.get("unmasked"))
        said["halves without network"] = f"{_angstrom(explicit.get('corrected'))} at 0.143; without mask {bare}"
    if direction:
        best, worst = _angstrom(direction.get("best")), _angstrom(direction.get("worst"))
        said["by direction"] = f"{best} to {worst}, sphericity {direction.get('sphericity')}"
    if local:
        finest, middle, coarsest = (_angstrom(local.get(name)) for name in ("p05", "median", "p95"))
        said["local resolution"] = f"median {middle}; 90 % of the voxels {finest} to {coarsest}"
    if found.get("b_factor") is not None:
        said["B-factor"] = f"{found['b_factor']:.0f} Å², fitted from 10 Å on; undone in the sharpened map"
    correlation = found.get("starts", {}).get("correlation") or []
    if len(correlation) > 1:
        said["maps of the starts"] = "correlation with the likeliest " + ", ".join(f"{v:.2f}" for v in correlation)
    how = (
        "The networks are fitted inside the mask only, so their unmasked curve has its shape in it. The half maps "
        "without network are solved from the same images at the same poses, over the whole box: what they agree on no "
        "network has made, and their curve without mask has the noise around the particle in it."
    )
    return section("validation", "Validation", how, card(table(said)))


def views_section(record: RunRecord, coverage: ViewCoverage) -> str:
    """Return the density of viewing directions, confidence of poses, and shifts."""
    particles = record.particles
    if particles is None or particles.rotations is None:
        return ""
    picture, top = mollweide_uri(particles.rotations)
    alt = (
        f"Map of the sphere of viewing directions of {len(particles)} particles; density from "
        f"{coverage.smallest:.2g} to "
        f"{coverage.largest:.2g} times an even one."
    )
    ramp = ", ".join(f"rgb{color}" for color in VIRIDIS)
    sphere = (
        f'<div class="sphere"><img src="{picture}" alt="{escape(alt)}">{_graticule()}</div>'
        f'<div class="ramp" style="background:linear-gradient(90deg, {ramp})"></div>'
        f'<div class="ends"><span>0</span><span>{top / 2:.2g} times an even density</span><span>{top:.2g}</span></div>'
    )
    note = f"{coverage.sparse_share:.0%} of the sphere is seen less than half as often as in an even distribution."
    cards = [card(sphere, "Viewing directions", note)]
    table_ = particles.table
    if "rlnMaxValueProbDistribution" in table_:
        values = [float(cell) for cell in table_.text("rlnMaxValueProbDistribution")]
        middle = float(np.median(values))
        chart = histogram(
            values, Axes("largest probability of one pose", "particles (%)", (0.0, 1.0)),
            f"Histogram of the largest posterior probability of a pose; the median is {middle:.2f}.",
        )  # fmt: skip
        note = "Of the last search over all poses: at 1 one pose explains the image, near 0 many do equally well."
        cards.append(card(chart, "Confidence of poses", note))
    cards += _entropy(record) + _shifts(record)
    how = (
        "The map of the sphere shows from where the particle was seen (rot across, tilt from pole to pole, "
        "equal areas). It need "
        "not be even, but dark regions without views leave the map smeared along them."
    )
    return section("poses", "Views, poses and shifts", how, columns(cards))


def progress_section(record: RunRecord) -> str:
    """Return how resolution, likelihood and poses went, round by round."""
    rounds = record.rounds()
    starts = [row for row in record.metrics if row["stage"] == "search" and "log_likelihood" in row]
    cards = []
    if rounds:
        resolution = [(x, y) for x, y in record.series("resolution") if y > 0]
        cards.append(_over_rounds(resolution, "half maps at 0.143 (Å)", "Resolution", "Lower is finer.", 1))
        likelihood = record.series("log_likelihood")
        caption = "Mean of an image at its pose, over pure noise. It grows with the detail that is compared."
        cards.append(_over_rounds(likelihood, "log-likelihood (nat)", "Log-likelihood", caption, 3))
        turns = [(x, max(y, 1e-3)) for x, y in record.series("pose_change") if y > 0]
        cards.append(
            _over_rounds(turns, "median turn (degrees)", "Change of poses", "It should fall and stay low.", 2, log=True)
        )
        fits = [(x, 100 * y) for x, y in record.series("network_fit")]
        caption = "Share of an explicit map's gain that the network reaches; 100 is all."
        cards.append(_over_rounds(fits, "reached (%)", "Fit of the network", caption, 4))
    if starts:
        points = [(float(row.get("start", i + 1)), float(row["log_likelihood"])) for i, row in enumerate(starts)]
        alt = "Log-likelihood of each start: " + ", ".join(f"{y:.2f}" for _, y in points)
        chart = line_chart([Line(points, "start", 1, dots=True, joined=False)], _start_axes(points), alt)
        cards.append(
            card(chart, "Starts", "Each begins at random. Those within 1 of the best found the same solution.")
        )
    order = ", then ".join(dict.fromkeys(str(row["stage"]) for row in rounds)) or "search"
    how = f"What was measured after each start and each round ({order}). A healthy run improves quickly and then rests."
    return section("progress", "How the run went", how, columns([c for c in cards if c]))


def examples_section(record: RunRecord) -> str:
    """Return pairs of particle and reprojection."""
    stored = record.examples
    pairs = []
    for k, row in enumerate(stored["row"].tolist()):
        particle, view = stored["particle"][k], stored["reprojection"][k]
        agreement = float(np.corrcoef(particle.ravel(), view.ravel())[0, 1])
        pairs.append(
            f'<figure><img src="{grey_uri(particle)}" alt="Particle {row + 1}, low-passed">'
            f'<img src="{grey_uri(view)}" alt="The map seen from the pose of particle {row + 1}">'
            f"<figcaption>particle {row + 1}<br>correlation {agreement:.2f}</figcaption></figure>"
        )
    resolution = float(stored["resolution"])
    how = (
        f"Above, particles low-passed to {resolution:.0f} Å; below each, the map as it should look from its "
        f"pose, with the "
        "microscope's contrast (CTF) and the shift. Shape, place and contrast should match beneath the "
        "noise. The particles "
        "stand at even distances in the file; none was chosen for its looks."
    )
    return section("pairs", "Particles and reprojections", how, f'<div class="card pairs">{"".join(pairs)}</div>')


def optics_section(record: RunRecord) -> str:
    """Return a summary of the contrast transfer of the images."""
    optics = None if record.particles is None else record.particles.optics
    how = "Taken from the particle file. A wide spread of defocus fills the gaps that each single one leaves."
    if optics is None:
        return section(
            "optics", "Microscope and CTF", how, card("<p>The particle file gives no defocus: no CTF was applied.</p>")
        )
    defocus = (optics.defocus_u + optics.defocus_v) / 20_000
    astigmatism = (optics.defocus_u - optics.defocus_v).abs()
    alt = f"Histogram of defocus: {float(defocus.min()):.2f} to {float(defocus.max()):.2f} micrometers."
    chart = histogram(defocus.tolist(), Axes("defocus (µm, positive is under)", "particles (%)"), alt, n_bins=30)
    rows = {
        "defocus": f"{float(defocus.min()):.2f} to {float(defocus.max()):.2f} µm, median {median(defocus):.2f}",
        "astigmatism": f"median {median(astigmatism):.0f} Å, largest {float(astigmatism.max()):.0f}",
        "voltage": _values(optics.voltage, "kV"),
        "spherical aberration": _values(optics.spherical_aberration, "mm"),
        "amplitude contrast": _values(optics.amplitude_contrast, ""),
        "phase shift": _values(optics.phase_shift, "°"),
    }
    return section("optics", "Microscope and CTF", how, columns([card(chart, "Defocus"), card(table(rows))]))


def _start_axes(points: Sequence[tuple[float, float]]) -> Axes:
    """Leave room below the best, so that equal starts look equal."""
    best, worst = max(y for _, y in points), min(y for _, y in points)
    ticks = [(x, f"{x:.0f}") for x, _ in points]
    heights = (min(best - 2, worst - 0.2), best + 0.5)
    level = (best - SAME_LIKELIHOOD, "above: the same solution")
    return Axes("start", "log-likelihood (nat)", (0.5, len(points) + 0.5), heights, [level], x_ticks=ticks)


def _points(curve: FscCurve) -> list[tuple[float, float]]:
    return list(zip(curve.frequency.tolist(), curve.correlation.tolist(), strict=True))


def _at(curve: FscCurve, threshold: float) -> str:
    found = curve.resolution_at(threshold)
    return f"{found:.2f} Å" if math.isfinite(found) else "none"


def _said(curve: FscCurve) -> str:
    return f"{_at(curve, 0.143)} at 0.143, {_at(curve, 0.5)} at 0.5, area {curve.area():.3f}"


def _with_resolution(label: str, curve: FscCurve) -> str:
    return label if label.startswith("phases") else f"{label}: {_at(curve, 0.143)}"


def _fsc_axes(curve: FscCurve) -> Axes:
    nyquist = float(curve.frequency[-1])
    ticks: list[tuple[float, str]] = []
    for resolution in RESOLUTION_TICKS:
        place = 1 / resolution
        if (
            place <= nyquist * 1.0001
            and (not ticks or place - ticks[-1][0] > 0.07 * nyquist)
            and place > 0.05 * nyquist
        ):
            ticks.append((place, f"{resolution:g}"))
    low = min(-0.05, min(float(curve.correlation.min()), 0.0) - 0.02)
    return Axes("spatial frequency (1/Å)", "correlation", (0.0, nyquist), (low, 1.02), THRESHOLDS, ticks, "Å")


def _angstrom(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} Å"


def _directional(record: RunRecord) -> list[str]:
    """One card with the curves of single directions, if the run has them: the first column is the frequency."""
    rows = [row for row in record.directional if "frequency" in row]
    names = [name for name in (rows[0] if rows else {}) if name not in ("shell", "frequency", "resolution")]
    if not names:
        return []
    lines = [
        Line([(row["frequency"], row[name]) for row in rows if name in row], name.replace("_", " "), 1 + i % 6)
        for i, name in enumerate(names)
    ]
    if len(lines) > 6:
        lines = [Line(line.points, "", 5) for line in lines]
    axes = Axes("spatial frequency (1/Å)", "correlation", (0.0, rows[-1]["frequency"]), (-0.1, 1.02), THRESHOLDS)
    chart = line_chart(lines, axes, f"Fourier shell correlation within cones about {len(names)} directions.")
    return [
        card(
            chart,
            "By direction",
            "The closer these curves lie together, the more alike the resolution in all directions.",
        )
    ]


def _over_rounds(
    points: Sequence[tuple[float, float]], label: str, title: str, caption: str, color: int, *, log: bool = False
) -> str:
    if not points:
        return ""
    last = points[-1][0]
    step = max(1, math.ceil(last / 12))
    ticks = [(float(i), str(i)) for i in range(1, int(last) + 1, step)]
    alt = f"{title}, {label}, over {len(points)} rounds: from {points[0][1]:.3g} to {points[-1][1]:.3g}."
    axes = Axes("round", label, (1.0, float(max(2, last))), x_ticks=ticks, log_y=log)
    return card(line_chart([Line(points, title, color, dots=True)], axes, alt), title, caption)


def _entropy(record: RunRecord) -> list[str]:
    """Histogram of the posterior's entropy, where particles.star has it."""
    table_ = None if record.particles is None else record.particles.table
    name = None if table_ is None else next((c for c in table_.columns if "entropy" in c.lower()), None)
    if table_ is None or name is None:
        return []
    values = [float(cell) for cell in table_.text(name)]
    alt = f"Histogram of the entropy of the pose posterior; the median is {float(np.median(values)):.2f} nat."
    chart = histogram(values, Axes("entropy (nat)", "particles (%)"), alt, color=4)
    return [
        card(chart, "Entropy of poses", "0 where a single pose is left; each doubling of the possible poses adds 0.7.")
    ]


def _shifts(record: RunRecord) -> list[str]:
    particles = record.particles
    if particles is None or particles.shifts is None or not bool(torch.any(particles.shifts != 0)):
        return []
    length = particles.shifts.norm(dim=1)
    alt = (
        f"Histogram of the particles' distance from their image's center; the median is {median(length):.1f} angstrom."
    )
    axes = Axes("distance from the center (Å)", "particles (%)", (0.0, max(1.0, float(length.max()))))
    rms = float(length.square().mean().sqrt())
    return [
        card(
            histogram(length.tolist(), axes, alt, color=2),
            "Shifts",
            f"Root mean square {rms:.1f} Å; settings allow what --shift-range says.",
        )
    ]


def _values(values: torch.Tensor, unit: str) -> str:
    found = sorted({round(value, 4) for value in values.tolist()})
    text = ", ".join(f"{value:g}" for value in found) if len(found) <= 4 else f"{found[0]:g} to {found[-1]:g}"
    return f"{text} {unit}".strip()


def _graticule() -> str:
    """Meridians and parallels every 60 and 30 degrees, over a picture of width 200 and height 100."""
    paths, labels = [], []
    thetas = np.linspace(-math.pi / 2, math.pi / 2, 37)
    for rot in range(-120, 121, 60):
        points = " ".join(f"{100 + 100 * rot / 180 * math.cos(t):.1f},{50 - 50 * math.sin(t):.1f}" for t in thetas)
        paths.append(f'<path d="M{points}"/>')
        labels.append(f'<text x="{100 + 100 * rot / 180 + 1:.0f}" y="49" style="font-size:4.5px">{rot}°</text>')
    for tilt in (30, 60, 90, 120, 150):
        theta = _mollweide_angle(math.radians(90 - tilt))
        half, y = 100 * math.cos(theta), 50 - 50 * math.sin(theta)
        paths.append(f'<path d="M{100 - half:.1f},{y:.1f} {100 + half:.1f},{y:.1f}"/>')
    return (
        f'<svg viewBox="0 0 200 100" aria-hidden="true" style="stroke-width:.4">{"".join(paths)}{"".join(labels)}</svg>'
    )


def _mollweide_angle(latitude: float) -> float:
    """Solve 2 t + sin 2t = pi sin(latitude) by Newton's method."""
    angle = latitude
    for _ in range(20):
        angle -= (2 * angle + math.sin(2 * angle) - math.pi * math.sin(latitude)) / (2 + 2 * math.cos(2 * angle))
    return angle
