"""Image stacks in MRC files: read by memory map and written as a stream, so that not all images are in memory."""

from __future__ import annotations

import errno
import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError, ShapeError, atomic_write
from resmfn.data.mrc.header import HEADER_BYTES, MrcHeader, Statistics, build_header, compression, read_header
from resmfn.data.npy import NPY_MAGIC, read_npy_header

_COPY_BYTES = 64 * 2**20
_BEGINNING_BYTES = 256


def require_complete(path: Path, header: MrcHeader, available: int) -> None:
    """Refuse a file with fewer bytes of numbers than its header announces."""
    if available < header.data_bytes:
        shape = " x ".join(map(str, reversed(header.shape)))
        raise InputError(
            f"{path}: the file is truncated: {shape} numbers take {header.data_bytes} bytes, "
            f"but {max(0, available)} are there; copy it again"
        )


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """What the header of an image stack says."""

    n_images: int
    image_shape: tuple[int, int]  #: rows, columns
    pixel_size: float | None  #: Å, None where the header does not say
    dtype: np.dtype
    data_offset: int
    n_extra_bytes: int = 0
    """How much longer the file is than its header says."""
    beginning: bytes = b""
    """The first numbers as stored; no two images of a camera begin alike."""
    is_turned: bool = False
    """Whether the header says that rows and columns do not run along y and x, as they do in images."""
    n_unnamed_bytes: int = 0
    """Of an extended header whose kind the header does not name: nothing confirms that it is there."""


def read_stack_info(path: str | os.PathLike[str]) -> StackInfo:
    """Read the header of an image stack, MRC or .npy, and check that the file is as long as it must be.

    Raises
    ------
    InputError
        The file is missing, compressed, not MRC, or truncated.
    """
    path = Path(path)
    if packed := compression(path):
        raise InputError(f"{path}: an image stack cannot be read while compressed with {packed}; decompress it first")
    with path.open("rb") as file:
        if file.read(len(NPY_MAGIC)) == NPY_MAGIC:
            return _npy_stack_info(path)
        file.seek(0)
        header = read_header(path, file)
        file.seek(header.data_offset)
        beginning = file.read(_BEGINNING_BYTES)
    available = path.stat().st_size - header.data_offset
    require_complete(path, header, available)
    return StackInfo(
        n_images=header.shape[0],
        image_shape=header.shape[1:],
        pixel_size=header.voxel_size[0] if header.voxel_size[0] > 0 else None,
        dtype=header.dtype,
        data_offset=header.data_offset,
        n_extra_bytes=available - header.data_bytes,
        beginning=beginning,
        is_turned=header.axis_order != (3, 2, 1),
        n_unnamed_bytes=0 if header.names_extension else header.data_offset - HEADER_BYTES,
    )


def _npy_stack_info(path: Path) -> StackInfo:
    header = read_npy_header(path)
    if len(header.shape) != 3 or header.dtype.kind not in "fiu" or 0 in header.shape:
        raise InputError(
            f"{path}: images must be an array of numbers of shape (n, N, N), got {header.shape} of {header.dtype}"
        )
    n, rows, columns = header.shape
    return StackInfo(
        n_images=n, image_shape=(rows, columns), pixel_size=None, dtype=header.dtype, data_offset=header.data_offset
    )


def read_stack_images(path: str | os.PathLike[str], indices: np.ndarray, info: StackInfo | None = None) -> np.ndarray:
    """Read some images of a stack, in the order asked for.

    Parameters
    ----------
    path
        The stack.
    indices
        (n,) integers, counted from 0.
    info
        What :func:`read_stack_info` said, if it was asked before.

    Returns
    -------
    ndarray
        (n, rows, columns) float32.
    """
    info = info or read_stack_info(path)
    indices = np.asarray(indices, dtype=np.int64)
    if indices.size and not (indices.min() >= 0 and indices.max() < info.n_images):
        raise InputError(f"{path}: image {indices.max() + 1} was asked for, but the stack has {info.n_images}")
    # The map lives for this call only: pages that stay mapped would count as this process's memory.
    shape = (info.n_images, *info.image_shape)
    stack = np.memmap(path, dtype=info.dtype, mode="r", offset=info.data_offset, shape=shape)
    with np.errstate(over="ignore", invalid="ignore"):  # who reads them looks for infinite values
        return np.asarray(stack[indices], dtype=np.float32)


class ImageStackWriter:
    """Write an image stack batch by batch; the file appears, whole, when the ``with`` block ends well.

    The disk space is claimed at the start, so a disk that is too small is an error before the first image is made.

    Parameters
    ----------
    path
        The .mrcs file; an existing one is replaced.
    n_images
        How many images will be written.
    box_size
        Pixels along each side.
    pixel_size
        Å per pixel.

    Examples
    --------
    >>> with ImageStackWriter("particles.mrcs", 1000, 64, 1.5) as stack:  # doctest: +SKIP
    ...     for batch in batches:
    ...         stack.write(batch)
    """

    def __init__(self, path: str | os.PathLike[str], n_images: int, box_size: int, pixel_size: float) -> None:
        self.path = Path(path)
        self.n_images = n_images
        self.box_size = box_size
        self.pixel_size = pixel_size
        self.n_written = 0
        self._minimum, self._maximum = math.inf, -math.inf
        self._sum = self._sum_of_squares = 0.0
        self._resources = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> Self:
        temporary = self._resources.enter_context(atomic_write(self.path))
        # A failure from here on must pass through atomic_write, which cleans up and words the message.
        with self._resources.pop_all() as resources:
            self._file = resources.enter_context(temporary.open("w+b"))
            _claim_space(self._file, HEADER_BYTES + self.n_images * self._image_bytes)
            self._file.seek(HEADER_BYTES)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:
            return self._resources.__exit__(kind, error, trace)
        with self._resources:
            self._finish()
        return None

    @property
    def _image_bytes(self) -> int:
        return self.box_size**2 * 4

    @property
    def statistics(self) -> Statistics:
        """Statistics of all pixels written so far."""
        count = max(1, self.n_written * self.box_size**2)
        mean = self._sum / count
        variance = max(0.0, self._sum_of_squares / count - mean**2)
        return Statistics(minimum=self._minimum, maximum=self._maximum, mean=mean, deviation=math.sqrt(variance))

    def write(self, images: Tensor) -> None:
        """Append a batch (n, box_size, box_size)."""
        if images.ndim != 3 or images.shape[1:] != (self.box_size, self.box_size):
            expected = f"(n, {self.box_size}, {self.box_size})"
            raise ShapeError(f"{self.path}: images must have shape {expected}, got {tuple(images.shape)}")
        if self.n_written + len(images) > self.n_images:
            raise ShapeError(f"{self.path}: {self.n_images} images were expected, got {self.n_written + len(images)}")
        if not len(images):
            return
        images = images.detach().to("cpu", torch.float32).contiguous()
        self._minimum = min(self._minimum, float(images.min()))
        self._maximum = max(self._maximum, float(images.max()))
        self._sum += float(images.sum(dtype=torch.float64))
        self._sum_of_squares += float(torch.linalg.vector_norm(images, dtype=torch.float64)) ** 2
        self._file.write(images.numpy().astype("<f4", copy=False).data)
        self.n_written += len(images)

    def scale(self, factor: float) -> None:
        """Multiply every pixel written so far by one factor > 0, in place on disk."""
        step = max(1, _COPY_BYTES // self._image_bytes)
        for start in range(0, self.n_written, step):
            position = HEADER_BYTES + start * self._image_bytes
            count = min(step, self.n_written - start) * self._image_bytes
            self._file.seek(position)
            pixels = np.frombuffer(self._file.read(count), dtype="<f4")
            self._file.seek(position)
            self._file.write((pixels * np.float32(factor)).data)
        self._minimum, self._maximum = self._minimum * factor, self._maximum * factor
        self._sum, self._sum_of_squares = self._sum * factor, self._sum_of_squares * factor**2

    def _finish(self) -> None:
        if self.n_written != self.n_images:
            raise ShapeError(f"{self.path}: {self.n_images} images were expected, got {self.n_written}")
        shape = (self.n_images, self.box_size, self.box_size)
        self._file.seek(0)
        self._file.write(build_header(shape, self.pixel_size, self.statistics, is_stack=True))
        self._file.flush()


def _claim_space(file: BinaryIO, size: int) -> None:
    """Reserve disk space where the file system can; raise only if it says that there is none."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:
        return  # not a POSIX system
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
