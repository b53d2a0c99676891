"""The sections of the particles: where they were seen from, what they look like, their microscope."""

from __future__ import annotations

import math

import numpy as np
import torch

from resmfn.data import Table
from resmfn.evaluation import ViewCoverage
from resmfn.reports.findings import all_views, median, symmetry_of
from resmfn.reports.html.charts import Axes, histogram
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.map_sections import ramp
from resmfn.reports.html.pictures import MOST_VIEWS, grey_uri, mollweide_uri
from resmfn.reports.html.structure_sections import sampling_card
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.run_record import RunRecord


def views_section(record: RunRecord, coverage: ViewCoverage) -> Markup | None:
    """Return the density of viewing directions, confidence of poses, and shifts."""
    particles, views = record.particles, all_views(record, MOST_VIEWS)
    if particles is None or views is None:
        return None
    picture, top = mollweide_uri(views)
    copies = len(symmetry_of(record))
    counted = f", each {copies} times by its symmetry" if copies > 1 else ""
    alt = (
        f"Map of the sphere of viewing directions of {len(particles)} particles{counted}; density from "
        f"{coverage.smallest:.2g} to {coverage.largest:.2g} times an even one."
    )
    sphere = (
        element("div", element("img", src=picture, alt=alt), _graticule(), class_="sphere"),
        ramp(),
        element(
            "div",
            [element("span", text) for text in ("0", f"{top / 2:.2g} times an even density", f"{top:.2g}")],
            class_="ends",
        ),
    )
    note = f"{coverage.sparse_share:.0%} of the sphere is seen less than half as often as if views were even{counted}."
    cards = [card(sphere, "Viewing directions", note)]
    values = _numbers(particles.table, "rlnMaxValueProbDistribution")
    if values:
        middle = float(np.median(values))
        chart = histogram(
            values, Axes("largest probability of one pose", "particles (%)", (0.0, 1.0)),
            f"Histogram of the largest posterior probability of a pose; the median is {middle:.2f}.",
        )  # fmt: skip
        note = "Of the last search over all poses: at 1 one pose explains the image, near 0 many do equally well."
        cards.append(card(chart, "Confidence of poses", note))
    sampling = sampling_card(record)
    cards += ([] if sampling is None else [sampling]) + _entropy(record) + _shifts(record)
    how = (
        "The map of the sphere shows from where the particle was seen (rot across, tilt from pole to pole, equal "
        "areas). It need not be even, but dark regions without views leave the map smeared along them."
    )
    return section("poses", "Views, poses and shifts", how, columns(cards))


def examples_section(record: RunRecord) -> Markup:
    """Return pairs of particle and reprojection."""
    stored = record.examples
    pairs = []
    for k, row in enumerate(stored["row"].tolist()):
        particle, view = stored["particle"][k], stored["reprojection"][k]
        flat = not (particle.std() > 0 and view.std() > 0)
        agreement = 0.0 if flat else float(np.corrcoef(particle.ravel(), view.ravel())[0, 1])
        name = f"{row + 1:.0f}"
        pairs.append(
            element(
                "figure",
                element("img", src=grey_uri(particle), alt=f"Particle {name}, low-passed"),
                element("img", src=grey_uri(view), alt=f"The map seen from the pose of particle {name}"),
                element("figcaption", f"particle {name}", element("br"), f"correlation {agreement:.2f}"),
            )
        )
    how = (
        f"Above, particles low-passed to {float(stored['resolution']):.0f} Å; below each, the map as it should look "
        "from its pose, with the microscope's contrast (CTF) and the shift. Shape, place and contrast should match "
        "beneath the noise. The particles stand at even distances in the file; none was chosen for its looks."
    )
    return section("pairs", "Particles and reprojections", how, element("div", pairs, class_="card pairs"))


def optics_section(record: RunRecord) -> Markup:
    """Return a summary of the contrast transfer of the images."""
    optics = None if record.particles is None else record.particles.optics
    how = "Taken from the particle file. A wide spread of defocus fills the gaps that each single one leaves."
    if optics is None:
        missing = element("p", "The particle file gives no defocus: no CTF was applied.")
        return section("optics", "Microscope and CTF", how, card(missing))
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


def _numbers(table_: Table, column: str) -> list[float]:
    """Return a column of finite numbers; nothing where there is no such column, or other things in it."""
    try:
        values = [float(cell) for cell in table_.text(column)] if column in table_ else []
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _entropy(record: RunRecord) -> list[Markup]:
    """Histogram of the posterior's entropy, where particles.star has it."""
    table_ = None if record.particles is None else record.particles.table
    name = None if table_ is None else next((c for c in table_.columns if "entropy" in c.lower()), None)
    values = [] if table_ is None or name is None else _numbers(table_, name)
    if not values:
        return []
    alt = f"Histogram of the entropy of the pose posterior; the median is {float(np.median(values)):.2f} nat."
    chart = histogram(values, Axes("entropy (nat)", "particles (%)"), alt, color=4)
    return [
        card(chart, "Entropy of poses", "0 where a single pose is left; each doubling of the possible poses adds 0.7.")
    ]


def _shifts(record: RunRecord) -> list[Markup]:
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


def _graticule() -> Markup:
    """Meridians and parallels every 60 and 30 degrees, over a picture of width 200 and height 100."""
    paths, labels = [], []
    thetas = np.linspace(-math.pi / 2, math.pi / 2, 37)
    for rot in range(-120, 121, 60):
        points = " ".join(f"{100 + 100 * rot / 180 * math.cos(t):.1f},{50 - 50 * math.sin(t):.1f}" for t in thetas)
        paths.append(element("path", d=f"M{points}"))
        labels.append(element("text", f"{rot}°", x=f"{100 + 100 * rot / 180 + 1:.0f}", y=49, style="font-size:4.5px"))
    for tilt in (30, 60, 90, 120, 150):
        theta = _mollweide_angle(math.radians(90 - tilt))
        half, y = 100 * math.cos(theta), 50 - 50 * math.sin(theta)
        paths.append(element("path", d=f"M{100 - half:.1f},{y:.1f} {100 + half:.1f},{y:.1f}"))
    return element("svg", paths, labels, viewBox="0 0 200 100", aria_hidden="true", style="stroke-width:.4")


def _mollweide_angle(latitude: float) -> float:
    """Solve 2 t + sin 2t = pi sin(latitude) by Newton's method."""
    angle = latitude
    for _ in range(20):
        angle -= (2 * angle + math.sin(2 * angle) - math.pi * math.sin(latitude)) / (2 + 2 * math.cos(2 * angle))
    return angle
