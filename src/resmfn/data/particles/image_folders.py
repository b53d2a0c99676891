"""Where the image stacks of a particle file are, and which paths its names may reach.

A name comes from a file that somebody else may have written. It is looked up in one folder only:
an absolute path that leads elsewhere, or ``..`` that climbs out, needs permission. Links are followed, because
they were made on this machine, by its owner (RELION and cryoSPARC import by links).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resmfn.core import InputError

_LEVELS_ABOVE = 3  # Refine3D/job012/run_data.star names images from the project folder, two above its own
_FORMAT_MARKS = (":mrcs", ":mrc")  # that follow the name of a stack with another suffix, for RELION's reader
_SWAPPED = {".mrc": ".mrcs", ".mrcs": ".mrc"}
_MOST_ENTRIES = 20_000  # looked at to find a stack that is elsewhere


@dataclass(frozen=True, kw_only=True)
class ImageFolders:
    """What image names are relative to."""

    source: Path  #: the particle file
    datadir: Path | None = None  #: the folder that names start from; by default that of the file, or one above it
    strip_prefix: str | None = None  #: removed from the front of names that have it
    allow_outside: bool = False  #: whether names may leave the folder that they are relative to

    @cached_property
    def starts(self) -> list[Path]:
        """The folders that a name may start from, nearest first.

        Without ``datadir``: the file's folder and those above it; where the file is a link, the same of its target; and
        the current folder, where the file is somewhere below it.
        """
        if self.datadir is not None:
            return [_without_dots(self.datadir.absolute())]
        folders = [_without_dots(self.source.absolute().parent), self.source.resolve().parent]
        starts = [start for folder in folders for start in (folder, *_above(folder)[:_LEVELS_ABOVE])]
        here = Path.cwd()
        starts += [here] if any(folder.is_relative_to(here) for folder in folders) else []
        return list(dict.fromkeys(starts))

    def find(self, name: str, row: int) -> Path:
        """Return the stack that a name stands for.

        Parameters
        ----------
        name
            As the file has it; cryoSPARC's mark ``>`` and the prefix to strip are taken away.
        row
            The first row that has it, counted from 0, for the message.

        Raises
        ------
        InputError
            There is no such stack, or it is outside; the message says why, or where the nearest one is.
        """
        return self.find_from(name, row)[0]

    def find_from(self, name: str, row: int) -> tuple[Path, Path]:
        """Return the same, and the folder that the name starts from."""
        stripped = self._strip(name)
        outside: Path | None = None
        unusable: str | None = None
        for path, start in self._candidates(stripped):
            inside = self._is_inside(path)
            if (inside or self.allow_outside) and _is_file(path):
                return path, start
            outside = outside or (None if inside else path)
            unusable = unusable or (_why_unusable(path) if inside or self.allow_outside else None)
        where = f"{self.source}: row {row + 1}: the image stack {name}"
        if unusable is not None:
            raise InputError(f"{where} cannot be read: {unusable}")
        if outside is not None and not self.allow_outside:
            raise InputError(
                f"{where} leaves the folder {self.starts[-1]}; give "
                "--datadir and --strip-prefix so that it lies inside, or --allow-outside to read it anyway"
            )
        raise InputError(f"{where} is not {self._place()}; {self._advice(stripped)}")

    def _strip(self, name: str) -> str:
        name = name.removeprefix(">")
        if self.strip_prefix and name.startswith(self.strip_prefix):
            name = name[len(self.strip_prefix) :].lstrip("/")
        return name

    def _candidates(self, name: str) -> Iterator[tuple[Path, Path]]:
        """Yield the paths to try and where each starts: the name as it is first, then as other programs mean it."""
        for spelling in dict.fromkeys(_spellings(name)):
            for start in self.starts:
                yield Path(os.path.normpath(start / spelling)), start

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.starts)

    def _place(self) -> str:
        return f"in {self.datadir}" if self.datadir is not None else f"in {self.starts[0]} or the folders above it"

    def _advice(self, name: str) -> str:
        """Say where a stack of that name is, or of the nearest name."""
        if self.datadir is not None and not self.datadir.is_dir():
            return f"--datadir {self.datadir} is not a folder: correct it"
        for spelling in _spellings(name):
            found = self._elsewhere(spelling)
            if found is not None:
                start = Path(str(found)[: -len(spelling)])
                return f"{found} is there: give --datadir {start}"
        advice = "give --datadir, the folder that image paths are relative to"
        wanted = Path(name).name
        found = _find_below(self.starts[0], wanted)
        if found is not None:
            tail = _common_tail(found, Path(name))
            prefix = str(Path(name))[: -len(str(tail))]
            start = Path(str(found)[: -len(str(tail))])
            strip = f" --strip-prefix {prefix}" if prefix else ""
            return f"{found} is there: give --datadir {start}{strip}"
        folder = next(
            (start / Path(name).parent for start in self.starts if (start / Path(name).parent).is_dir()), None
        )
        if folder is None or not self._is_inside(folder.absolute()):
            return advice
        near = difflib.get_close_matches(wanted, sorted(entry.name for entry in _entries(folder)), n=1)
        if near and near[0].lower() == wanted.lower():
            return f"there is {near[0]} in {folder}: only upper and lower case differ; rename it, or correct the file"
        return f"the nearest name in {folder} is {near[0]}; {advice}" if near else advice

    def _elsewhere(self, name: str) -> Path | None:
        """Return a stack of this very name from a folder that names do not start from: above --datadir, or here."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        places = [Path.cwd(), *_above(self.starts[0]), *_above(Path.cwd())]
        return next((place / name for place in places if _is_file(place / name)), None)


def _without_dots(folder: Path) -> Path:
    """Return a folder without ``..``, as the system goes through links; one without is left as it is."""
    return folder.resolve() if ".." in folder.parts else folder


def _above(folder: Path) -> list[Path]:
    """Return the folders above one, nearest first, but for the root and what is right below it."""
    return [parent for parent in folder.parents if parent.parent != parent]


def _spellings(name: str) -> Iterator[str]:
    """Yield a name as it is, and as others write it: RELION's ``:mrcs``, Windows' backslashes, .mrc for .mrcs."""
    plain = name
    for mark in _FORMAT_MARKS:
        plain = plain.removesuffix(mark)
    for spelling in (name, plain, plain.replace("\\", "/")):
        yield spelling
        stem, suffix = os.path.splitext(spelling)  # noqa: PTH122 - a name may end in anything, a slash too
        if suffix in _SWAPPED:
            yield stem + _SWAPPED[suffix]


def _why_unusable(path: Path) -> str | None:
    """Return why a path is not a readable file; None if nothing is there."""
    try:
        if not os.path.lexists(path):
            return None
        if path.is_symlink() and not path.exists():
            return f"{path} is a link to {path.readlink()}, which does not exist; mount or restore it, or fix the link"
        if path.is_dir():
            return f"{path} is a folder; name a stack in it"
        return f"{path} is not a regular file"
    except (OSError, ValueError) as error:
        return f"{path}: {error.strerror}" if isinstance(error, PermissionError) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
        return False


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder; nothing where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _find_below(folder: Path, name: str) -> Path | None:
    """Return a file of this name below a folder, looking at a limited number of entries."""
    suffix = Path(name).suffix
    spellings = {name, name.removesuffix(suffix) + _SWAPPED.get(suffix, suffix)}
    waiting, seen = [folder], 0
    while waiting and seen < _MOST_ENTRIES:
        for entry in _entries(waiting.pop(0)):
            seen += 1
            if entry.name in spellings and entry.is_file():
                return Path(entry.path)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                waiting.append(Path(entry.path))
    return None


def _common_tail(found: Path, name: Path) -> Path:
    """Return the last parts of a name that a path ends in too; at least the last part of the path."""
    shared = [found.name]
    for a, b in zip(reversed(found.parts[:-1]), reversed(name.parts[:-1]), strict=False):
        if a != b:
            break
        shared.insert(0, a)
    return Path(*shared)
