"""``resmfn report``: a run folder as one page that opens from disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from resmfn.core import InputError, atomic_write
from resmfn.core.progress import duration
from resmfn.data.runs.file_names import LOCAL_RESOLUTION
from resmfn.reports.findings import Finding, find, measure_views
from resmfn.reports.fitted.fit_report import build_fit_page, is_fit
from resmfn.reports.html.figure_sections import (
    examples_section,
    fsc_section,
    optics_section,
    progress_section,
    validation_section,
    views_section,
)
from resmfn.reports.html.map_sections import map_sections
from resmfn.reports.html.page import Page, render
from resmfn.reports.html.text import card, columns, section, table
from resmfn.reports.html.volumes import pack_local, pack_map
from resmfn.reports.inputs import StrPath
from resmfn.reports.run_record import RunRecord, read_run

REPORT_NAME = "report.html"
REFRESH_SECONDS = 10


def report(run: StrPath, out: StrPath | None = None) -> Path:
    """Write a self-contained HTML report of a run, finished or not.

    Parameters
    ----------
    run
        A run folder of ``resmfn reconstruct``, ``resmfn fit-image`` or ``resmfn fit-volume``.
    out
        The page. By default report.html in the run folder; one that exists is replaced.

    Returns
    -------
    Path
        Where the page is.

    Raises
    ------
    InputError
        If there is no such run, or the page cannot be written.
    """
    return write_page(build_page(read_run(run)), run, out)


def live_report(
    run: StrPath, out: StrPath | None = None, *, interval: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> Path:
    """Write the report again and again while the run goes on; return when it is done.

    An open page loads itself again every few seconds, and no more once the run is done.

    Parameters
    ----------
    run, out
        As for :func:`report`.
    interval
        Seconds from one writing to the next.
    sleep
        Waits that long.
    """
    while True:
        record = read_run(run)
        path = write_page(build_page(record, refresh=0 if record.is_done else REFRESH_SECONDS), run, out)
        if record.is_done:
            return path
        sleep(interval)


def write_page(text: str, run: StrPath, out: StrPath | None) -> Path:
    """Write a page where it belongs, whole or not at all."""
    path = Path(run) / REPORT_NAME if out is None else Path(out)
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give --out the name of a page, {path / REPORT_NAME} for example")
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def build_page(record: RunRecord, *, refresh: int = 0) -> str:
    """Return the report of a run as HTML.

    Parameters
    ----------
    record
        What the run folder holds.
    refresh
        Seconds after which an open page loads itself again; 0 is never.
    """
    if is_fit(record.folder):
        return build_fit_page(record, refresh=refresh)
    resolution = record.summary.get("resolution_half_0143")
    maps = [
        pack_map(path, title, float(resolution) if resolution else None, is_first=i == 0)
        for i, (title, path) in enumerate(record.maps.items())
    ]
    local = record.folder / LOCAL_RESOLUTION
    packed_local = pack_local(local) if maps and local.is_file() else None
    coverage = measure_views(record)
    findings = find(record, coverage)
    sections = [("findings", "What to know", _findings(findings, record))]
    sections += map_sections(maps, packed_local)
    if record.fsc:
        sections.append(("fsc", "Half maps", fsc_section(record)))
    if record.validation:
        sections.append(("validation", "Validation", validation_section(record)))
    if coverage is not None:
        sections.append(("poses", "Views and poses", views_section(record, coverage)))
    if record.examples:
        sections.append(("pairs", "Particle pairs", examples_section(record)))
    if record.metrics:
        sections.append(("progress", "How it went", progress_section(record)))
    if record.particles is not None:
        sections.append(("optics", "Microscope", optics_section(record)))
    sections.append(("settings", "Settings", _settings(record)))
    name = record.folder.resolve().name
    return render(Page(f"Run {name}", _subtitle(record), _head(record), sections, maps, refresh, packed_local))


def _subtitle(record: RunRecord) -> str:
    if record.is_done:
        verdict = str(record.summary.get("verdict", "done"))
        return f"{verdict[:1].upper()}{verdict[1:]}."
    if record.progress:
        return f"Still running: {record.progress.get('stage', '')}, {record.progress.get('message', '')}."
    return "Not finished."


def _head(record: RunRecord) -> str:
    """Return the key figures; of a run that goes on, how far it is."""
    summary = record.summary
    if not summary:
        done, left = float(record.progress.get("done", 0)), record.seconds_left
        text = f"{done:.0%} done" + (f", about {duration(left)} left" if left is not None else "")
        bar = f'<progress max="1" value="{done}" aria-label="Progress of the run">{done:.0%}</progress>'
        return (
            f'<div class="live card">{bar}<p style="margin:.3rem 0 0">{text}. This page shows what there is '
            f"so far.</p></div>"
        )
    corrected = record.fsc.get("corrected")
    half = "" if corrected is None else f"{corrected.resolution_at(0.5):.2f} Å at 0.5"
    resolution = f"{float(summary.get('resolution_half_0143', float('inf'))):.2f} Å"
    if summary.get("structure_found") is False:
        resolution, half = "none", "and what agrees is noise"
    cells = [
        ("Resolution", resolution, f"half maps at 0.143; {half}"),
        ("Particles", f"{int(summary.get('n_particles', 0)):,}", "used"),
        ("Box", f"{summary.get('box_size', '?')} px", f"of {float(summary.get('pixel_size', 0)):g} Å"),
        ("Time", duration(float(summary.get("seconds", 0))), f"on {summary.get('device', 'cpu')}"),
        ("Memory", f"{float(summary.get('peak_memory', 0)) / 2**30:.1f} GiB", _memory_note(summary)),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in cells)
    return f'<dl class="figures">{items}</dl>'


def _memory_note(summary: dict[str, Any]) -> str:
    of_gpu = int(summary.get("peak_gpu_memory", 0))
    return f"at most; {of_gpu / 2**30:.1f} GiB of the GPU" if of_gpu else "at most"


def _findings(findings: list[Finding], record: RunRecord) -> str:
    if not findings:
        body = "<p>Nothing can be said yet.</p>"
    else:
        items = "".join(
            f'<li class="{f.level}"><span class="kind">{f.level}</span><b>{escape(f.title)}.</b>{escape(f.text)}</li>'
            for f in findings
        )
        body = f'<ul class="findings">{items}</ul>'
    how = "What the figures say about how far the map can be believed, and what to do about it."
    if not record.is_done:
        how = "Final judgments come when the run is done."
    return section("findings", "What to know before believing the map", how, body)


def _settings(record: RunRecord) -> str:
    """Return settings, command, versions and the end of the log."""
    settings = {name: value for name, value in record.config.items() if name not in ("resume", "overwrite")}
    made = {name: value for name, value in record.provenance.items() if name != "command" and value is not None}
    command = str(record.provenance.get("command", "not recorded"))
    cards = (
        [card(table(settings), "Settings"), card(table(made), "Made with")]
        if made
        else [card(table(settings), "Settings")]
    )
    log = "\n".join(record.log[-40:])
    body = (
        card(f"<pre>{escape(command)}</pre>", "Command")
        + columns(cards)
        + card(f'<details><summary>The last lines of run.log</summary><pre tabindex="0">{escape(log)}</pre></details>')
    )
    return section("settings", "Settings, command, versions", "With config.yaml alone the run can be repeated.", body)
