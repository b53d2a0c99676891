"""Where the image stacks that a particle file names lie, and how far such a name may reach.

A name comes from a file that somebody else may have written. It is looked up in the folder of images, and only there:
an absolute path that leads elsewhere, or ``..`` that climbs out, needs the user's leave. Links are followed, because
they were made on this machine, by its owner (RELION and cryoSPARC import by links).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resmfn.core import InputError

_LEVELS_ABOVE = 3  # Refine3D/job012/run_data.star names images from the project folder, two above its own
_SWAPPED = {".mrc": ".mrcs", ".mrcs": ".mrc"}
_MOST_ENTRIES = 20_000  # looked at to find a stack that is elsewhere


@dataclass(frozen=True, kw_only=True)
class ImageFolders:
    """What image names are relative to."""

    source: Path  #: the particle file
    datadir: Path | None = None  #: the folder that names start from; by default that of the file, or one above it
    strip_prefix: str | None = None  #: taken away from the front of names that have it
    allow_outside: bool = False  #: whether names may lead out of the folder that they start from

    @property
    def starts(self) -> list[Path]:
        """The folders that a name may start from, nearest first."""
        if self.datadir is not None:
            return [self.datadir.absolute()]
        folder = self.source.absolute().parent
        above = [parent for parent in folder.parents if parent.parent != parent]
        return [folder, *above[:_LEVELS_ABOVE]]

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
            There is no such stack, or it is outside; the message says where the nearest one is.
        """
        stripped = self._strip(name)
        outside: Path | None = None
        for path in self._candidates(stripped):
            inside = self._is_inside(path)
            if (inside or self.allow_outside) and _is_file(path):
                return path
            outside = outside or (None if inside else path)
        if outside is not None and not self.allow_outside:
            raise InputError(
                f"{self.source}: row {row + 1}: the image stack {name} leads out of the folder {self.starts[-1]}; give "
                "--datadir and --strip-prefix so that it lies inside, or --allow-outside to read it where it says"
            )
        raise InputError(
            f"{self.source}: row {row + 1}: the image stack {name} is not {self._place()}; {self._advice(stripped)}"
        )

    def _strip(self, name: str) -> str:
        name = name.removeprefix(">")
        if self.strip_prefix and name.startswith(self.strip_prefix):
            name = name[len(self.strip_prefix) :].lstrip("/")
        return name

    def _candidates(self, name: str) -> Iterator[Path]:
        """Yield the paths to try: the name as it is first, then with .mrc and .mrcs exchanged."""
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name may end in anything, a slash too
        for spelling in (name, stem + _SWAPPED[suffix]) if suffix in _SWAPPED else (name,):
            yield from (Path(os.path.normpath(folder / spelling)) for folder in self.starts)

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.starts)

    def _place(self) -> str:
        return f"in {self.datadir}" if self.datadir is not None else f"in {self.starts[0]} or the folders above it"

    def _advice(self, name: str) -> str:
        """Say where a stack of that name is, or of the nearest name."""
        advice = "give --datadir, the folder that image names start from"
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
        return f"the nearest name in {folder} is {near[0]}; {advice}" if near else advice


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
