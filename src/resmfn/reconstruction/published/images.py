"""Images in the published layout, as the Fourier pixels that the fit sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.data import read_map
from resmfn.data.particles.published import STACK_FILE, VOLUME_FILE, PublishedData, read_published
from resmfn.fourier import half_plane_from_images, half_plane_pixels
from resmfn.physics import Optics, compute_ctf
from resmfn.reconstruction.published.config import PublishedConfig

_READ_BATCH = 500
LOW_PASS = 1 / 3
"""Standard deviation of the images' low-pass filter, as a share of the band's width in Fourier pixels."""


@dataclass(frozen=True)
class PublishedImages:
    """Fourier pixels of a half plane of all images, in units of the stack's standard deviation over N."""

    values: Tensor
    """Complex (n, P), pixels by growing radius."""
    ctf: Tensor
    """Real (n, P)."""
    pixels: Tensor
    """int64 (P, 2): (kx, ky)."""
    rotations: Tensor
    """(n, 3, 3): the TRUE poses, from poses.npy; on the CPU."""
    optics: Optics | None
    """As the folder has them; None without a CTF."""
    box_size: int
    pixel_size: float
    """Å per pixel."""
    gray_scale: float
    """Gray value of the images that stands for 1."""

    def __len__(self) -> int:
        return len(self.values)

    def view(self, band: float, radius: float) -> ImageView:
        """Return the images as a stage sees them.

        Parameters
        ----------
        band
            Cut-off of the stage's scale as a fraction of Nyquist: images are low-passed by a Gaussian whose standard
            deviation is band * N / 3 Fourier pixels.
        radius
            Fourier pixels: those beyond are left out.
        """
        length = self.pixels.double().norm(dim=1)
        kept = (length <= radius + 1e-6).nonzero()[:, 0]
        kept = kept[torch.argsort(_raster(self.pixels[kept], self.box_size))]
        sigma = band * self.box_size * LOW_PASS
        low_pass = torch.exp(-0.5 * (length[kept] / sigma).square()).to(self.ctf)
        return ImageView(self, kept, low_pass)


@dataclass(frozen=True)
class ImageView:
    """Low-passed images at some Fourier pixels."""

    images: PublishedImages
    kept: Tensor
    """int64 (Q,): which pixels, row by row: neighbors read neighboring voxels."""
    low_pass: Tensor
    """(Q,): factor on the images."""

    @property
    def pixels(self) -> Tensor:
        """int64 (Q, 2): (kx, ky)."""
        return self.images.pixels[self.kept]

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return low-passed values, complex (m, Q), and CTF, real (m, Q), of some images."""
        values = self.images.values[index][:, self.kept] * self.low_pass
        return values, self.images.ctf[index][:, self.kept]


def read_images(config: PublishedConfig, device: torch.device) -> PublishedImages:
    """Read a folder in the published layout; images pass through memory some at a time.

    Parameters
    ----------
    config
        Names the folder, and the map or the pixel size.
    device
        Where the Fourier pixels go: 12 bytes each, 18 kB an image of 64 pixels a side.

    Raises
    ------
    InputError
        A file is missing or does not fit the others, or an image is not finite.
    """
    if not config.folder.is_dir():
        raise InputError(
            f"{config.folder}: --preset published takes a folder in the published layout (particle_stack.npy, "
            "poses.npy, ctf.npy), which this is not; make one with resmfn simulate --layout published"
        )
    data = read_published(config.folder)
    n, box_size = data.images.shape[:2]
    if n < 1 or box_size < 8:
        raise InputError(
            f"{config.folder / STACK_FILE}: needs images of 8 pixels a side or more, got {data.images.shape}"
        )
    if bool((torch.linalg.det(data.rotations) < 0).any()):
        raise InputError(f"{config.folder}: poses.npy must hold rotations, but some matrices are reflections")
    pixel_size = _pixel_size(config, box_size)
    pixels = half_plane_pixels((box_size - 1) // 2, radius_min=0.5)
    optics = _transposed(data.optics) if config.transpose_ctf and data.optics is not None else data.optics
    values, ctf, power = [], [], 0.0
    for start in range(0, n, _READ_BATCH):
        rows = slice(start, min(start + _READ_BATCH, n))
        images = _read(data, rows, config.folder / STACK_FILE)
        power += float(images.double().square().sum())
        values.append((half_plane_from_images(images, pixels) / box_size).to(device))
        contrast = torch.ones(len(images), len(pixels))
        if optics is not None:
            contrast = compute_ctf(optics.select(rows), pixels.to(images) / (box_size * pixel_size))
        ctf.append(contrast.to(device))
    gray_scale = (power / (n * box_size**2)) ** 0.5
    return PublishedImages(
        torch.cat(values).div_(gray_scale),
        torch.cat(ctf),
        pixels.to(device),
        data.rotations,
        data.optics,
        box_size,
        pixel_size,
        gray_scale,
    )


def _read(data: PublishedData, rows: slice, path: Path) -> Tensor:
    images = torch.from_numpy(data.images[rows].astype("float32"))
    bad = ~torch.isfinite(images.flatten(1)).all(dim=1) | (images.flatten(1).std(dim=1) == 0)
    if bool(bad.any()):
        raise InputError(
            f"{path}: image {rows.start + int(bad.nonzero()[0])} (counted from 0) is constant or not finite; repair it"
        )
    return images


def _pixel_size(config: PublishedConfig, box_size: int) -> float:
    """Return Å per pixel, from the flag or the map; the map must be of the images' size."""
    path = config.volume or config.folder.parent / VOLUME_FILE
    if not path.is_file():
        if config.volume is None and config.pixel_size is not None:
            return config.pixel_size
        raise InputError(f"{path}: no such file to take the pixel size from; give --volume or --pixel-size")
    volume = read_map(path, config.pixel_size)
    if volume.box_size != box_size:
        raise InputError(
            f"{path}: has {volume.box_size} voxels a side, but the images of {config.folder} have {box_size} pixels; "
            "give the map that they were simulated from as --volume"
        )
    return volume.pixel_size


def _transposed(optics: Optics) -> Optics:
    """Exchange x and y: an axis at angle a from x towards y goes to 90 - a."""
    fields = {name: getattr(optics, name) for name in optics.__dataclass_fields__}
    return Optics(**{**fields, "defocus_angle": 90 - optics.defocus_angle})


def _raster(pixels: Tensor, box_size: int) -> Tensor:
    return pixels[:, 1] * 2 * box_size + pixels[:, 0]
