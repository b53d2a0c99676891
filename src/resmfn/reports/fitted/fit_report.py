"""The report of a fit of images or maps: every scale with its spectrum, and a slider between them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from resmfn.data.runs.file_names import METRICS
from resmfn.data.runs.spectra import read_spectra
from resmfn.reports.html.charts import Axes, Line, line_chart
from resmfn.reports.html.map_sections import map_sections
from resmfn.reports.html.page import Page, render
from resmfn.reports.html.pictures import colored, png_uri
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.html.volumes import pack_map
from resmfn.reports.run_record import RunRecord, read_metrics

FIELDS = "fields"
MOST_BYTES = 5_000_000
"""Of pictures on a page; further fields stay in the run folder."""
MOST_MAPS = 8
SPECTRUM_PIXELS = 256
DECADES = 5.0
"""Of amplitude below the largest that a spectrum's colors span."""


@dataclass(frozen=True)
class FittedScales:
    """One field of a fit, as its last snapshot shows it."""

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
    """Say whether a run folder is that of a fit."""
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
        sections.append(("progress", "How it went", _progress(measured, [f.name for f in shown])))
    body = card(table(record.config), "Settings")
    sections.append(("settings", "Settings", section("settings", "Settings", "As they are in config.yaml.", body)))
    state = "Done" if record.is_done else "Still running"
    names = ", ".join(f.name for f in fields[:5]) + (", ..." if len(fields) > 5 else "")
    title = f"Fit {record.folder.resolve().name}"
    return render(Page(title, f"{state}: {len(fields)} fitted ({names}).", "", sections, maps, refresh))


def read_fields(folder: Path) -> list[FittedScales]:
    """Return the fields of a fit that have a snapshot, by name.

    Raises
    ------
    InputError
        If a snapshot's spectra cannot be read.
    """
    found = []
    for place in sorted(path for path in (folder / FIELDS).iterdir() if path.is_dir()):
        snapshots = sorted(path for path in place.glob("epoch_*") if (path / "spectra.npz").is_file())
        if snapshots:
            target = place / "target.png"
            found.append(
                FittedScales(
                    name=place.name,
                    epoch=int(snapshots[-1].name.rpartition("_")[2]),
                    pictures=_numbered(snapshots[-1], r"scale(\d+)\.png"),
                    target=target if target.is_file() else None,
                    spectra=_read_spectra(snapshots[-1] / "spectra.npz"),
                    maps=_numbered(place, r"scale(\d+)\.mrc"),
                )
            )
    return found


def _read_spectra(path: Path) -> dict[str, np.ndarray]:
    return {name: values.double().numpy() for name, values in vars(read_spectra(path)).items()}


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """Return files whose names have a number, in its order."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(pattern, path.name))]
    return [path for _, path in sorted(found)]


def _quality(record: RunRecord) -> str:
    rows = []
    for key, name, digits in (
        ("test_psnr", "test PSNR (dB)", 2),
        ("train_psnr", "training PSNR (dB)", 2),
        ("test_ssim", "test SSIM", 4),
    ):
        values = record.summary.get(key)
        if isinstance(values, list):
            rows.append((name, [f"{float(value):.{digits}f}" for value in values]))
    how = (
        "How close each scale comes to the truth, coarse to fine; the finest counts. Training is on the "
        "pixels that were "
        "fitted, the test on all pixels of the original."
    )
    if not rows:
        return section("quality", "Quality of each scale", how, card("<p>Figures come when the fit is done.</p>"))
    head = "".join(f'<th scope="col">scale {i}</th>' for i in range(1, len(rows[0][1]) + 1))
    lines = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{value}</td>" for value in values)}</tr>'
        for name, values in rows
    )
    body = f'<table class="plain"><thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table>'
    return section("quality", "Quality of each scale", how, card(body))


def _scales(fields: Sequence[FittedScales], n_fields: int) -> str:
    how = (
        "Move the slider from the coarsest scale to the finest. Right, the spectrum of what is shown "
        "(center: no frequency; "
        "bright: strong); the frame is the band that this scale may use. What lies just outside comes from "
        "the edges of the "
        "picture."
    )
    note = "" if n_fields == len(fields) else f"<p>{n_fields - len(fields)} more are in the run folder.</p>"
    body = "".join(f'<div style="margin-bottom:1rem">{_field(field)}</div>' for field in fields)
    return section("scales", "Scales and their spectra", how, (body or card("<p>No snapshot yet.</p>")) + note)


def _field(field: FittedScales) -> str:
    """Return one field: pictures and spectra of all scales, of which the slider shows one; the truth beside."""
    name, n = escape(field.name), len(field.pictures)
    views = "".join(
        f'<div class="columns" data-scale="{i}"{"" if i == n else " hidden"}>'
        f'<figure><img src="{_file_uri(path)}" alt="{name}, scale {i} of {n}"><figcaption>Scale {i} of '
        f"{n}</figcaption></figure>"
        f"<figure>{_spectrum(field, i)}</figure></div>"
        for i, path in enumerate(field.pictures, start=1)
    )
    slider = (
        f'<div class="control"><label for="scale-{name}">Scale</label><input type="range" id="scale-{name}" '
        f'data-scales min="1" max="{n}" step="1" value="{n}"></div>'
    )
    truth = ""
    if field.target is not None:
        truth = (
            f'<details><summary>The truth</summary><img src="{_file_uri(field.target)}" alt="{name}, the '
            f'truth"></details>'
        )
    return f'<div class="card scales" data-field><h3>{name}, epoch {field.epoch}</h3>{slider}{views}{truth}</div>'


def _spectrum(field: FittedScales, scale: int) -> str:
    """Return a scale's spectrum with its band as a frame."""
    spectra = field.spectra
    values, top = spectra["scales"][scale - 1], float(spectra["truth"].max())
    height, width = values.shape
    step = max(1, -(-max(height, width) // SPECTRUM_PIXELS))
    rgb = colored((values[::step, ::step] - (top - DECADES)) / DECADES)
    picture = png_uri(np.concatenate((rgb, np.full((*rgb.shape[:2], 1), 255.0)), axis=-1).round())
    band = float(spectra["half_widths"][scale - 1])
    half_x, half_y = band * float(spectra["extents"][1]), band * float(spectra["extents"][0])
    x, y = width // 2 - half_x, height // 2 - half_y
    frame = (
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" preserveAspectRatio="none">'
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{2 * half_x:.2f}" height="{2 * half_y:.2f}" fill="none" stroke="#fff" '
        f'stroke-width="{width / 200:.2f}"/></svg>'
    )
    alt = f"Spectrum of {escape(field.name)} at scale {scale}; its band ends at {band:g} cycles per box"
    return (
        f'<div class="sphere"><img src="{picture}" alt="{alt}">{frame}</div>'
        f"<figcaption>Band: up to {band:g} cycles per box on each axis</figcaption>"
    )


def _progress(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return the test PSNR of every scale over the epochs, a chart for each field that is shown."""
    cards = []
    for name in names:
        own = [row for row in rows if row["name"] == name and isinstance(row.get("test_psnr"), list)]
        n_scales = max((len(row["test_psnr"]) for row in own), default=0)
        lines = [
            Line(
                [(float(r["epoch"]), float(r["test_psnr"][i])) for r in own if i < len(r["test_psnr"])],
                f"scale {i + 1}",
                1 + i % 6,
            )
            for i in range(n_scales)
        ]
        if lines:
            alt = f"Test PSNR of {n_scales} scales of {name} over the epochs."
            cards.append(card(line_chart(lines, Axes("epoch", "test PSNR (dB)"), alt), name))
    how = "Each scale joins when the one before has settled; none that is finished should lose what it had."
    return section("progress", "How the fit went", how, columns(cards))


def _file_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
