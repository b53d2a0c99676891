"""The report of a fit of images or maps: every scale with its spectrum, and a slider between them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resmfn.data.runs.file_names import METRICS
from resmfn.data.runs.spectra import read_spectra
from resmfn.reports.html.charts import Axes, Line, line_chart
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.page import Page, render
from resmfn.reports.html.pictures import colored, png_uri
from resmfn.reports.html.sections.map_sections import map_sections
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.html.volumes import pack_map
from resmfn.reports.run_record import RunRecord, read_metrics
from resmfn.reports.values import as_number, numbers

FIELDS = "fields"
MOST_BYTES = 5_000_000
"""Total size of pictures on a page; further fields stay in the run folder."""
MOST_MAPS = 8
SPECTRUM_PIXELS = 256
DECADES = 5.0
"""Decades of amplitude that a spectrum's colors span."""


@dataclass(frozen=True)
class FittedScales:
    """One field of a fit, at its last snapshot."""

    name: str
    epoch: int
    pictures: list[Path]
    """Of each scale, coarse to fine."""
    target: Path | None
    spectra: dict[str, np.ndarray]
    maps: list[Path]
    """Of each scale; of an image none."""

    @property
    def n_bytes(self) -> int:
        """Size of its pictures."""
        return sum(path.stat().st_size for path in [*self.pictures, *([self.target] if self.target else [])])


def is_fit(folder: Path) -> bool:
    """Return whether a run folder holds a fit."""
    return (folder / FIELDS).is_dir()


def build_fit_page(record: RunRecord, *, refresh: int = 0) -> str:
    """Return the report of a fit as HTML.

    Parameters
    ----------
    record
        What the run folder holds.
    refresh
        Seconds after which an open page loads itself again; 0 is never.
    """
    fields = read_fields(record.folder)
    shown: list[FittedScales] = []
    for field in fields:
        if not shown or sum(f.n_bytes for f in [*shown, field]) < MOST_BYTES:
            shown.append(field)
    map_files = [(f"{f.name}, scale {i}", path) for f in shown for i, path in enumerate(f.maps, start=1)][:MOST_MAPS]
    maps = [pack_map(path, title) for title, path in reversed(map_files)]
    sections = [("quality", "Quality", _quality(record))]
    sections += map_sections(maps)
    sections.append(("scales", "Scales", _scales(shown, len(fields))))
    measured = read_metrics(record.folder / METRICS, {"name", "epoch"})
    if measured:
        sections.append(("progress", "Progress", _progress(measured, [f.name for f in shown])))
    body = card(table(record.config), "Settings")
    sections.append(("settings", "Settings", section("settings", "Settings", "From config.yaml.", body)))
    state = "Done" if record.is_done else "Still running"
    names = ", ".join(f.name for f in fields[:5]) + (", ..." if len(fields) > 5 else "")
    title = f"Fit {record.folder.resolve().name}"
    return render(Page(title, f"{state}: {len(fields)} fitted ({names}).", None, sections, maps, refresh))


def read_fields(folder: Path) -> list[FittedScales]:
    """Return the fields of a fit that have a snapshot, by name.

    Raises
    ------
    InputError
        If a snapshot's spectra cannot be read.
    """
    found = []
    for place in sorted(path for path in (folder / FIELDS).iterdir() if path.is_dir()):
        snapshots = [path for path in place.glob("epoch_*") if (path / "spectra.npz").is_file()]
        snapshots = sorted((path for path in snapshots if _EPOCH.fullmatch(path.name)), key=_epoch_of)
        if snapshots:
            target = place / "target.png"
            found.append(
                FittedScales(
                    name=place.name,
                    epoch=_epoch_of(snapshots[-1]),
                    pictures=_numbered(snapshots[-1], r"scale(\d{1,4})\.png"),
                    target=target if target.is_file() else None,
                    spectra=_read_spectra(snapshots[-1] / "spectra.npz"),
                    maps=_numbered(place, r"scale(\d{1,4})\.mrc"),
                )
            )
    return found


_EPOCH = re.compile(r"epoch_(\d{1,9})", re.ASCII)


def _epoch_of(snapshot: Path) -> int:
    return int(snapshot.name.rpartition("_")[2])


def _read_spectra(path: Path) -> dict[str, np.ndarray]:
    return {name: values.double().numpy() for name, values in vars(read_spectra(path)).items()}


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """Return files whose names have a number, in its order."""
    found = [
        (int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(pattern, path.name, re.ASCII))
    ]
    return [path for _, path in sorted(found)]


def _quality(record: RunRecord) -> Markup:
    rows = []
    for key, name, digits in (
        ("test_psnr", "test PSNR (dB)", 2),
        ("train_psnr", "training PSNR (dB)", 2),
        ("test_ssim", "test SSIM", 4),
    ):
        values = numbers(record.summary, key)
        if values:
            rows.append((name, [f"{value:.{digits}f}" for value in values]))
    how = (
        "How close each scale is to the original, coarse to fine; the finest is the result. Training uses the pixels "
        "that were fitted, the test all pixels of the original. This holds for every picture, whether its name is "
        "train_NN or test_NN after the two parts of an .npz set."
    )
    if not rows:
        waiting = element("p", "The figures appear when the fit is done.")
        return section("quality", "Quality of each scale", how, card(waiting))
    heads = [element("th", f"scale {i}", scope="col") for i in range(1, len(rows[0][1]) + 1)]
    lines = [
        element("tr", element("th", name, scope="row"), [element("td", value) for value in values])
        for name, values in rows
    ]
    head = element("thead", element("tr", element("td"), heads))
    body = element("table", head, element("tbody", lines), class_="plain")
    return section("quality", "Quality of each scale", how, card(body))


def _scales(fields: Sequence[FittedScales], n_fields: int) -> Markup:
    how = (
        "Move the slider from the coarsest scale to the finest. On the right is its spectrum (center: zero "
        "frequency; bright: strong); the frame is the band of this scale. Amplitude just outside it comes "
        "from the edges of the image."
    )
    note = element("p", f"{n_fields - len(fields)} more are in the run folder.") if n_fields > len(fields) else None
    body = [element("div", _field(field), style="margin-bottom:1rem") for field in fields]
    return section("scales", "Scales and their spectra", how, body or card(element("p", "No snapshot yet.")), note)


def _field(field: FittedScales) -> Markup:
    """Return one field: images and spectra of all scales with a slider, and the original beside them."""
    name, n = field.name, min(len(field.pictures), len(field.spectra["scales"]))
    views = [
        element(
            "div",
            element(
                "figure",
                element("img", src=_file_uri(path), alt=f"{name}, scale {i} of {n}"),
                element("figcaption", f"Scale {i} of {n}"),
            ),
            element("figure", _spectrum(field, i)),
            class_="columns",
            data_scale=i,
            hidden=i != n,
        )
        for i, path in enumerate(field.pictures[:n], start=1)
    ]
    slider = element(
        "div",
        element("label", "Scale", for_=f"scale-{name}"),
        element("input", type="range", id=f"scale-{name}", data_scales=True, min=1, max=n, step=1, value=n),
        class_="control",
    )
    truth = None
    if field.target is not None:
        picture = element("img", src=_file_uri(field.target), alt=f"{name}, the truth")
        truth = element("details", element("summary", "The truth"), picture)
    title = element("h3", f"{name}, epoch {field.epoch}")
    return element("div", title, slider, views, truth, class_="card scales", data_field=True)


def _spectrum(field: FittedScales, scale: int) -> tuple[Markup, Markup]:
    """Return a scale's spectrum with its band as a frame, and a line below."""
    spectra = field.spectra
    values, top = spectra["scales"][scale - 1], float(spectra["truth"].max())
    height, width = values.shape
    step = max(1, -(-max(height, width) // SPECTRUM_PIXELS))
    rgb = colored((values[::step, ::step] - (top - DECADES)) / DECADES)
    picture = png_uri(np.concatenate((rgb, np.full((*rgb.shape[:2], 1), 255.0)), axis=-1).round())
    band = float(spectra["half_widths"][scale - 1])
    half_x, half_y = band * float(spectra["extents"][1]), band * float(spectra["extents"][0])
    box = element(
        "rect", x=f"{width // 2 - half_x:.2f}", y=f"{height // 2 - half_y:.2f}", width=f"{2 * half_x:.2f}",
        height=f"{2 * half_y:.2f}", fill="none", stroke="#fff", stroke_width=f"{width / 200:.2f}",
    )  # fmt: skip
    frame = element("svg", box, viewBox=f"0 0 {width} {height}", aria_hidden="true", preserveAspectRatio="none")
    alt = f"Spectrum of {field.name} at scale {scale}; its band ends at {band:g} cycles per box"
    shown = element("div", element("img", src=picture, alt=alt), frame, class_="sphere")
    return shown, element("figcaption", f"Band: up to {band:g} cycles per box on each axis")


def _progress(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Markup:
    """Return the test PSNR of every scale over the epochs, a chart for each field that is shown."""
    cards = []
    for name in names:
        own = [(as_number(row["epoch"]), numbers(row, "test_psnr")) for row in rows if row["name"] == name]
        n_scales = max((len(values) for _, values in own), default=0)
        lines = [
            Line(
                [(epoch, values[i]) for epoch, values in own if epoch is not None and i < len(values)],
                f"scale {i + 1}",
                1 + i % 6,
            )
            for i in range(n_scales)
        ]
        if lines:
            alt = f"Test PSNR of {n_scales} scales of {name} over the epochs."
            cards.append(card(line_chart(lines, Axes("epoch", "test PSNR (dB)"), alt), name))
    how = "Each scale is added after the one before has converged; a finished scale should not get worse."
    return section("progress", "Progress of the fit", how, columns(cards))


def _file_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
