"""Short digests of a run's input, to tell on resuming whether it has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from resmfn.core.errors import InputError

_READ_BYTES = 16 * 2**20


def digest_of(parts: Iterable[str | bytes | np.ndarray]) -> str:
    """Return a digest of 32 hexadecimal digits of texts and arrays, in order."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part if isinstance(part, bytes) else part.tobytes()
        found.update(len(raw).to_bytes(8, "little"))
        found.update(raw)
    return found.hexdigest()


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """Return the digest of a file's content.

    Raises
    ------
    InputError
        It cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_READ_BYTES):
                found.update(block)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return found.hexdigest()


def require_same_input(source: object, run: object, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Refuse to resume a run whose input has changed.

    Parameters
    ----------
    source, run
        What was read and the run folder, for the message.
    before, now
        What differs if it does, in words that go on after "has changed" -> its digest, or a number. What the run was
        begun without, by an earlier version, is not compared.

    Raises
    ------
    InputError
        Says what has changed.
    """
    for what, value in now.items():
        if what not in before or before[what] == value:
            continue
        counts = f" from {before[what]} to {value}" if isinstance(value, int) else ""
        raise InputError(
            f"{source} has changed since {run} was begun ({what}{counts}): resume with its original input, "
            "or start again with --overwrite"
        )
