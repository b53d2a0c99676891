"""Headers of .npy files, judged before anything is allocated; pickled objects are never loaded.

Format: numpy's NEP 1, "A simple file format for NumPy arrays".
"""

from __future__ import annotations

import math
import os
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resmfn.core import InputError, one_line

NPY_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1_000_000  # characters; cryoSPARC's files of many classes need more than numpy's 10,000

#: What numpy's header parser raises on damaged headers.
_DAMAGED = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, OverflowError, MemoryError),
    *(RecursionError, tokenize.TokenError),
)


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the numbers of a .npy file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    data_offset: int  #: bytes before the first number


def read_npy_header(path: str | os.PathLike[str]) -> NpyHeader:
    """Read the header of a .npy file and check it against the length of the file.

    Raises
    ------
    InputError
        The file is damaged, truncated, in Fortran order, or holds pickled objects, which could run code.
    """
    path = Path(path)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
            if version == (3, 0) and dtype.names:  # version 2 but for names in UTF-8
                dtype.names = tuple(name.encode("latin-1").decode() for name in dtype.names)
        except _DAMAGED as error:
            raise InputError(f"{path}: not a complete .npy file ({one_line(error, 80)}); copy it again") from error
        offset = file.tell()
    if dtype.hasobject:
        raise InputError(f"{path}: the file holds pickled Python objects, which are never loaded: they could run code")
    if is_fortran and len(shape) > 1:
        raise InputError(f"{path}: the array is stored in Fortran order; save it with numpy.ascontiguousarray")
    if not dtype.itemsize or any(side < 0 for side in shape):
        raise InputError(f"{path}: the header of the .npy file is invalid: shape {shape} of {dtype}; copy it again")
    needed, available = math.prod(shape) * dtype.itemsize, path.stat().st_size - offset
    if needed > available:
        raise InputError(
            f"{path}: the file is truncated: shape {shape} takes {needed} bytes, but {available} are there; "
            "copy it again"
        )
    return NpyHeader(tuple(int(side) for side in shape), dtype, offset)
