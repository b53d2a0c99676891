"""Where the image of each particle lies: names such as ``000012@Extract/stack.mrcs`` resolved, checked and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resmfn.core import InputError
from resmfn.data.mrc import StackInfo, read_stack_images, read_stack_info


@dataclass(frozen=True)
class ImageLocations:
    """For each particle a stack and an image in it."""

    stacks: tuple[Path, ...]
    infos: tuple[StackInfo, ...]  #: one for each stack
    stack_of: np.ndarray  #: (n,) which stack
    position: np.ndarray  #: (n,) which image of it, counted from 0

    @property
    def box_size(self) -> int:
        """Pixels along each side, the same in every stack."""
        return self.infos[0].image_shape[0]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read the images of these particles (m,), in this order, as float32 (m, box_size, box_size)."""
        stack_of, position = self.stack_of[rows], self.position[rows]
        used = np.unique(stack_of)
        if len(used) == 1:
            return read_stack_images(self.stacks[used[0]], position, self.infos[used[0]])
        pixels = np.empty((len(rows), self.box_size, self.box_size), dtype=np.float32)
        for stack in used:
            here = stack_of == stack
            pixels[here] = read_stack_images(self.stacks[stack], position[here], self.infos[stack])
        return pixels


def locate_images(star: Path, names: Sequence[str], datadir: Path | None) -> ImageLocations:
    """Resolve image names, and check that every stack is there, whole, and has the image.

    Parameters
    ----------
    star
        The STAR file; names are relative to its folder or, as in a RELION project, to one above.
    names
        ``number@path`` for each particle, numbers counted from 1; a bare path is its first image.
    datadir
        Folder that names are relative to instead.
    """
    numbers, stack_of, first_row = _split_names(star, names)
    folders = [datadir] if datadir is not None else [star.absolute().parent, *star.absolute().parent.parents]
    stacks = tuple(_find_stack(star, row, name, folders, datadir) for name, row in first_row.items())
    infos = tuple(read_stack_info(stack) for stack in stacks)
    for stack, info in zip(stacks, infos, strict=True):
        _require_square(star, stack, info, stacks[0], infos[0])
    available = np.array([info.n_images for info in infos])[stack_of]
    beyond = np.flatnonzero((numbers < 1) | (numbers > available))
    if beyond.size:
        row = int(beyond[0])
        raise InputError(
            f"{star}: row {row + 1}: {names[row]} asks for image {numbers[row]}, but {stacks[stack_of[row]]} has "
            f"{available[row]}; correct the row, or point to the right stack"
        )
    return ImageLocations(stacks, infos, stack_of, numbers - 1)


def _split_names(star: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the image number and the stack of each name, and for each stack's name the first row that has it."""
    numbers = np.empty(len(names), dtype=np.int64)
    stack_of = np.empty(len(names), dtype=np.int64)
    first_row: dict[str, int] = {}
    order: dict[str, int] = {}
    for row, name in enumerate(names):
        number, _, stack = name.partition("@") if "@" in name else ("1", "", name)
        if not stack or not number.isdecimal():
            raise InputError(f"{star}: row {row + 1}: rlnImageName must be number@stack, got {name!r}; correct it")
        numbers[row] = int(number)
        first_row.setdefault(stack, row)
        stack_of[row] = order.setdefault(stack, len(order))
    return numbers, stack_of, first_row


def _find_stack(star: Path, row: int, name: str, folders: Sequence[Path], datadir: Path | None) -> Path:
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        place = f"in {datadir}" if datadir is not None else f"in {folders[0]} or the folders above it"
        raise InputError(
            f"{star}: row {row + 1}: the image stack {name} is not {place}; "
            "give --datadir, the folder that image names start from"
        )
    return found


def _require_square(star: Path, stack: Path, info: StackInfo, first: Path, first_info: StackInfo) -> None:
    rows, columns = info.image_shape
    if rows != columns:
        raise InputError(f"{stack}: images must be square, but they have {columns} x {rows} pixels; crop them")
    if info.image_shape != first_info.image_shape:
        raise InputError(
            f"{star}: all images must have one box size, but {first} has {first_info.image_shape[0]} pixels "
            f"and {stack} has {rows}; split the file or rescale the images"
        )
