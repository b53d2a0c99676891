"""Small archives of arrays, read from files that may not be ours."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from resmfn.core import InputError

MOST_BYTES = 256 * 2**20
"""Most bytes of all arrays of an archive: the size of the compressed file sets no limit."""


def read_arrays(path: str | os.PathLike[str], names: tuple[str, ...], what: str) -> dict[str, np.ndarray]:
    """Read arrays of numbers from an .npz file.

    Parameters
    ----------
    path
        File.
    names
        Of the arrays that must be there; others are not read.
    what
        Of the file, for errors: ``spectra of a fit``.

    Raises
    ------
    InputError
        If the file is damaged or another one, or unpacks to more than 256 MiB.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_BYTES:
            raise InputError(f"{path} unpacks to {size / 2**20:,.0f} MiB, too large for {what}; remove it")
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"no {what} at {path}: the file does not exist") from None
    except (KeyError, ValueError, OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} does not hold {what} ({' '.join(str(error).split())[:200]}); remove it") from None
    for name, array in found.items():
        if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
            raise InputError(f"{path}: {name} must hold numbers, got {array.dtype}; remove it")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} holds values that are not finite; remove it")
    return found
