"""Folders that get all of their files, or none."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resmfn.core import InputError


@contextmanager
def whole_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give an empty temporary folder beside ``path``; when the block ends well, its files go to ``path``.

    When the block raises, nothing is left behind. Files that are in ``path`` under other names stay.

    Raises
    ------
    InputError
        ``path`` is a file, or a folder with files and ``overwrite`` is not set.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, not a folder; give another --out")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise InputError(f"{path}: the folder exists and has files; give --overwrite, or another folder")
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        temporary.mkdir()
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror}); give another --out") from error
    try:
        yield temporary
        if not path.exists():
            temporary.rename(path)
            return
        for entry in sorted(temporary.iterdir()):
            _move(entry, path / entry.name)
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(path))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(entry: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    entry.replace(target)
