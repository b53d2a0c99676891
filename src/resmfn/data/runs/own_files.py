"""Which files of a run folder a run makes, and --overwrite removes. All others are the user's and are kept."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from resmfn.core import InputError

OF_A_RUN = (
    "checkpoint.pt", "checkpoint_previous.pt", "metrics.jsonl", "run.log", "progress.json", "provenance.json",
    "summary.json", "files.json", "map.mrc", "map_filtered.mrc", "map_sharpened.mrc", "map_scale*.mrc", "preview.mrc",
    "half1.mrc", "half2.mrc", "half1_unfil.mrc", "half2_unfil.mrc", "mask.mrc", "local_resolution.mrc",
    "particles.star", "particles_true.star", "bad_particles.txt", "fsc.csv", "fsc.xml", "fsc_directional.csv",
    "validation.json", "symmetry.json", "examples.npz", "view.cxc",
    # of the published preset and of fits
    "maps/epoch*_scale*.mrc", "tensorboard/events.out.tfevents*", "table.md",
    "fields/*/target.png", "fields/*/field.pt", "fields/*/scale*.mrc", "fields/*/epoch_*/scale*.png",
    "fields/*/epoch_*/scales.png", "fields/*/epoch_*/spectra.npz",
    # of the commands that come after a run, and speak of it
    "evaluation.json", "evaluation.png", "report.html", "postprocess/validation.json", "postprocess/fsc.csv",
    "postprocess/fsc_directional.csv", "postprocess/fsc.xml", "postprocess/postprocessed.mrc",
    "postprocess/local_resolution.mrc",
)  # fmt: skip
_CLASSES = "class[0-9]", "class[0-9][0-9]"
OWN = (
    *OF_A_RUN,
    *(f"{of_class}/{pattern}" for of_class in _CLASSES for pattern in (*OF_A_RUN, "config.yaml", ".lock")),
)
"""Patterns of paths in a run folder, and in those of its classes; config.yaml and the lock aside, which a run that
follows takes over."""
_FOLDERS = tuple(sorted({pattern.partition("/")[0] for pattern in OWN if "/" in pattern}))
_CUT_OFF = re.compile(r"\..*\.[0-9a-f]{12}\.tmp(\.[^.]*)?|\.progress\.json\.tmp|\.provenance\.json\.tmp")
_REMOVED = ".removed."


def is_own(folder: Path, path: Path) -> bool:
    """Return whether a path in a run folder is one that a run makes."""
    relative = path.relative_to(folder)
    return any(len(relative.parts) == len(parts) and _matches(relative, parts) for parts in _PARTS)


def is_own_folder(name: str) -> bool:
    """Say whether a folder of this name in a run folder holds files that a run makes."""
    return any(fnmatchcase(name, pattern) for pattern in _FOLDERS)


def own_files(folder: Path) -> list[Path]:
    """Return what a run has made in a folder: files, and links in their place; no link is followed."""
    return [path for path in _walk(folder, folder) if is_own(folder, path)]


def remove_own_files(folder: Path) -> None:
    """Remove all that a run has made, or nothing; other files are kept, and the folders that hold them.

    Raises
    ------
    InputError
        One of them cannot be removed; all are where they were.
    """
    trash = folder / f"{_REMOVED}{uuid.uuid4().hex[:12]}"
    moved: list[tuple[Path, Path]] = []
    try:
        trash.mkdir()
        for number, path in enumerate(own_files(folder)):
            target = trash / str(number)
            path.rename(target)
            moved.append((path, target))
    except OSError as error:
        for path, target in reversed(moved):
            target.rename(path)
        if trash.is_dir():
            trash.rmdir()
        raise InputError(
            f"{error.filename}: cannot be removed ({error.strerror}); nothing was changed: fix its permissions, or "
            "choose another --out"
        ) from None
    shutil.rmtree(trash, ignore_errors=True)
    _remove_empty(folder)


def remove_cut_off_files(folder: Path) -> None:
    """Remove what a killed run left half written or half removed."""
    for path in folder.iterdir():
        if path.name.startswith(_REMOVED) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif _CUT_OFF.fullmatch(path.name) and path.suffix != ".html":  # another process may be writing a report
            path.unlink(missing_ok=True)


_PARTS = [PurePath(pattern).parts for pattern in OWN]


def _matches(relative: PurePath, parts: tuple[str, ...]) -> bool:
    return all(fnmatchcase(name, pattern) for name, pattern in zip(relative.parts, parts, strict=True))


def _walk(folder: Path, top: Path) -> Iterator[Path]:
    """Yield files below a folder, and links as such, in the folders that a run makes."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            yield path
        elif is_own_folder(path.relative_to(top).parts[0]):
            yield from _walk(path, top)


def _remove_empty(folder: Path) -> None:
    """Remove the folders that a run makes where they hold nothing any more."""
    for place in sorted(folder.iterdir()):
        if not is_own_folder(place.name) or not place.is_dir() or place.is_symlink():
            continue
        inner = [path for path in place.rglob("*") if path.is_dir() and not path.is_symlink()]
        for path in [*sorted(inner, reverse=True), place]:
            if not any(path.iterdir()):
                path.rmdir()
