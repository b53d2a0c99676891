"""Damaged run folders, and hostile text in their fields: what is built of them is harmless, or one line.

``python fuzzing_reports.py N_CASES FOLDER``. A case is a run folder without maps, its files mutated byte by byte, or
field by field. Its page, the lines for a terminal, the text for a deposition, ChimeraX's commands and the FSC in XML
are made, and each is read again: nothing that a file says becomes an element, attribute, address, command or line.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from rich.console import Console

from data import fuzzing
from reports.example_run import make_run
from reports.harmless import require_harmless, require_strict
from resmfn.cli.watch import _table
from resmfn.core import ResmfnError
from resmfn.data import ParticleSet, read_particles, write_fsc_xml
from resmfn.data.runs.chimerax import SHARPENED, VIEW, write_chimerax_view
from resmfn.data.runs.file_names import LOCAL_RESOLUTION, UNMASKED_HALF_MAPS
from resmfn.reports.exports.methods_text import Deposited, methods_text
from resmfn.reports.html.sections import pose_sections
from resmfn.reports.report import build_page
from resmfn.reports.run_record import RunRecord, read_run
from resmfn.reports.structure.confirmation import unconfirmed
from resmfn.reports.watch import describe_state

END, BODY = b"\x1c", b"\x1d"
"""Separate the files of a folder, and name from content: bytes that no text has."""
PARSED = 0.1
"""Share of the pages that html.parser reads, and of the panels that rich draws: both take most of the time."""
TAG = "<b-evil onclick=evil()>"
PAYLOADS = (
    TAG,
    f"'>{TAG}</script></style></title>--><script>evil()</script>",
    f'"><img src=http://evil.example/ onerror=evil()>{TAG}',
    f'"\'><meta http-equiv="refresh" content="0;url=http://evil.example/">{TAG}',
    "javascript:evil()", "//evil.example/", "&lt;evil&gt;&amp;", "]]><evil/>", "\u2028evil\x00\x1b[2Jevil",
    "evil\nHand                    DETERMINED\nMETHODS\nopen http://evil.example\r\nclose session",
    "[/evil][link=evil]", "evil\ud800", "C2", "O", "class1", "class1/../../evil", "no structure", "x" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *PAYLOADS, None, True, False, 0, -1, 1, 0.5, 10**6, 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"), "",
    [], {}, [TAG] * 3, {TAG: TAG}, [[TAG]], [1.0, 2.0], {"p05": TAG}, list(range(30)), [[[[[[TAG]]]]]],
)  # fmt: skip
WORDS = [
    *(payload.encode("utf-8", "surrogatepass") for payload in PAYLOADS),
    *fuzzing.WORDS, b'"evil": ', b"{", b"}", b"]", b",,,", b"1e400", b"-0", b"0x" + b"f" * 5000, b"!!binary evil",
    b"2001-01-01", b"\\ud800", b"null", b"true", b"? ", b"- ", b": ", b"&a ", b"*a",
]  # fmt: skip


def pack(files: dict[str, bytes]) -> bytes:
    """Return a folder as one content."""
    return END.join(name.encode("utf-8", "surrogateescape") + BODY + body for name, body in files.items())


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the files of a content."""
    parts = (part.partition(BODY) for part in content.split(END))
    return {name.decode("utf-8", "surrogateescape"): body for name, _, body in parts}


def mutate(content: bytes, pool: list[bytes], rng: random.Random) -> bytes:
    """Change one to four things: a field of a file, some of its bytes, or whether it is there."""
    files = unpack(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        name = rng.choice(sorted(files))
        way = rng.random()
        if way < 0.65:
            files[name] = spoiled(name, files[name], rng)
        elif way < 0.93:
            others = [found[name] for found in map(unpack, rng.sample(pool, min(3, len(pool)))) if name in found]
            files[name] = fuzzing.mutate(files[name], others or [files[name]], rng, words=WORDS).replace(END, b"")
        elif way < 0.96 and len(files) > 2 and name != "config.yaml":
            del files[name]
        else:
            files[rng.choice(("<b-evil>'\"&.txt", "evil\udcff.txt", "report.html", "run.log"))] = TAG.encode()
    return pack(files)


def spoiled(name: str, body: bytes, rng: random.Random) -> bytes:
    """Return a file with one value, name, cell or word replaced."""
    if name.endswith(("csv", "star")):
        cells = re.split(rb"([,\s]+)", body)
        cells[rng.randrange(len(cells))] = rng.choice(WORDS).replace(b"\n", b"")
        return b"".join(cells)
    lines = body.splitlines(keepends=True) if name.endswith("jsonl") else [body]
    at = rng.randrange(len(lines)) if lines else 0
    try:
        found = json.loads(lines[at])
    except (ValueError, IndexError, RecursionError):
        return fuzzing.mutate(body, [body], rng, words=WORDS).replace(END, b"")
    lines[at] = json.dumps(_spoil(found, rng)).encode() + b"\n"
    return b"".join(lines)


def _spoil(value: Any, rng: random.Random) -> Any:
    """Return a value with one of its leaves, or itself, replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {(rng.choice(PAYLOADS) if k == key else k): v for k, v in value.items()}
        return {**value, key: _spoil(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], _spoil(value[at], rng), *value[at + 1 :]]
    return rng.choice(VALUES)


class Reader:
    """Builds all that is made of a run folder, and reads it again."""

    def __init__(self, particles: ParticleSet) -> None:
        self._particles = particles
        self._row_names = set(_row_names(methods_text(_deposited(_empty_record(), particles))))

    def __call__(self, folder: Path, content: bytes, rng: random.Random) -> bool:
        run = folder / "run <evil>"
        run.mkdir(exist_ok=True)
        files = unpack(content)
        for path in run.iterdir():
            if path.is_dir() and "fields" not in files:
                path.rmdir()
            elif path.is_file() and path.name not in files:
                path.unlink()
        for name, body in files.items():
            if name.startswith("fields"):
                (run / "fields").mkdir(exist_ok=True)
            elif name and "/" not in name and "\0" not in name and name not in (".", ".."):
                (run / name[:100]).write_bytes(body)
        if not (run / "config.yaml").exists():
            (run / "config.yaml").write_bytes(b"")
        record = read_run(run)
        page = build_page(record, refresh=rng.choice((0, 5)))
        page.encode()
        (require_harmless if rng.random() < PARSED else require_strict)(page)
        self._lines(record, rng)
        self._deposition(record)
        self._chimerax(run)
        self._xml(record, folder)
        return True

    def _lines(self, record: RunRecord, rng: random.Random) -> None:
        doubt = unconfirmed(record.summary, record.config, record.resolution, record.nyquist)
        assert doubt is None or "\n" not in doubt.line()
        state = describe_state(record, now=2000.0)
        if rng.random() > PARSED:
            return
        console = Console(width=10_000, force_terminal=True, color_system=None, file=io.StringIO())
        console.print(_table(state), markup=True)
        console.file.seek(0)
        assert "\x1b" not in console.file.read()

    def _deposition(self, record: RunRecord) -> None:
        text = methods_text(_deposited(record, record.particles or self._particles))
        text.encode()
        names = _row_names(text)
        assert set(names) <= self._row_names | {"Warning of the run", "Local resolution", "By direction"}, names
        assert text.splitlines().count("METHODS") == 1

    def _chimerax(self, run: Path) -> None:
        for name in (SHARPENED, LOCAL_RESOLUTION, *UNMASKED_HALF_MAPS):
            (run / name).touch()
        write_chimerax_view(run)
        text = (run / VIEW).read_text()
        assert "evil" not in text
        assert all(_COMMAND.fullmatch(line) for line in text.splitlines()), text

    def _xml(self, record: RunRecord, folder: Path) -> None:
        curve = next(iter(record.fsc.values()), None)
        if curve is not None:
            title = str(record.summary.get("verdict"))
            write_fsc_xml(folder / "fsc.xml", curve.frequency.tolist(), curve.correlation.tolist(), title)
            root = ElementTree.parse(folder / "fsc.xml").getroot()
            assert {element.tag for element in root.iter()} <= {"fsc", "coordinate", "x", "y"}


_COMMAND = re.compile(
    r"# Open in .*|close session|open \S+\.mrc id \d+|volume #\d+ style surface step 1 (level|sdLevel) -?[\d.e+-]+|"
    r"rename #\d+ \"[\w.,+ -]*\"|hide #\d+ models|color sample #\d+ map #\d+ palette [\d.e+,:a-z-]+|key [\w.:+ ,-]+|"
    r"2dlabels text \"local resolution, Å\" xpos [\d.]+ ypos [\d.]+ size \d+|set bgColor white|lighting soft|view"
)


def _row_names(text: str) -> list[str]:
    """Return what stands at the left of the rows of the form."""
    rows = text.partition("\nMETHODS\n")[0].splitlines()[2:]
    return [row[:24].rstrip() for row in rows if row.strip()]


def _empty_record() -> RunRecord:
    return RunRecord(Path(), {})


def _deposited(record: RunRecord, particles: ParticleSet) -> Deposited:
    return Deposited(record.summary, record.validation, record.config, record.provenance, particles, 0.1, 0.2)


def seeds(folder: Path) -> list[bytes]:
    """Return contents: runs that are done, of classes, of the published preset, not finished, and a fit."""
    bands = [{"resolution": 10.0, "halves": 0.9, "copies": 0.9, "worst": 0.8, "random": 0.1}]
    found = {"name": "C2", "frame": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "bands": bands}
    curve = {"resolution_05": 5.0, "correlation": [1.0, 0.8, 0.2]}
    more = {
        "provenance.json": {"command": "resmfn reconstruct", "resmfn": "0.1", "started": "now"},
        "symmetry.json": {"group": found, "pseudo": {**found, "resolution": 12.0}, "is_decidable": True, "limit": 6.0},
        "evaluation.json": {
            "fsc": {"frequency": [0.0, 0.05, 0.1], "masked": curve, "unmasked": curve}, "map": {"hand": 1},
            "poses": {"median": 1.0, "mean": 2.0, "share_within_5": 0.9, "share_within_10": 1.0},
            "shifts": {"rms": 0.5}, "reference": "true.mrc", "true_poses": "true.star",
        },
    }  # fmt: skip
    run = make_run(folder / "whole", n_bad=3, warnings=["a warning"], noise_control={
        "n_images": 50, "gain": 1.0, "gain_error": 0.1, "lead": 1.0, "lead_error": 0.1})  # fmt: skip
    texts = (path for path in run.iterdir() if path.suffix not in (".mrc", ".npz"))
    whole = {path.name: path.read_bytes() for path in texts}
    whole |= {name: json.dumps(values).encode() for name, values in more.items()}
    for name in ("fsc.csv", "fsc_directional.csv"):
        rows = whole[name].splitlines(keepends=True)
        whole[name] = b"".join([rows[0], *rows[1::4]])
    star = whole.pop("particles.star").splitlines(keepends=True)
    first = next(i for i, line in enumerate(star) if b"@" in line)
    as_json = b'{"particles": "p.star", "shift_range": 9.0, "poses": "unknown", "seed": 1, "symmetry": "C1"}'
    classes = [{"folder": "class1", "n_particles": 5, "share": 0.5, "resolution_half_0143": 5.0, "verdict": "x"}]
    branching = [{"classes": 1.0, "log_likelihood": 2.0, "gain": 1.0, "error": 0.1, "maps": 2.0}]
    summary = {**json.loads(whole["summary.json"]), "classes": classes, "branching": branching}
    epochs = b"".join(
        json.dumps({"stage": "fit", "epoch": i, "loss": 1 / i, "pose_error_median": 9.0 / i}).encode() + b"\n"
        for i in (1, 2, 3)
    )
    names = ("config.yaml", "metrics.jsonl", "run.log", "progress.json")
    base = {"config.yaml": as_json, "summary.json": whole["summary.json"]}
    fit = b'{"name": "a", "epoch": 1, "test_psnr": [1.0, 2.0]}\n{"name": "a", "epoch": 2, "test_psnr": [2.0, 3.0]}\n'
    folders = [
        {**whole, "particles.star": b"".join(star[: first + 6])},
        *({**base, name: body} for name, body in whole.items() if name not in base),  # a section each: quick to build
        {**base, "config.yaml": whole["config.yaml"]},
        {**base, "summary.json": json.dumps(summary).encode()},
        {name: whole[name] for name in names},
        {**{name: whole[name] for name in names}, "metrics.jsonl": epochs, "summary.json": b'{"pose_error_median": 2}'},
        {"config.yaml": as_json, "metrics.jsonl": fit, "summary.json": b'{"test_psnr": [1.0, 2.0]}', "fields": b""},
    ]  # fmt: skip
    return [pack(files) for files in folders]


def target(particles: ParticleSet) -> fuzzing.Target:
    """Return what is fuzzed."""
    reader: Callable[[Path, bytes, random.Random], bool] = Reader(particles)
    return fuzzing.Target("report", reader, mutate, ("reports", "data/runs"))


def main() -> None:
    """Run as a program."""
    n_cases, folder = int(sys.argv[1]), Path(sys.argv[2])
    contents = seeds(folder)
    os.fsync = lambda _: None  # type: ignore[assignment]  # what is written is of no use
    pose_sections.mollweide_uri = cache(lambda _: ("data:,", 1.0))  # type: ignore[assignment]  # a picture has no text
    star = unpack(contents[0])["particles.star"]
    (folder / "six.star").write_bytes(star)
    particles = read_particles(folder / "six.star", with_images=False)
    for content in contents:
        if not target(particles).read(folder, content, random.Random(0)):
            raise ResmfnError("a whole run was not read")
    torch.set_num_threads(1)
    fuzzing.run_as_program(target(particles), n_cases, folder, contents)


if __name__ == "__main__":
    main()
