r"""The container ``\x95CSDAT`` that newer cryoSPARC versions write ``.cs`` files in.

After the mark: the length of a JSON header (uint32, little endian), the header, then for each field the length of
its bytes and the bytes, packed as one LZ4 block where the header says so; then the texts, each ended by a zero byte.
A field of texts (type ``|O``) holds the place (uint64) of each in them. Layout as cryosparc-tools 4.7 to 5.0 write it.

LZ4: Collet, "LZ4 Block Format Description", 2022.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from resmfn.core import InputError

CSDAT_MAGIC = b"\x95CSDAT"
_PLAIN_TYPE = re.compile(r"[<|=]?[fiub][1248]|[<|]?S\d{1,4}")
_LARGEST_RATIO = 256  # an LZ4 block unpacks to less than this many times its size
_LONGEST_TEXT = 4096
_SAVE_AGAIN = "save it as a numpy file: from cryosparc.dataset import Dataset; Dataset.load('in.cs').save('out.cs')"


def read_csdat(path: Path) -> np.ndarray:
    """Return the records (n,) of a container, as numpy's own ``.cs`` files hold them.

    Raises
    ------
    InputError
        The container is damaged, or compressed by another method than LZ4.
    """
    content = path.read_bytes()
    try:
        return _decode(path, content)
    except (struct.error, ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the cryoSPARC file is damaged ({error}); copy it again, or {_SAVE_AGAIN}") from error


def _decode(path: Path, content: bytes) -> np.ndarray:
    position = len(CSDAT_MAGIC)
    raw, position = _take_block(content, position)
    header: dict[str, Any] = json.loads(raw)
    if header["compression"] not in ("lz4", None):
        raise InputError(
            f"{path}: compressed with {header['compression']!r:.20}, which is not supported; {_SAVE_AGAIN}"
        )
    length, packed = int(header["length"]), set(header["compressed_fields"])
    columns: dict[str, np.ndarray] = {}
    texts: list[str] = []
    for name, kind, *shape in header["dtype"] if length else ():
        is_text = kind == "|O"
        if not (is_text or _PLAIN_TYPE.fullmatch(kind)):  # numpy's own reading of types is generous
            raise ValueError(f"field {name!r:.40} has the type {kind!r:.20}")
        dtype = np.dtype("<u8" if is_text else kind)
        sides = tuple(int(side) for side in shape[0]) if shape else ()
        data, position = _take_block(content, position)
        size = length * dtype.itemsize * int(np.prod(sides, dtype=object))
        if not 0 < size <= len(data) * _LARGEST_RATIO:
            raise ValueError(f"field {name!r:.40} cannot have {length} values")
        unpacked = lz4_unpack(data, size) if name in packed else data
        columns[str(name)] = np.frombuffer(unpacked, dtype=dtype).reshape(length, *sides)
        texts += [str(name)] if is_text else []
    heap = content[position:]
    for name in texts:
        columns[name] = _texts(columns[name], heap, len(content))
    return _records(columns)


def _take_block(content: bytes, position: int) -> tuple[bytes, int]:
    """Return the bytes of a block that begins with its length, and where it ends."""
    (size,) = struct.unpack_from("<I", content, position)
    block = content[position + 4 : position + 4 + size]
    if len(block) < size:
        raise ValueError("it ends too early")
    return block, position + 4 + size


def _texts(places: np.ndarray, heap: bytes, file_size: int) -> np.ndarray:
    """Return the texts (n,) as bytes that begin at these places of the heap."""
    found = {}
    for place in np.unique(places).tolist():
        end = heap.index(b"\0", place)
        if end - place > _LONGEST_TEXT:
            raise ValueError("a text in it is too long")
        found[place] = heap[place:end]
    width = max((len(text) for text in found.values()), default=1) or 1
    if len(places) * width > max(512 * file_size, 2**20):
        raise ValueError("its texts are too long")
    return np.array([found[place] for place in places.tolist()], dtype=f"S{width}")


def _records(columns: dict[str, np.ndarray]) -> np.ndarray:
    dtype = np.dtype([(name, values.dtype, values.shape[1:]) for name, values in columns.items()])
    records = np.zeros(len(next(iter(columns.values()), ())), dtype=dtype)
    for name, values in columns.items():
        records[name] = values
    return records


def lz4_unpack(block: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that were packed into one LZ4 block.

    Raises
    ------
    ValueError
        The block does not unpack to exactly that many bytes.
    """
    out, position, end = bytearray(), 0, len(block)
    while position < end:
        token = block[position]
        position += 1
        literal, position = _length(block, position, token >> 4)
        if position + literal > end or len(out) + literal > size:
            raise ValueError("a packed field in it is broken")
        out += block[position : position + literal]
        position += literal
        if position == end:
            break  # the last sequence has no match
        offset = int.from_bytes(block[position : position + 2], "little")
        match, position = _length(block, position + 2, token & 15)
        match += 4
        if not 0 < offset <= len(out) or len(out) + match > size:
            raise ValueError("a packed field in it is broken")
        start = len(out) - offset
        # The match may reach into what it writes itself: a short piece then repeats.
        piece = bytes(out[start : start + match])
        out += (piece * (match // len(piece) + 1))[:match]
    if len(out) != size:
        raise ValueError("a packed field in it has another size than the header says")
    return bytes(out)


def _length(block: bytes, position: int, nibble: int) -> tuple[int, int]:
    """Return a length that begins in half a byte and goes on in further bytes while they are 255."""
    if nibble < 15:
        return nibble, position
    while True:
        more = block[position]
        position += 1
        nibble += more
        if more < 255:
            return nibble, position
