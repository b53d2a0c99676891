"""The map that images are simulated from: a model, a map file, a folder, a built-in molecule."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.core.machine import require_memory
from resmfn.data.models import BUILT_IN_MOLECULES, density_from_model, is_model
from resmfn.data.mrc.maps import DensityMap, read_stored_map
from resmfn.data.particles.published import VOLUME_FILE
from resmfn.fourier import resize_map
from resmfn.simulation.images import is_constant

DEFAULT_BOX_SIZE = 64
DEFAULT_PIXEL_SIZE = 1.5
_BYTES_OF_VOXEL = 4 + 2**3 * 8  # of the map, and of its transform, complex and padded twofold at the least


def load_density(
    source: str | os.PathLike[str], box_size: int | None, pixel_size: float | None, b_factor: float
) -> DensityMap:
    """Return the map of a source at the requested sampling.

    Parameters
    ----------
    source
        The name of a built-in molecule; a .pdb or .cif model (also .gz); an MRC map (also .gz or .bz2); or a folder
        with volume.mrc.
    box_size, pixel_size
        For a model: by default 64 voxels of 1.5 Å. A map keeps its own, zero-padded if it is not a cube. Of a map,
        ``box_size`` alone resamples the same field of view; ``pixel_size`` alone resamples it to that voxel size; both
        together resample, then pad or crop about the origin.
    b_factor
        Å^2, of the atoms of a model.
    """
    if box_size is not None:
        require_memory(_BYTES_OF_VOXEL * box_size**3, f"the voxels of a map of {box_size} a side")
    if is_model(source):
        box_size, pixel_size = box_size or DEFAULT_BOX_SIZE, pixel_size or DEFAULT_PIXEL_SIZE
        return DensityMap(density_from_model(source, box_size, pixel_size, b_factor), pixel_size)
    path = Path(source)
    path = path / VOLUME_FILE if path.is_dir() else path
    if not path.is_file():
        hint = f"give a map, a model, a folder with {VOLUME_FILE}, or a built-in molecule ({BUILT_IN_MOLECULES[0]})"
        raise InputError(f"{path}: there is no such file; {hint}")
    stored = read_stored_map(path)
    density = stored.cube(None if stored.voxel_size else pixel_size, pad=True)
    if is_constant(density):
        raise InputError(f"{path}: the map is constant; there is nothing to project")
    return resample(density, box_size, pixel_size)


def resample(density: DensityMap, box_size: int | None, pixel_size: float | None) -> DensityMap:
    """Return a map at another sampling; the origin stays at voxel ``box_size // 2``, gray values stay.

    Parameters
    ----------
    density
        The map.
    box_size, pixel_size
        As in :func:`load_density`; None keeps what is.
    """
    if pixel_size is None:
        box_size = box_size or density.box_size
        resized = density.data if box_size == density.box_size else resize_map(density.data, box_size)
        return DensityMap(resized, density.pixel_size * density.box_size / box_size)
    ratio = density.pixel_size / pixel_size
    padded = _size_that_divides(density.box_size, ratio)
    data = resize_map(_pad_or_crop(density.data, padded), round(padded * ratio))
    return DensityMap(_pad_or_crop(data, box_size or round(density.box_size * ratio)), pixel_size)


def _size_that_divides(box_size: int, ratio: float) -> int:
    """Return a size, at most twice the box, that ``ratio`` takes closest to a whole number of voxels."""
    return min(range(box_size, 2 * box_size + 1), key=lambda size: abs(size * ratio - round(size * ratio)) / size)


def _pad_or_crop(data: Tensor, size: int) -> Tensor:
    """Return a map of another side with the same voxels about the same origin, zero where nothing was."""
    before = size // 2 - data.shape[0] // 2
    after = size - data.shape[0] - before
    return torch.nn.functional.pad(data, (before, after) * 3)
