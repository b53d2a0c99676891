"""The 1024-byte header of MRC and CCP4 files: maps, image stacks, either byte order, damaged or complete.

Format: Cheng et al., "MRC2014: Extensions to the MRC format header", J. Struct. Biol. 192 (2015), 146.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from resmfn.core import InputError

HEADER_BYTES = 1024
_TYPE_OF_MODE = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_FLOAT32_MODE = 2
_LARGEST_SIDE = 1_000_000
_IMOD_OFFSET, _IMOD_STAMP = 152, 1146047817  # "IMOD"; its flags follow (IMOD's mrc_format)
_OTHER_KINDS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository",
    b"<!DOCTYPE": "a web page, not an MRC file: the download failed; download the file again",
    b"<html": "a web page, not an MRC file: the download failed; download the file again",
    b"\x89HDF": "an HDF file, not MRC; write the images as .mrcs, as `e2proc2d.py in.hdf out.mrcs` does",
    b"II*\0": "a TIFF file, not MRC; write the images as .mrcs, as `relion_image_handler` or `tif2mrc` do",
    b"MM\0*": "a TIFF file, not MRC; write the images as .mrcs, as `relion_image_handler` or `tif2mrc` do",
}
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class MrcHeader:
    """What the header of a file says about the numbers that follow it."""

    shape: tuple[int, int, int]  #: sections, rows, columns, as stored
    dtype: np.dtype  #: of the stored numbers, byte order included
    data_offset: int  #: bytes before the first number
    voxel_size: Triple  #: along x, y, z in Å; 0 where the file does not say
    axis_order: tuple[int, int, int]  #: which axis (1 x, 2 y, 3 z) sections, rows and columns run along
    origin: Triple  #: of the first voxel along x, y, z in Å; 0 where the file does not say
    cell_angles: Triple  #: alpha, beta, gamma in degrees; 90 where the file does not say
    names_extension: bool  #: whether it says of what kind its extended header is
    is_stack: bool  #: whether it says in MRC2014's way that its sections are images

    @property
    def data_bytes(self) -> int:
        """Bytes that the numbers take."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Smallest, largest, mean and standard deviation of the numbers of a file."""

    minimum: float
    maximum: float
    mean: float
    deviation: float


def compression(path: Path) -> str:
    """Return ``"gzip"``, ``"bzip2"`` or ``""``, judged by the first bytes of the file."""
    if not path.is_file():
        reason = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: {reason}; check the name")
    with path.open("rb") as file:
        magic = file.read(3)
    return "gzip" if magic[:2] == b"\x1f\x8b" else "bzip2" if magic == b"BZh" else ""


def open_maybe_compressed(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressing it if needed."""
    packed = compression(path)
    if packed == "gzip":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return cast(IO[bytes], bz2.open(path, "rb")) if packed else path.open("rb")


def read_header(path: Path, file: IO[bytes]) -> MrcHeader:
    """Read and check the header at the start of an open file.

    Files without the ``MAP`` mark or with a wrong machine stamp, as old programs write them, are read too.
    """
    try:
        raw = file.read(HEADER_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: the compressed file is damaged ({error}); copy it again") from error
    _require_no_other_kind(path, raw)
    if len(raw) < HEADER_BYTES:
        raise InputError(f"{path}: not an MRC file: it has {len(raw)} bytes, the header alone takes {HEADER_BYTES}")
    for byte_order in _byte_orders(raw):
        fields = np.frombuffer(raw, dtype=HEADER_DTYPE.newbyteorder(byte_order))[0]
        shape = (int(fields["nz"]), int(fields["ny"]), int(fields["nx"]))
        if all(0 < side < _LARGEST_SIDE for side in shape) and 0 <= int(fields["mode"]) < 128:
            return _interpret(path, fields, shape, byte_order, unsigned=_has_unsigned_bytes(raw, byte_order))
        if (
            shape[0] == 0
            and all(0 < side < _LARGEST_SIDE for side in shape[1:])
            and int(fields["mode"]) in _TYPE_OF_MODE
        ):
            raise InputError(
                f"{path}: the header says that there is no image (nz 0): its writer did not finish; write it again"
            )
    raise InputError(f"{path}: not an MRC file: its header is invalid in either byte order")


def _byte_orders(raw: bytes) -> tuple[str, str]:
    """Return both byte orders, the likelier first: sides of 256 or 512 and mode 0 make sense in either.

    The axes, 1 to 3 in any order, do in one alone; old files that leave them empty are taken for little-endian.
    """
    fields = np.frombuffer(raw, dtype=HEADER_DTYPE.newbyteorder(">"))[0]
    is_big = sorted(int(fields[axis]) for axis in ("mapc", "mapr", "maps")) == [1, 2, 3]
    return (">", "<") if is_big else ("<", ">")


def _require_no_other_kind(path: Path, raw: bytes) -> None:
    kind = next((kind for magic, kind in _OTHER_KINDS.items() if raw.startswith(magic)), None)
    if kind is not None:
        raise InputError(f"{path}: {kind}")


def _has_unsigned_bytes(raw: bytes, byte_order: str) -> bool:
    """Tell whether IMOD wrote the header and says, by its first flag, that bytes of mode 0 are 0 to 255."""
    stamp, flags = (int(value) for value in np.frombuffer(raw, dtype=f"{byte_order}i4", count=2, offset=_IMOD_OFFSET))
    return stamp == _IMOD_STAMP and not flags & 1


def _interpret(
    path: Path, fields: np.void, shape: tuple[int, int, int], byte_order: str, *, unsigned: bool
) -> MrcHeader:
    mode = int(fields["mode"])
    if mode not in _TYPE_OF_MODE:
        known = ", ".join(map(str, _TYPE_OF_MODE))
        raise InputError(f"{path}: numbers of MRC mode {mode} cannot be read; convert it to one of the modes {known}")
    x, y, z = (_spacing(float(fields["cella"][axis]), int(fields[f"m{axis}"])) for axis in "xyz")
    axes = (int(fields["maps"]), int(fields["mapr"]), int(fields["mapc"]))
    axes = axes if sorted(axes) == [1, 2, 3] else (3, 2, 1)
    return MrcHeader(
        shape=shape,
        dtype=np.dtype(byte_order + ("u1" if mode == 0 and unsigned else _TYPE_OF_MODE[mode])),
        data_offset=HEADER_BYTES + max(0, int(fields["nsymbt"])),
        voxel_size=(x, y, z),
        axis_order=axes,
        origin=_origin(fields, axes, (x, y, z or x)),
        cell_angles=_angles(fields),
        names_extension=bool(bytes(fields["exttyp"]).strip(b"\0 ")),
        is_stack=int(fields["ispg"]) == 0 and int(fields["mz"]) == 1 and shape[0] > 1,
    )


def _origin(fields: np.void, axes: tuple[int, int, int], voxel: Triple) -> Triple:
    """Return where the first voxel lies: as MRC2014 says it or, if it does not, as CCP4's count of voxels does."""
    x, y, z = (float(fields["origin"][axis]) for axis in "xyz")
    if (x or y or z) and np.isfinite((x, y, z)).all():
        return x, y, z
    start = {axis: int(fields[f"n{letter}start"]) for axis, letter in zip(axes, "zyx", strict=True)}
    return start[1] * voxel[0], start[2] * voxel[1], start[3] * voxel[2]


def _angles(fields: np.void) -> Triple:
    alpha, beta, gamma = (float(f"{float(fields['cellb'][name]):.6g}") for name in ("alpha", "beta", "gamma"))
    return (alpha, beta, gamma) if all(0 < angle < 180 for angle in (alpha, beta, gamma)) else (90.0, 90.0, 90.0)


def _spacing(cell: float, count: int) -> float:
    """Return Å per sample, without the noise of the header's single precision; 0 if unknown."""
    return float(f"{cell / count:.6g}") if count > 0 and np.isfinite(cell) else 0.0


def build_header(shape: tuple[int, int, int], pixel_size: float, statistics: Statistics, *, is_stack: bool) -> bytes:
    """Return the header of a float32 file of this shape (sections, rows, columns)."""
    fields = np.zeros((), dtype=HEADER_DTYPE.newbyteorder("<"))
    fields["nz"], fields["ny"], fields["nx"] = shape
    fields["mode"] = _FLOAT32_MODE
    samples = (shape[2], shape[1], 1 if is_stack else shape[0])
    fields["mx"], fields["my"], fields["mz"] = samples
    fields["cella"] = tuple(count * pixel_size for count in samples)
    fields["cellb"] = (90.0, 90.0, 90.0)
    fields["mapc"], fields["mapr"], fields["maps"] = 1, 2, 3
    fields["dmin"], fields["dmax"] = statistics.minimum, statistics.maximum
    fields["dmean"], fields["rms"] = statistics.mean, statistics.deviation
    fields["ispg"] = 0 if is_stack else 1
    fields["nversion"] = 20141
    fields["map"] = b"MAP "
    fields["machst"] = (0x44, 0x44, 0, 0)
    fields["nlabl"] = 1
    fields["label"][0] = b"written by resmfn"
    return fields.tobytes()
