"""Files and folders that are either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resmfn.core.errors import InputError

_USER_CAN_MEND = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.EFBIG}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path`` in one step.

    The caller writes a file at the path it is given (same folder, same suffix). When the block ends well, that
    file is flushed to disk and renamed; when it raises, the file is removed and ``path`` is untouched. A process
    killed in between leaves ``path`` untouched too, and at worst a hidden ``.tmp`` file beside it.

    Raises
    ------
    InputError
        The folder does not exist, may not be written to, or the disk is full.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp{path.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
        _flush_to_disk(path.parent)
    except OSError as error:
        if error.errno not in _USER_CAN_MEND:
            raise
        raise InputError(
            f"cannot write {path}: {error.strerror}; free some space, or choose another output folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success it becomes ``path``, which must not be there or be empty.

    Raises
    ------
    InputError
        The folder exists and holds something, its parent does not exist, may not be written to, or the disk is full.
    """
    path = Path(path).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists already; give another name, or remove it")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _USER_CAN_MEND:
            raise
        raise InputError(f"cannot write {path}: {error.strerror}; free or change the output folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_plain(path: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file for writing, created if needed, and return its descriptor; existing content is kept.

    A symbolic link is not followed: whoever can write to a folder could lead the writer to any file of its user. A
    pipe or a device is no place for a record either.

    Parameters
    ----------
    path
        The file.
    flags
        As of ``os.open``: O_RDWR, or O_WRONLY with O_APPEND.

    Raises
    ------
    InputError
        It is a link, or not a regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{path} is a symbolic link, and nothing is written through links; remove it") from None
        if error.errno == errno.ENXIO:  # a pipe that nobody reads
            raise InputError(f"{path} is not a regular file; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a regular file; remove it")
    return descriptor


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append to a text file as :func:`open_plain` opens it."""
    with os.fdopen(open_plain(path, os.O_WRONLY | os.O_APPEND), "w", encoding="utf-8") as file:
        file.write(line)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
