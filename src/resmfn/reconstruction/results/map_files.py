"""Maps of a finished run as files: all in the box and pixel size of the images, whatever box the run worked in."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.data import write_map
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.run.context import RunContext


def write_density(folder: RunFolder, run: RunContext, name: str, volume: Tensor) -> None:
    """Write a map (B, B, B), Fourier-padded: it has nothing beyond the frequencies of its own box."""
    write_map(folder.path / name, resized(volume.cpu(), run.box_size), run.pixel_size)


def write_mask(folder: RunFolder, run: RunContext, name: str, mask: Tensor) -> None:
    """Write a mask (B, B, B), likewise, within 0 to 1."""
    write_map(folder.path / name, resized(mask.cpu(), run.box_size).clamp(0, 1), run.pixel_size)


def write_voxelwise(folder: RunFolder, run: RunContext, name: str, values: Tensor) -> None:
    """Write values (B, B, B) that are no density, such as resolutions: each voxel has that of the nearest one there."""
    size, new = len(values), run.box_size
    nearest = ((torch.arange(new) - new // 2) * (size / new)).round().long() + size // 2
    nearest = nearest.clamp(0, size - 1)
    spread = values.cpu()
    for axis in range(3):
        spread = spread.index_select(axis, nearest)
    write_map(folder.path / name, spread, run.pixel_size)
