"""Read a run folder into one record; anything may be missing, as in a run that is not finished."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resmfn.core import InputError
from resmfn.data import ParticleSet, read_particles
from resmfn.data.runs.arrays import read_arrays
from resmfn.data.runs.file_names import (
    CONFIG,
    DIRECTIONAL_FSC,
    FSC,
    LOG,
    METRICS,
    PARTICLES,
    PROGRESS,
    SUMMARY,
    SYMMETRY,
    VALIDATION,
)
from resmfn.data.runs.plain_settings import read_settings
from resmfn.data.runs.result_files import require_own_results
from resmfn.evaluation import FscCurve
from resmfn.reports.inputs import StrPath, read_fsc_table, read_json, small_text
from resmfn.reports.structure.confirmation import is_noise, keeps_poses
from resmfn.reports.values import as_number, listed, number

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
    """The content of a run folder."""

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
    symmetry: dict[str, Any] = field(default_factory=dict)
    """What symmetry.json says; empty where the map was not looked at."""
    directional: list[dict[str, float]] = field(default_factory=list)
    """Rows of fsc_directional.csv."""
    log: list[str] = field(default_factory=list)
    """The last lines of the log."""

    @property
    def is_done(self) -> bool:
        """Whether the run has finished."""
        return bool(self.summary)

    @property
    def seconds_left(self) -> float | None:
        """A guess, from the share that is done; None where there is none."""
        seconds = number(self.progress, "seconds") or 0.0
        return seconds * (1 / self.share_done - 1) if 0.1 < self.share_done < 1 and not self.is_done else None

    @property
    def share_done(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return 1.0 if self.is_done else min(1.0, max(0.0, number(self.progress, "done") or 0.0))

    @property
    def resolution(self) -> float | None:
        """Å to which the final half maps agree; None before the end, or if the run has none."""
        return number(self.summary, "resolution_half_0143")

    @property
    def classes(self) -> list[dict[str, Any]]:
        """What the summary says of each class; nothing where there is one structure only."""
        return [row for row in listed(self.summary, "classes") if isinstance(row, dict)]

    @property
    def nyquist(self) -> float | None:
        """Nyquist of the maps in Å; None if their pixel size is not known."""
        pixel, box = number(self.summary, "pixel_size"), number(self.summary, "box_size")
        if pixel is None or not pixel > 0:
            return None
        return 2 * pixel if box is None or box < 2 else pixel * box / (box // 2)

    @property
    def is_noise(self) -> bool:
        """Whether the run found no structure in the images."""
        return is_noise(self.summary)

    @property
    def keeps_poses(self) -> bool:
        """Whether the halves were made at the poses of the input, so that nothing says that they are independent."""
        return keeps_poses(self.summary, self.config)

    def series(self, name: str, stages: Iterable[str] = ()) -> list[tuple[int, float]]:
        """Values of one metric with the number of their round, counted over the whole run."""
        wanted, found = set(stages), []
        for count, row in enumerate(self.rounds(), start=1):
            value = as_number(row.get(name))
            if value is not None and (not wanted or str(row["stage"]) in wanted):
                found.append((count, value))
        return found

    def epochs(self, name: str) -> list[tuple[float, float]]:
        """Values of one metric over the epochs of a run of the published preset."""
        pairs = [(as_number(row.get("epoch")), as_number(row.get(name))) for row in self.metrics]
        return [(epoch, value) for epoch, value in pairs if epoch is not None and value is not None]

    def rounds(self) -> list[dict[str, Any]]:
        """Lines of metrics that belong to a round; those of several classes stand in the folder of each."""
        return [row for row in self.metrics if "round" in row and "class" not in row]


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
        raise InputError(
            f"{folder}: there is no {CONFIG}, so this is not a run folder; give the folder that --out of the run named"
        )
    require_own_results(folder)
    log = folder / LOG
    return RunRecord(
        folder=folder,
        config=read_settings(folder / CONFIG),
        summary=read_json(folder / SUMMARY),
        progress=read_json(folder / PROGRESS),
        provenance=read_json(folder / "provenance.json"),
        metrics=read_metrics(folder / METRICS, {"stage"}),
        maps=find_maps(folder),
        fsc=read_fsc_table(folder / FSC) if (folder / FSC).is_file() else {},
        particles=_read_particles(folder / PARTICLES),
        examples=_read_examples(folder / "examples.npz"),
        validation=read_json(folder / VALIDATION),
        evaluation=read_json(folder / "evaluation.json"),
        symmetry=read_json(folder / SYMMETRY),
        directional=_read_table(folder / DIRECTIONAL_FSC),
        log=_last_lines(log) if log.is_file() else [],
    )


def find_maps(folder: Path) -> dict[str, Path]:
    """Titles and files of the maps of a run: final ones, halves, then scales from coarse to fine."""
    found = {title: folder / name for name, title in MAP_TITLES.items() if (folder / name).is_file()}
    scales = [(int(match[1]), path) for path in folder.iterdir() if (match := _SCALE.fullmatch(path.name))]
    classes = [(int(match[1]), path) for path in folder.iterdir() if (match := CLASS_FOLDER.fullmatch(path.name))]
    found |= {f"Class {count}": path / "map_filtered.mrc" for count, path in sorted(classes)}
    found = {title: path for title, path in found.items() if path.is_file()}
    return found | {f"Scale {count}": path for count, path in sorted(scales)} | _epoch_maps(folder / "maps")


def _epoch_maps(folder: Path) -> dict[str, Path]:
    """Titles and files of the scales of the published preset, after the last epoch that wrote any."""
    named = [(match, path) for path in folder.glob("*.mrc") if (match := _EPOCH.fullmatch(path.name))]
    last = max((int(match[1]) for match, _ in named), default=0)
    scales = sorted((int(match[2]), path) for match, path in named if int(match[1]) == last)
    return {f"Scale {count} (epoch {last})": path for count, path in scales}


CLASS_FOLDER = re.compile(r"class(\d{1,3})", re.ASCII)
_SCALE = re.compile(r"map_scale(\d{1,4})\.mrc", re.ASCII)
_EPOCH = re.compile(r"epoch(\d{1,9})_scale(\d{1,4})\.mrc", re.ASCII)


def read_metrics(path: Path, needs: set[str]) -> list[dict[str, Any]]:
    """Read the lines of JSON that have certain names; the last may be half written while the run goes on."""
    rows = []
    for line in small_text(path).splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
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
    found = read_arrays(path, ("particle", "reprojection", "row", "resolution"), "examples of particles")
    images, views = found["particle"], found["reprojection"]
    if images.ndim != 3 or images.shape != views.shape or found["row"].shape != images.shape[:1] or images.size == 0:
        raise InputError(f"{path}: holds no pairs of pictures, one for each row; remove it")
    if found["resolution"].shape != ():
        raise InputError(f"{path}: resolution must be one number; remove it")
    return found


def _read_table(path: Path) -> list[dict[str, float]]:
    """Read a table of numbers; cells that are none are left out."""
    if not path.is_file():
        return []
    lines = [line.split(",") for line in small_text(path).splitlines() if line]
    return [
        {name: float(cell) for name, cell in zip(lines[0], cells, strict=False) if _NUMBER.fullmatch(cell.strip())}
        for cells in lines[1:]
    ]


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _last_lines(path: Path) -> list[str]:
    """Return the end of a log, however long it is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 100_000))
        return file.read().decode("utf-8", errors="replace").splitlines()[-200:]
