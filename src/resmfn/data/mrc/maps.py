"""Density maps in MRC and CCP4 files: as stored in a file, and as the cubes that most of the package needs.

Arrays are [z, y, x]. The origin of a cube is voxel ``box_size // 2``, whatever the header says about offsets.
"""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError, ResmfnError, ShapeError, atomic_write
from resmfn.data.mrc.header import (
    HEADER_BYTES,
    Statistics,
    build_header,
    compression,
    open_maybe_compressed,
    read_header,
)
from resmfn.data.mrc.stacks import require_complete

_ISOTROPY = 1e-3  # relative difference between voxel sides that is still called cubic
_SKEW = 0.01  # degrees that an angle of the cell may differ from 90
_SLENDEREST = 8  # times that the longest side may be the shortest one for a map to be padded to a cube
_COPY_BYTES = 64 * 2**20
#: How many times its size a packed file can unpack to. bzip2 packs a run of zeros into next to nothing.
_LARGEST_RATIO = {"": 1, "gzip": 1032, "bzip2": 100_000}
_LARGEST_UNPACKED = 8 * 2**30  # bytes, of a packed file: 1,290 voxels along each side
_MAP_SUFFIXES = (".map", ".ccp4", ".mrc", ".gz", ".bz2")


@dataclass(frozen=True)
class DensityMap:
    """A cubic map and its sampling."""

    data: Tensor  #: (box_size,) * 3, [z, y, x]
    pixel_size: float  #: Å per voxel

    @property
    def box_size(self) -> int:
        """Voxels along each side."""
        return int(self.data.shape[-1])


@dataclass(frozen=True, kw_only=True)
class StoredMap:
    """A map as its file holds it, of any shape."""

    path: Path  #: the file
    data: Tensor  #: (depth, height, width) float32, [z, y, x] whatever the order in the file
    voxel_size: tuple[float, float, float] | None  #: along x, y, z in Å, None where the header does not say
    origin: tuple[float, float, float]  #: where the first voxel lies along x, y, z in Å
    cell_angles: tuple[float, float, float]  #: between the axes, degrees: 90 but for crystals
    is_stack: bool = False  #: whether the header says that its sections are images

    @property
    def sides(self) -> str:
        """The voxels along x, y and z, in words."""
        return " x ".join(map(str, reversed(self.data.shape)))

    def cube(self, pixel_size: float | None = None, *, pad: bool = False) -> DensityMap:
        """Return the map as a cube of cubic voxels.

        Parameters
        ----------
        pixel_size
            Å per voxel; overrides the header.
        pad
            Whether a map that is not a cube may be zero-padded to one. Its middle voxels
            (side // 2) come to the cube's.

        Raises
        ------
        InputError
            The voxel size is not known, the voxels or the map are not cubic, or these are images.
        """
        if self.is_stack:
            raise InputError(f"{self.path}: its header says that it is a stack of images; give a map")
        pixel_size = pixel_size or self._pixel_size()
        depth, height, width = self.data.shape
        if depth == height == width:
            return DensityMap(self.data, pixel_size)
        if not pad:
            raise InputError(
                f"{self.path}: the map must be a cube here, but it has {self.sides} voxels; "
                "`resmfn convert MAP CUBE.mrc` pads it to one"
            )
        size = max(self.data.shape)
        if size > _SLENDEREST * min(self.data.shape):
            raise InputError(
                f"{self.path}: {self.sides} voxels are too far from a cube to be padded to one; "
                "is it a stack of images, or a slab?"
            )
        around: list[int] = []
        for side in reversed(self.data.shape):  # x first, as torch wants it
            before = size // 2 - side // 2
            around += [before, size - side - before]
        return DensityMap(torch.nn.functional.pad(self.data, around), pixel_size)

    def _pixel_size(self) -> float:
        if self.voxel_size is None:
            raise InputError(f"{self.path}: the header does not say the voxel size; give --pixel-size in Å")
        advice = "resample the map, or give --pixel-size if the header is wrong"
        if any(abs(angle - 90) > _SKEW for angle in self.cell_angles):
            angles = ", ".join(f"{angle:g}" for angle in self.cell_angles)
            raise InputError(f"{self.path}: its axes must be at right angles, but they are at {angles}°; {advice}")
        x, y, z = self.voxel_size
        if max(x, y, z) - min(x, y, z) > _ISOTROPY * x:
            raise InputError(
                f"{self.path}: voxels must be cubes, but they measure {x:.4g} x {y:.4g} x {z:.4g} Å; {advice}"
            )
        return x


def read_stored_map(path: str | os.PathLike[str]) -> StoredMap:
    """Read a map of any shape from .mrc, .map or .ccp4, plain or compressed with gzip or bzip2.

    Axes that the file stores in another order are brought to [z, y, x].

    Raises
    ------
    InputError
        The file is missing or damaged, or holds NaN or infinite values.
    """
    path = Path(path)
    packed = compression(path)
    with open_maybe_compressed(path) as file:
        header = read_header(path, file)
        # The header is trusted only once the file is long enough for it: nothing is allocated for an invalid one.
        possible = min(path.stat().st_size * _LARGEST_RATIO[packed], _LARGEST_UNPACKED if packed else sys.maxsize)
        require_complete(path, header, possible - header.data_offset)
        raw = _read_all(path, file, header.data_offset - HEADER_BYTES, header.data_bytes)
    require_complete(path, header, len(raw))
    stored = np.frombuffer(raw, dtype=header.dtype).reshape(header.shape)
    with np.errstate(invalid="ignore"):  # NaN that signals: found below
        data = stored.transpose([header.axis_order.index(axis) for axis in (3, 2, 1)]).astype(np.float32)
    if not np.isfinite(data).all():
        raise InputError(f"{path}: the map holds NaN or infinite values; repair it or write it again")
    x, y, z = header.voxel_size
    return StoredMap(
        path=path,
        data=torch.from_numpy(data),
        voxel_size=(x, y, z if z > 0 else x) if x > 0 and y > 0 else None,
        origin=header.origin,
        cell_angles=header.cell_angles,
        is_stack=header.is_stack,
    )


def read_map(path: str | os.PathLike[str], pixel_size: float | None = None, *, pad: bool = False) -> DensityMap:
    """Read a map as a cube; its start and origin fields are ignored.

    Parameters
    ----------
    path
        The file, as :func:`read_stored_map` takes it.
    pixel_size
        Å per voxel; overrides the header.
    pad
        Whether a map that is not a cube may be zero-padded to one.

    Returns
    -------
    DensityMap
        The map as float32.

    Raises
    ------
    InputError
        The file is missing, damaged, not cubic, holds NaN or infinite values, or does not state its voxel size.
    """
    return read_stored_map(path).cube(pixel_size, pad=pad)


def is_map_file(path: str | os.PathLike[str]) -> bool:
    """Say whether a file holds a map rather than images, by its name and header.

    A file that ends in .mrc may be either: square sections that make no cube are taken for images, whatever the header
    says, for programs often flag stacks as volumes.
    """
    path = Path(path)
    if path.suffix not in _MAP_SUFFIXES or not path.is_file():
        return False
    try:
        with open_maybe_compressed(path) as file:
            header = read_header(path, file)
    except InputError:
        return path.suffix in (".map", ".ccp4")  # read as a map, it says what is wrong
    sections, rows, columns = header.shape
    return path.suffix != ".mrc" or not (header.is_stack or rows == columns != sections)


def _read_all(path: Path, file: IO[bytes], skip: int, size: int) -> bytes:
    """Return so many bytes, or all there are, after skipping some; memory grows with what is there."""
    parts: list[bytes] = []
    try:
        while skip and (part := file.read(min(skip, _COPY_BYTES))):
            skip -= len(part)
        while size and (part := file.read(min(size, _COPY_BYTES))):
            parts.append(part)
            size -= len(part)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: the compressed file is damaged ({error}); copy it again") from error
    return b"".join(parts)


def write_map(path: str | os.PathLike[str], data: Tensor, pixel_size: float) -> None:
    """Write a map [z, y, x] as float32, in one step: the file is whole or not there.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    data
        (depth, height, width).
    pixel_size
        Å per voxel.
    """
    if data.ndim != 3:
        raise ShapeError(f"a map must have 3 dimensions, got shape {tuple(data.shape)}")
    values = data.detach().to("cpu", torch.float32).contiguous().numpy()
    if not np.isfinite(values).all():
        raise ResmfnError(f"{path}: the map to write holds NaN or infinite values; the computation of it has failed")
    statistics = Statistics(
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(values.mean(dtype=np.float64)),
        deviation=float(values.std(dtype=np.float64)),
    )
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(build_header(values.shape, pixel_size, statistics, is_stack=False))
        file.write(values.astype("<f4", copy=False).tobytes())
