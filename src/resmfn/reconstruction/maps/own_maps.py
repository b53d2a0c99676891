"""Maps that the user gives, a mask or a reference, in the frame of the images or of the output maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.data import read_stored_map
from resmfn.reconstruction.maps.map_grid import resized

_SLACK, _SLACK_CROPPED = 1e-3, 0.1  # edges ring a little when they are cropped


def read_own_map(flag: str, path: Path, frames: Mapping[int, float], box_size: int) -> Tensor:
    """Read a map that must have one of some boxes and pixel sizes; return it in the working box.

    Parameters
    ----------
    flag
        That named it, for messages.
    path
        The map. One that does not say its voxel size is taken to have that of the frame whose box it has.
    frames
        Box in voxels -> Å per voxel: of the images, and of the maps that come out.
    box_size
        The working box.

    Returns
    -------
    Tensor
        (box_size,) * 3.

    Raises
    ------
    InputError
        It cannot be read, or has another box or pixel size.
    """
    stored = read_stored_map(path)
    found = stored.cube(None if stored.voxel_size else frames.get(stored.data.shape[-1]))
    expected = frames.get(found.box_size)
    if expected is None or abs(found.pixel_size - expected) > 0.01 * expected:
        wanted = " or ".join(f"{size} pixels of {pixel:g} Å" for size, pixel in frames.items())
        raise InputError(
            f"{flag} {path} must match the images' box of {wanted}, got {found.box_size} of {found.pixel_size:g} Å; "
            "resample it"
        )
    return resized(found.data, box_size)


def read_own_mask(path: Path, frames: Mapping[int, float], box_size: int) -> Tensor:
    """Read a mask likewise; its values lie in 0 to 1.

    Raises
    ------
    InputError
        It cannot be read, does not fit, or is no mask.
    """
    mask = read_own_map("--mask", path, frames, box_size)
    low, high = float(mask.min()), float(mask.max())
    slack = _SLACK if len(frames) == 1 else _SLACK_CROPPED
    if low < -slack or high > 1 + slack or high <= 0:
        raise InputError(
            f"--mask {path} must lie between 0 and 1, got {low:g} to {high:g}; threshold the map and soften its "
            "edge first"
        )
    return mask.clamp(0, 1)
