"""What a field is fitted to, and tested on: points in the box and the values there, at half and at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.data import DensityMap
from resmfn.data.pictures.files import NamedImage, lanczos_resize
from resmfn.fitting.config import LEAST_SIDE
from resmfn.fourier import resize_map
from resmfn.networks import box_coordinates


@dataclass(frozen=True)
class GridSamples:
    """Values on a grid."""

    coords: Tensor  #: (P, dim), in boxes
    values: Tensor  #: (P, channels)
    shape: tuple[int, ...]  #: samples along each axis; their product is P

    def as_grid(self, values: Tensor) -> Tensor:
        """Lay values (P, channels) out as (*shape, channels)."""
        return values.reshape(*self.shape, -1)


@dataclass(frozen=True)
class FitTarget:
    """An image or a map, sampled coarsely for the fit and finely for the test."""

    name: str
    kind: Literal["image", "volume"]
    train: GridSamples
    test: GridSamples
    offset: float
    """A network is fitted to ``(value - offset) / gain``, which is of order one."""
    gain: float
    data_range: float
    """Peak of the PSNR, in the unit of the values."""
    pixel_size: float | None = None
    """Å per voxel of the test grid, for volumes."""

    @property
    def dim(self) -> int:
        """2 for an image, 3 for a volume."""
        return len(self.train.shape)

    @property
    def channels(self) -> int:
        """Values at a point."""
        return int(self.train.values.shape[1])

    @property
    def box_size(self) -> int:
        """Training samples along the longest side, which is one box: its Nyquist frequency is the full band."""
        return max(self.train.shape)


def pixel_center_coordinates(
    shape: Sequence[int], field: Sequence[int], *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centers of the pixels of an image of ``shape``, in boxes; the longer side of ``field`` is one box.

    Parameters
    ----------
    shape
        Samples along each axis.
    field
        The full-resolution image's size, in its own pixels: images that cover the same field share its edges.

    Returns
    -------
    Tensor
        (prod(shape), len(shape)), last axis fastest; the middle of the image is 0.
    """
    mesh = torch.meshgrid(*[a.to(dtype) for a in pixel_center_axes(shape, field)], indexing="ij")
    return torch.stack([m.reshape(-1) for m in mesh], dim=1)


def pixel_center_axes(shape: Sequence[int], field: Sequence[int]) -> list[Tensor]:
    """Return the coordinates of :func:`pixel_center_coordinates` along each axis, in double precision."""
    return [
        ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5) * (length / max(field))
        for n, length in zip(shape, field, strict=True)
    ]


def image_target(image: NamedImage, *, crop: int | None = None) -> FitTarget:
    """Half-resolution training pixels (Lanczos) and full-resolution test pixels of an image, at pixel centers.

    Networks are fitted to ``2 v - 1``; the PSNR's peak is 1.

    Raises
    ------
    InputError
        If the image is smaller than the crop, or too small to be halved.
    """
    pixels = image.pixels if crop is None else _central_square(image, crop)
    height, width = pixels.shape[:2]
    half = ((height + 1) // 2, (width + 1) // 2)
    if min(half) < LEAST_SIDE:
        raise InputError(f"{image.name} is {width} x {height} pixels; each side must be at least {2 * LEAST_SIDE - 1}")
    grids = []
    for values in (lanczos_resize(pixels, *half), pixels):
        shape = (int(values.shape[0]), int(values.shape[1]))
        coords = pixel_center_coordinates(shape, (height, width), dtype=values.dtype)
        grids.append(GridSamples(coords, values.reshape(-1, values.shape[2]), shape))
    train, test = grids
    return FitTarget(image.name, "image", train, test, offset=0.5, gain=0.5, data_range=1.0)


def _central_square(image: NamedImage, side: int) -> Tensor:
    height, width = image.pixels.shape[:2]
    if min(height, width) < side:
        raise InputError(f"--crop {side} is larger than {image.name}, {width} x {height} pixels")
    top, left = (height - side) // 2, (width - side) // 2
    return image.pixels[top : top + side, left : left + side]


def volume_target(name: str, density: DensityMap, *, downsample: int = 2) -> FitTarget:
    """Training voxels of a map, cropped in Fourier space to ``1 / downsample`` of its band, and all voxels as the test.

    Coordinates are ``(i - N // 2) / N``. Networks are fitted to the map with mean 0 and standard deviation 1; the
    PSNR's peak is the map's range.

    Raises
    ------
    InputError
        If the map is too small to be halved, or constant.
    """
    size = density.box_size
    coarse = size // downsample
    if coarse < LEAST_SIDE:
        raise InputError(f"{name} has {size} voxels a side: at least {downsample * LEAST_SIDE} are needed")
    gain = density.data.double().std().item()
    if not gain > 0:
        raise InputError(f"{name} is constant: there is nothing to fit")
    grids = []
    for n in (coarse, size):
        values = density.data if n == size else resize_map(density.data, n)
        grids.append(GridSamples(box_coordinates(n, 3, dtype=values.dtype), values.reshape(-1, 1), (n, n, n)))
    data_range = (density.data.max() - density.data.min()).item()
    return FitTarget(
        name,
        "volume",
        grids[0],
        grids[1],
        offset=density.data.double().mean().item(),
        gain=gain,
        data_range=data_range,
        pixel_size=density.pixel_size,
    )
