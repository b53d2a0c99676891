"""Where the image of each particle lies: names such as ``000012@Extract/stack.mrcs`` resolved, checked and read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resmfn.core import InputError
from resmfn.data.mrc.stacks import StackInfo, read_stack_images, read_stack_info
from resmfn.data.particles.image_folders import ImageFolders

_HEADER_TOLERANCE = 0.01  # relative; headers are often rounded
_FEW_VALUES = 16  # of the first numbers of a stack: margins that were filled have fewer, and are alike by nature
_MOST_DIGITS = 18  # of an image number: what 64 bits hold


@dataclass(frozen=True)
class ImageLocations:
    """For each particle a stack and an image in it."""

    stacks: tuple[Path, ...]
    infos: tuple[StackInfo, ...]  #: one for each stack
    stack_of: np.ndarray  #: (n,) which stack
    position: np.ndarray  #: (n,) which image of it, counted from 0
    start: Path | None = None  #: the folder that all names start from and stay in, None if there is no such one

    @property
    def box_sizes(self) -> np.ndarray:
        """Pixels along each side of every particle's image (n,)."""
        return np.array([info.image_shape[0] for info in self.infos])[self.stack_of]

    def remarks(self) -> list[str]:
        """Return remarks on the stacks for the user of the images."""
        found = []
        if (odd := self.box_sizes % 2 == 1).any():
            size = self.box_sizes[odd][0]
            found.append(f"odd box ({size} pixels): the origin is pixel {size // 2}, one pixel from RELION's")
        longer = next((place for place in zip(self.stacks, self.infos, strict=True) if place[1].n_extra_bytes), None)
        if longer is not None:
            found.append(
                f"{longer[0]}: {longer[1].n_extra_bytes} bytes longer than its header says; if the header is longer "
                "than stated, images are shifted: check them"
            )
        if (copies := self._stacks_alike()) is not None:
            found.append(
                f"{copies[0]} and {copies[1]} begin with the same numbers: if one is a copy of the other, take its "
                "rows out, for halves that share images agree on noise"
            )
        turned = next((stack for stack, info in zip(self.stacks, self.infos, strict=True) if info.is_turned), None)
        if turned is not None:
            found.append(
                f"{turned}: by its header columns do not run along x and rows along y (mapc, mapr, maps); images are "
                "read as stored, as RELION does: if they are transposed, so is the hand"
            )
        unnamed = next((place for place in zip(self.stacks, self.infos, strict=True) if place[1].n_unnamed_bytes), None)
        if unnamed is not None:
            found.append(
                f"{unnamed[0]}: its header announces {unnamed[1].n_unnamed_bytes} bytes of extended header of no named "
                "kind (nsymbt); if they are not there, images are shifted: look at them"
            )
        return found

    def _stacks_alike(self) -> tuple[Path, Path] | None:
        """Return the first two stacks of one size that begin with the same numbers, not all of them one number."""
        seen: dict[tuple[int, bytes], Path] = {}
        for stack, info in zip(self.stacks, self.infos, strict=True):
            count = len(info.beginning) // info.dtype.itemsize
            if len(np.unique(np.frombuffer(info.beginning, info.dtype, count))) < _FEW_VALUES:
                continue
            first = seen.setdefault((info.n_images, info.beginning), stack)
            if first != stack:
                return first, stack
        return None

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read the images of these particles (m,), all of one box size, in this order, as float32 (m, N, N)."""
        stack_of, position = self.stack_of[rows], self.position[rows]
        used = np.unique(stack_of)
        if len(used) == 1:
            return read_stack_images(self.stacks[used[0]], position, self.infos[used[0]])
        pixels = np.empty((len(rows), *self.infos[used[0] if len(used) else 0].image_shape), dtype=np.float32)
        for stack in used:
            here = stack_of == stack
            pixels[here] = read_stack_images(self.stacks[stack], position[here], self.infos[stack])
        return pixels


def locate_images(names: Sequence[str], folders: ImageFolders) -> ImageLocations:
    """Resolve image names, and check that every stack is there, whole, and has the image.

    Parameters
    ----------
    names
        ``number@path`` for each particle, numbers counted from 1; a bare path is its only image.
    folders
        What the names are relative to.
    """
    source = folders.source
    numbers, stack_of, first_row = split_names(source, names)
    found = [folders.find_from(name, row) for name, row in first_row.items()]
    found, stack_of = _one_name_each(found, stack_of)
    stacks = tuple(stack for stack, _ in found)
    infos = tuple(read_stack_info(stack) for stack in stacks)
    for stack, info in zip(stacks, infos, strict=True):
        _require_square(stack, info)
    available = np.array([info.n_images for info in infos])[stack_of]
    beyond = np.flatnonzero((numbers < 1) | (numbers > available))
    if beyond.size:
        row = int(beyond[0])
        stack, info = stacks[stack_of[row]], infos[stack_of[row]]
        raise InputError(
            f"{source}: row {row + 1}: {names[row]} names image {numbers[row]}, but {stack} has {available[row]}"
            f"{_hidden(info)}; correct the row, or point to the right stack"
        )
    bare = np.flatnonzero([available[row] > 1 and "@" not in name for row, name in enumerate(names)])
    if bare.size:
        row = int(bare[0])
        raise InputError(
            f"{source}: row {row + 1}: {names[row]} names no image, and {stacks[stack_of[row]]} has {available[row]}; "
            "write number@stack, numbers from 1"
        )
    return ImageLocations(stacks, infos, stack_of, numbers - 1, _only_start(found))


def _one_name_each(
    found: Sequence[tuple[Path, Path]], stack_of: np.ndarray
) -> tuple[list[tuple[Path, Path]], np.ndarray]:
    """Return stacks and numbers of them (n,) in which a file that has several names is one: its images are shared."""
    first = dict[str, int]()
    numbers = np.array([first.setdefault(os.path.realpath(stack), row) for row, (stack, _) in enumerate(found)], int)
    kept, stack_of = np.unique(numbers[stack_of], return_inverse=True)
    return [found[row] for row in kept], stack_of.reshape(-1)


def _only_start(found: Sequence[tuple[Path, Path]]) -> Path | None:
    """Return the folder from which all stacks were found, if it is one and holds all of them."""
    starts = {start for _, start in found}
    start = starts.pop() if len(starts) == 1 else None
    return start if start is not None and all(stack.is_relative_to(start) for stack, _ in found) else None


def _hidden(info: StackInfo) -> str:
    """Say where a file is longer than its header says, as when the count of images was never brought up to date."""
    more = info.n_extra_bytes // (info.image_shape[0] * info.image_shape[1] * info.dtype.itemsize)
    return f" by its header, though the file is long enough for {info.n_images + more}" if more else ""


def require_agreement(
    path: Path,
    images: ImageLocations,
    box_sizes: np.ndarray | None,
    pixel_sizes: np.ndarray | None,
    *,
    trusts_headers: bool,
) -> None:
    """Compare the box and pixel size that the file states of each image (n,) with those of its stack."""
    stored = images.box_sizes
    if box_sizes is not None and (box_sizes != stored).any():
        row = int((box_sizes != stored).argmax())
        raise InputError(
            f"{path}: row {row + 1}: rlnImageSize says {box_sizes[row]} pixels, but the images of "
            f"{images.stacks[images.stack_of[row]]} have {stored[row]}; correct rlnImageSize, or point to the "
            "right stack"
        )
    if pixel_sizes is None or trusts_headers:
        return
    # 0 and 1 are what programs write when they do not know.
    told = np.array([info.pixel_size if info.pixel_size not in (None, 1.0) else np.nan for info in images.infos])
    headers = told[images.stack_of]
    wrong = np.abs(headers - pixel_sizes) > _HEADER_TOLERANCE * pixel_sizes
    if wrong.any():
        row = int(wrong.argmax())
        cause = _cause(headers[row] / pixel_sizes[row], int(stored[row]))
        raise InputError(
            f"{path}: the pixel size is {pixel_sizes[row]:g} Å there, but {headers[row]:g} Å in the header of "
            f"{images.stacks[images.stack_of[row]]}{cause}; correct the wrong one, or give --pixel-size"
        )


def _cause(ratio: float, box_size: int) -> str:
    """Say what a header's pixel size, that many times the file's, comes from, where it can be told."""
    for factor, cause in ((0.1, "nm in the header"), (1 / box_size, "the header's cell is one pixel's")):
        if abs(ratio - factor) < _HEADER_TOLERANCE * factor:
            return f" ({cause}?)"
    whole = round(max(ratio, 1 / ratio))
    binned = whole > 1 and abs(max(ratio, 1 / ratio) - whole) < _HEADER_TOLERANCE * whole
    return f" ({whole} times: binned images, or a header from before?)" if binned else ""


def split_names(source: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the image number and the stack of each name, and for each stack's name the first row that has it."""
    numbers = np.empty(len(names), dtype=np.int64)
    stack_of = np.empty(len(names), dtype=np.int64)
    first_row: dict[str, int] = {}
    order: dict[str, int] = {}
    for row, name in enumerate(names):
        number, _, stack = name.partition("@") if "@" in name else ("1", "", name)
        if not stack or not number.isdecimal() or len(number) > _MOST_DIGITS:
            raise InputError(f"{source}: row {row + 1}: rlnImageName must be number@stack, got {name!r}; correct it")
        numbers[row] = int(number)
        first_row.setdefault(stack, row)
        stack_of[row] = order.setdefault(stack, len(order))
    return numbers, stack_of, first_row


def _require_square(stack: Path, info: StackInfo) -> None:
    rows, columns = info.image_shape
    if rows != columns:
        raise InputError(f"{stack}: images must be square, but they have {columns} x {rows} pixels; crop them")
