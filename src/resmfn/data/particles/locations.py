"""Where the image of each particle lies: names such as ``000012@Extract/stack.mrcs`` resolved, checked and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resmfn.core import InputError
from resmfn.data.mrc.stacks import StackInfo, read_stack_images, read_stack_info
from resmfn.data.particles.image_folders import ImageFolders

_MOST_DIGITS = 18  # of an image number: what 64 bits hold


@dataclass(frozen=True)
class ImageLocations:
    """For each particle a stack and an image in it."""

    stacks: tuple[Path, ...]
    infos: tuple[StackInfo, ...]  #: one for each stack
    stack_of: np.ndarray  #: (n,) which stack
    position: np.ndarray  #: (n,) which image of it, counted from 0

    @property
    def box_sizes(self) -> np.ndarray:
        """Pixels along each side of every particle's image (n,)."""
        return np.array([info.image_shape[0] for info in self.infos])[self.stack_of]

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
    stacks = tuple(folders.find(name, row) for name, row in first_row.items())
    infos = tuple(read_stack_info(stack) for stack in stacks)
    for stack, info in zip(stacks, infos, strict=True):
        _require_square(stack, info)
    available = np.array([info.n_images for info in infos])[stack_of]
    beyond = np.flatnonzero((numbers < 1) | (numbers > available))
    if beyond.size:
        row = int(beyond[0])
        stack, info = stacks[stack_of[row]], infos[stack_of[row]]
        raise InputError(
            f"{source}: row {row + 1}: {names[row]} asks for image {numbers[row]}, but {stack} has {available[row]}"
            f"{_hidden(info)}; correct the row, or point to the right stack"
        )
    bare = np.flatnonzero([available[row] > 1 and "@" not in name for row, name in enumerate(names)])
    if bare.size:
        row = int(bare[0])
        raise InputError(
            f"{source}: row {row + 1}: {names[row]} names no image, and {stacks[stack_of[row]]} has {available[row]}; write "
            "number@stack, numbers from 1"
        )
    return ImageLocations(stacks, infos, stack_of, numbers - 1)


def _hidden(info: StackInfo) -> str:
    """Say where a file is longer than its header says, as when the count of images was never brought up to date."""
    more = info.n_extra_bytes // (info.image_shape[0] * info.image_shape[1] * info.dtype.itemsize)
    return f" by its header, though the file is long enough for {info.n_images + more}" if more else ""


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
