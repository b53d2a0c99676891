"""The sections of the particles: their views, what they look like, and their optics."""

from __future__ import annotations

import math

import numpy as np
import torch

from resmfn.data import Table
from resmfn.evaluation import ViewCoverage
from resmfn.reports.findings import all_views, median, symmetry_of
from resmfn.reports.html.charts import Axes, histogram
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.pictures import MOST_VIEWS, graticule, gray_uri, mollweide_uri
from resmfn.reports.html.sections.map_sections import ramp
from resmfn.reports.html.sections.structure_sections import sampling_card
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
        f"{coverage.smallest:.2g} to {coverage.largest:.2g} times the uniform density."
    )
    sphere = (
        element("div", element("img", src=picture, alt=alt), _graticule(), class_="sphere"),
        ramp(),
        element(
            "div",
            [element("span", text) for text in ("0", f"{top / 2:.2g} times uniform density", f"{top:.2g}")],
            class_="ends",
        ),
    )
    note = f"{coverage.sparse_share:.0%} of the sphere has less than half of the uniform density of views{counted}."
    cards = [card(sphere, "Viewing directions", note)]
    values = _numbers(particles.table, "rlnMaxValueProbDistribution")
    if values:
        middle = float(np.median(values))
        chart = histogram(
            values, Axes("largest probability of one pose", "particles (%)", (0.0, 1.0)),
            f"Histogram of the largest posterior probability of a pose; the median is {middle:.2f}.",
        )  # fmt: skip
        note = (
            "From the last search over all poses: at 1 a single pose explains the image, near 0 many fit equally well."
        )
        cards.append(card(chart, "Confidence of poses", note))
    sampling = sampling_card(record)
    cards += ([] if sampling is None else [sampling]) + _entropy(record) + _shifts(record)
    how = (
        "The projected sphere shows the viewing directions (rot from left to right, tilt from pole to pole, equal "
        "area). It need not be uniform, but where views are missing the map is smeared."
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
                element("img", src=gray_uri(particle), alt=f"Particle {name}, low-passed"),
                element("img", src=gray_uri(view), alt=f"Projection of the map at the pose of particle {name}"),
                element("figcaption", f"particle {name}", element("br"), f"correlation {agreement:.2f}"),
            )
        )
    how = (
        f"Above, particles low-passed to {float(stored['resolution']):.0f} Å; below each, the projection of the map "
        "at its pose, with CTF and shift. Shape, position and contrast should match "
        "beneath the noise. The particles are evenly spaced in the file, not selected."
    )
    return section("pairs", "Particles and reprojections", how, element("div", pairs, class_="card pairs"))


def optics_section(record: RunRecord) -> Markup:
    """Return a summary of the contrast transfer of the images."""
    optics = None if record.particles is None else record.particles.optics
    how = "From the particle file. A wide range of defocus fills the zeros of each single CTF."
    if optics is None:
        missing = element("p", "The particle file gives no defocus: no CTF was applied.")
        return section("optics", "Microscope and CTF", how, card(missing))
    defocus = (optics.defocus_u + optics.defocus_v) / 20_000
    astigmatism = (optics.defocus_u - optics.defocus_v).abs()
    alt = f"Histogram of defocus: {float(defocus.min()):.2f} to {float(defocus.max()):.2f} micrometers."
    chart = histogram(defocus.tolist(), Axes("defocus (µm, underfocus positive)", "particles (%)"), alt, n_bins=30)
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
        card(
            chart,
            "Entropy of poses",
            "0 where a single pose is left; each doubling of the number of likely poses adds 0.7.",
        )
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
            f"Root mean square {rms:.1f} Å; --shift-range sets the limit.",
        )
    ]


def _values(values: torch.Tensor, unit: str) -> str:
    found = sorted({round(value, 4) for value in values.tolist()})
    text = ", ".join(f"{value:g}" for value in found) if len(found) <= 4 else f"{found[0]:g} to {found[-1]:g}"
    return f"{text} {unit}".strip()


def _graticule() -> Markup:
    """Draw the graticule over a picture of width 200 and height 100."""
    lines, labels = graticule()
    paths = [
        element("path", d="M" + " ".join(f"{100 + 100 * x:.1f},{50 - 50 * y:.1f}" for x, y in line.tolist()))
        for line in lines
    ]
    texts = [element("text", text, x=f"{101 + 100 * x:.0f}", y=49, style="font-size:4.5px") for x, text in labels]
    return element("svg", paths, texts, viewBox="0 0 200 100", aria_hidden="true", style="stroke-width:.4")
