"""``resmfn report``: a run folder as one page that opens from disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from resmfn.core import InputError, atomic_write
from resmfn.core.progress import duration
from resmfn.data.runs.file_names import LOCAL_RESOLUTION
from resmfn.reports.findings import Finding, find, measure_views
from resmfn.reports.fitted.fit_report import build_fit_page, is_fit
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.page import Page, render
from resmfn.reports.html.sections.class_sections import classes_section, flow_section, number_section
from resmfn.reports.html.sections.curve_sections import fsc_section, truth_section, validation_section
from resmfn.reports.html.sections.map_sections import map_sections
from resmfn.reports.html.sections.pose_sections import examples_section, optics_section, views_section
from resmfn.reports.html.sections.progress_sections import progress_section
from resmfn.reports.html.sections.structure_sections import symmetry_section
from resmfn.reports.html.text import card, columns, plain, section, table
from resmfn.reports.html.volumes import pack_local, pack_map
from resmfn.reports.inputs import StrPath
from resmfn.reports.run_record import CLASS_FOLDER, RunRecord, read_run
from resmfn.reports.structure.confirmation import unconfirmed
from resmfn.reports.tables import angstrom, resolution_words
from resmfn.reports.values import number, words

REPORT_NAME = "report.html"
REFRESH_SECONDS = 10
MOST_FILES = 100
FILES = {
    "map_filtered.mrc": "the map filtered to its resolution: look at this one first",
    "map_sharpened.mrc": "mean of the half maps, sharpened and filtered",
    "map.mrc": "the map of all images, not filtered",
    "half1.mrc": "map of one half set, masked",
    "half2.mrc": "map of the other half set, masked",
    "half1_unfil.mrc": "half map without mask or filter, for other programs and the EMDB",
    "half2_unfil.mrc": "likewise, of the other half set",
    "mask.mrc": "mask of the maps and of the FSC",
    "local_resolution.mrc": "resolution in Å at each voxel",
    "view.cxc": "open it in ChimeraX: the sharpened map, colored by local resolution",
    "particles.star": "the input's rows and columns, with poses and half sets",
    "bad_particles.txt": "images that look like noise",
    "fsc.csv": "curves of the half maps, shell by shell",
    "fsc.xml": "the corrected curve for the EMDB",
    "fsc_directional.csv": "curves by direction",
    "validation.json": "the figures of the validation",
    "symmetry.json": "the point group that the half maps show",
    "summary.json": "the figures of the run",
    "evaluation.json": "map and poses against the truth",
    "evaluation.png": "the same as a picture",
    "config.yaml": "all settings; enough to repeat the run",
    "metrics.jsonl": "progress, one line per round",
    "run.log": "the messages, with times",
    "provenance.json": "command, versions, machine",
}
"""Files of a run folder, the most important first."""


def report(run: StrPath, out: StrPath | None = None) -> Path:
    """Write a self-contained HTML report of a run, finished or not.

    Parameters
    ----------
    run
        A run folder of ``resmfn reconstruct``, ``resmfn fit-image`` or ``resmfn fit-volume``.
    out
        The page. By default report.html in the run folder; an existing one is replaced.

    Returns
    -------
    Path
        Where the page is.

    Raises
    ------
    InputError
        If there is no such run, or the page cannot be written.
    """
    record = read_run(run)
    for row in record.classes if out is None else ():
        folder = record.folder / words(row, "folder")
        if CLASS_FOLDER.fullmatch(folder.name) and folder.parent == record.folder and folder.is_dir():
            write_page(build_page(read_run(folder)), folder, None)
    return write_page(build_page(record), run, out)


def live_report(
    run: StrPath, out: StrPath | None = None, *, interval: float = 5.0, sleep: Callable[[float], None] = time.sleep
) -> Path:
    """Keep the report up to date while the run goes on; return when it is done.

    An open page reloads itself every few seconds until the run is done.

    Parameters
    ----------
    run, out
        As for :func:`report`.
    interval
        Seconds between updates.
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
    """Write a page to its place, atomically."""
    path = Path(run) / REPORT_NAME if out is None else Path(out)
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give --out a file name, {path / REPORT_NAME} for example")
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
        Seconds after which an open page reloads itself; 0 is never.
    """
    if is_fit(record.folder):
        return build_fit_page(record, refresh=refresh)
    maps = [
        pack_map(path, title, record.resolution, is_first=i == 0) for i, (title, path) in enumerate(record.maps.items())
    ]
    local = record.folder / LOCAL_RESOLUTION
    packed_local = pack_local(local) if maps and local.is_file() else None
    coverage = None if record.classes else measure_views(record)  # classes have no common frame
    findings = find(record, coverage)
    sections = [("findings", "What to know", _findings(findings, record))]
    if record.evaluation:
        sections.append(("truth", "Against the truth", truth_section(record)))
    if record.classes:
        sections.append(("classes", "Classes", classes_section(record)))
        how_many, flow = number_section(record), flow_section(record)
        if how_many is not None:
            sections.append(("number", "How many classes", how_many))
        if flow is not None:
            sections.append(("flow", "Images between classes", flow))
    sections += map_sections(maps, packed_local)
    if record.fsc:
        sections.append(("fsc", "Half maps", fsc_section(record)))
    if record.validation:
        sections.append(("validation", "Validation", validation_section(record)))
    shown = symmetry_section(record)
    if shown is not None:
        sections.append(("symmetry", "Symmetry", shown))
    views = None if coverage is None else views_section(record, coverage)
    if views is not None:
        sections.append(("poses", "Views and poses", views))
    if record.examples:
        sections.append(("pairs", "Particle pairs", examples_section(record)))
    if record.metrics:
        sections.append(("progress", "Progress", progress_section(record)))
    if record.particles is not None:
        sections.append(("optics", "Microscope", optics_section(record)))
    sections.append(("files", "Files", _files(record)))
    sections.append(("settings", "Settings", _settings(record)))
    name = record.folder.resolve().name
    return render(Page(f"Run {name}", _subtitle(record), _head(record), sections, maps, refresh, packed_local))


def _subtitle(record: RunRecord) -> str:
    if record.is_done:
        verdict = words(record.summary, "verdict", default="done")
        return f"{verdict[:1].upper()}{verdict[1:]}."
    if record.progress:
        return f"Still running: {words(record.progress, 'stage')}, {words(record.progress, 'message')}."
    return "Not finished."


def _head(record: RunRecord) -> Markup:
    """Return the key figures; of a run that goes on, how far it is."""
    if not record.is_done:
        done, left = record.share_done, record.seconds_left
        text = f"{done:.0%} done" + (f", about {duration(left)} left" if left is not None else "")
        bar = element("progress", f"{done:.0%}", max=1, value=done, aria_label="Progress of the run")
        note = element("p", f"{text}. This page shows the results so far.", style="margin:.3rem 0 0")
        return element("div", bar, note, class_="live card")
    summary = record.summary
    cells = _result(record)
    n, bad, box = number(summary, "n_particles"), number(summary, "n_bad"), summary.get("box_size")
    if n is not None:
        cells.append(("Particles", f"{n:,.0f}", "used" if not bad else f"used; {bad:,.0f} look like noise"))
    if box is not None:
        cells.append(("Box", f"{plain(box)} px", f"of {plain(summary.get('pixel_size'))} Å"))
    seconds, memory = number(summary, "seconds"), number(summary, "peak_memory")
    if seconds is not None:
        cells.append(("Time", duration(seconds), f"on {words(summary, 'device', default='cpu')}"))
    if memory is not None:
        gpu = number(summary, "peak_gpu_memory") or 0
        note_ = f"at most; {gpu / 2**30:.1f} GiB of the GPU" if gpu else "at most"
        cells.append(("Memory", f"{memory / 2**30:.1f} GiB", note_))
    items = [
        element("div", element("dt", name), element("dd", value, element("small", note))) for name, value, note in cells
    ]
    return element("dl", items, class_="figures")


def _result(record: RunRecord) -> list[tuple[str, str, str]]:
    """Return the main figure: name, value and meaning. The published preset has only poses to judge."""
    if record.is_noise:
        return [("Resolution", "none", "half maps at 0.143; they share noise only")]
    corrected = record.fsc.get("corrected")
    half = "" if corrected is None else f"; {resolution_words(corrected, 0.5)} at 0.5"
    if record.resolution is not None:
        said = angstrom(record.resolution, record.nyquist)
        doubt = unconfirmed(record.summary, record.config, record.resolution, record.nyquist)
        if doubt is not None:
            why = "not confirmed, for poses of the input were kept" if record.keeps_poses else doubt.title.lower()
            return [("Resolution", "none", f"half maps agree to {said} at 0.143, corrected; {why}")]
        return [("Resolution", said, f"half maps at 0.143, corrected{half}")]
    if "resolution_half_0143" in record.summary:
        return [("Resolution", "none", "the half maps do not agree")]
    error = number(record.summary, "pose_error_median")
    return [] if error is None else [("Pose error", f"{error:.1f}°", "median, against the true poses; no half maps")]


def _findings(findings: list[Finding], record: RunRecord) -> Markup:
    items = [
        element("li", element("span", f.level, class_="kind"), element("b", f"{f.title}."), f.text, class_=f.level)
        for f in findings
    ]
    body = element("ul", items, class_="findings") if items else element("p", "Nothing to report yet.")
    how = "How far the map can be trusted, and what would improve it."
    if not record.is_done:
        how = "The final findings appear when the run is done."
    return section("findings", "What to know before trusting the map", how, body)


def _files(record: RunRecord) -> Markup:
    """Return where the run is, and what each of its files is for."""
    names = sorted(path.name for path in record.folder.iterdir() if path.is_file() and not path.name.startswith("."))
    known = [name for name in FILES if name in names]
    rows = {name: FILES[name] for name in known} | {
        name: "" for name in names if name not in FILES and not name.startswith("checkpoint")
    }
    shown: dict[str, object] = dict(list(rows.items())[:MOST_FILES])
    title = str(record.folder.resolve())
    return section("files", "Files", "The run folder and its files.", card(table(shown), title))


def _settings(record: RunRecord) -> Markup:
    """Return settings, command, versions and the end of the log."""
    settings = {name: value for name, value in record.config.items() if name not in ("resume", "overwrite")}
    made = {name: value for name, value in record.provenance.items() if name != "command" and value is not None}
    cards = [card(table(settings), "Settings")]
    if made:
        cards.append(card(table(made), "Made with"))
    log = element(
        "details",
        element("summary", "The last lines of run.log"),
        element("pre", "\n".join(record.log[-40:]), tabindex=0),
    )
    command = element("pre", words(record.provenance, "command", default="not recorded"))
    how = "config.yaml is enough to repeat the run."
    body = (card(command, "Command"), columns(cards), card(log))
    return section("settings", "Settings, command, versions", how, body)
