"""Read what a run folder holds into one record; anything may be missing, as it is while a run goes on."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from resmfn.core import InputError
from resmfn.data import ParticleSet, read_particles
from resmfn.data.runs.file_names import (
    CONFIG,
    DIRECTIONAL_FSC,
    FSC,
    LOG,
    METRICS,
    PARTICLES,
    PROGRESS,
    SUMMARY,
    VALIDATION,
)
from resmfn.data.runs.result_files import require_own_results
from resmfn.evaluation import FscCurve
from resmfn.reports.inputs import StrPath, read_fsc_table

MAP_TITLES = {
    "map_filtered.mrc": "Filtered map",
    "map_sharpened.mrc": "Sharpened map",
    "map.mrc": "Unfiltered map",
    "half1.mrc": "Half map 1",
    "half2.mrc": "Half map 2",
    "preview.mrc": "Map so far",
}
"""Files that are maps, in the order in which they are shown; the scales follow."""


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run."""

    folder: Path
    config: dict[str, Any]
    summary: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, Path] = field(default_factory=dict)
    """Title to file, the one to look at first standing first."""
    fsc: dict[str, FscCurve] = field(default_factory=dict)
    particles: ParticleSet | None = None
    """With poses; without images."""
    examples: dict[str, np.ndarray] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    directional: list[dict[str, float]] = field(default_factory=list)
    """Rows of fsc_directional.csv."""
    log: list[str] = field(default_factory=list)
    """The last lines of the log."""

    @property
    def is_done(self) -> bool:
        """Whether the run has come to its end."""
        return bool(self.summary)

    @property
    def seconds_left(self) -> float | None:
        """A guess, from the share that is done; None where there is none."""
        done, seconds = float(self.progress.get("done", 0)), float(self.progress.get("seconds", 0))
        return seconds * (1 / done - 1) if 0.1 < done < 1 and not self.is_done else None

    def series(self, name: str, stages: Iterable[str] = ()) -> list[tuple[int, float]]:
        """Values of one metric with the number of their round, counted over the whole run."""
        wanted, rows = set(stages), []
        for number, row in enumerate(self.rounds(), start=1):
            if name in row and (not wanted or row["stage"] in wanted):
                rows.append((number, float(row[name])))
        return rows

    def rounds(self) -> list[dict[str, Any]]:
        """Lines of metrics that belong to a round."""
        return [row for row in self.metrics if "round" in row]


def read_run(run: StrPath) -> RunRecord:
    """Read a run folder, finished or not.

    Raises
    ------
    InputError
        If it is no run folder, or a file in it cannot be understood.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: there is no {CONFIG}, so this is no run folder; give what --out of the run named")
    require_own_results(folder)
    log = folder / LOG
    return RunRecord(
        folder=folder,
        config=_read_yaml(folder / CONFIG),
        summary=_read_json(folder / SUMMARY),
        progress=_read_json(folder / PROGRESS),
        provenance=_read_json(folder / "provenance.json"),
        metrics=read_metrics(folder / METRICS, {"stage"}),
        maps=find_maps(folder),
        fsc=read_fsc_table(folder / FSC) if (folder / FSC).is_file() else {},
        particles=_read_particles(folder / PARTICLES),
        examples=_read_examples(folder / "examples.npz"),
        validation=_read_json(folder / VALIDATION),
        evaluation=_read_json(folder / "evaluation.json"),
        directional=_read_table(folder / DIRECTIONAL_FSC),
        log=log.read_text(errors="replace").splitlines()[-200:] if log.is_file() else [],
    )


def find_maps(folder: Path) -> dict[str, Path]:
    """Titles and files of the maps of a run: final ones, halves, then scales from coarse to fine."""
    found = {title: folder / name for name, title in MAP_TITLES.items() if (folder / name).is_file()}
    scales = [(int(match[1]), path) for path in folder.iterdir() if (match := _SCALE.fullmatch(path.name))]
    return found | {f"Scale {number}": path for number, path in sorted(scales)}


_SCALE = re.compile(r"map_scale(\d+)\.mrc")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); remove it, or write it anew") from error
    return found if isinstance(found, dict) else {}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); restore it") from error
    return found if isinstance(found, dict) else {}


def read_metrics(path: Path, needs: set[str]) -> list[dict[str, Any]]:
    """Read the lines of JSON that have certain names; the last may be half written while the run goes on."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and needs <= set(row):
            rows.append(row)
    return rows


def _read_particles(path: Path) -> ParticleSet | None:
    if not path.is_file():
        return None
    particles = read_particles(path, with_images=False)
    return None if particles.rotations is None else particles


def _read_examples(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it") from error


def _read_table(path: Path) -> list[dict[str, float]]:
    """Read a table of numbers; cells that are none are left out."""
    if not path.is_file():
        return []
    lines = [line.split(",") for line in path.read_text().splitlines() if line]
    return [
        {name: float(cell) for name, cell in zip(lines[0], cells, strict=False) if _NUMBER.fullmatch(cell.strip())}
        for cells in lines[1:]
    ]


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
