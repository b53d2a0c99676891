"""A set of particle images: what RELION's STAR file says of them, and the images when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.locations import ImageLocations, locate_images
from resmfn.data.metadata import (
    ORIGIN_COLUMNS,
    ORIGIN_PIXEL_COLUMNS,
    find_box_size,
    find_optics,
    find_pixel_size,
    find_rotations,
    find_shifts,
    join_tables,
    pose_columns,
)
from resmfn.data.star import PARTICLE_COLUMN, Column, Table, format_cells, read_star, write_star
from resmfn.physics.optics import Optics

_CHECK_BATCH = 1000
_HEADER_TOLERANCE = 0.01  # relative; headers are often rounded


@dataclass(frozen=True, kw_only=True)
class ParticleSet:
    """Particles as a STAR file lists them. Made by :func:`read_particles`; nothing in it changes."""

    path: Path  #: the file it was read from
    tables: dict[str, Table]  #: every block of that file, cells as they came
    block: str  #: name of the block that lists the particles
    optics: Optics | None  #: one entry a particle; None where the file has no defocus (images without CTF)
    rotations: Tensor | None  #: (n, 3, 3) matrices A, or None
    shifts: Tensor | None  #: (n, 2) rlnOriginX/YAngst in Å, or None
    stated_pixel_size: float | None = None  #: Å
    stated_box_size: int | None = None  #: pixels
    images: ImageLocations | None = field(default=None, repr=False)  #: None if read without images
    dtype: torch.dtype = torch.float32  #: of optics, rotations and shifts

    def __len__(self) -> int:
        return len(self.table)

    @property
    def table(self) -> Table:
        """The table of the particles."""
        return self.tables[self.block]

    @property
    def optics_table(self) -> Table | None:
        """The table of the optics groups; RELION 3.0 files have none."""
        return self.tables.get("optics")

    @property
    def pixel_size(self) -> float:
        """Å per pixel."""
        if self.stated_pixel_size is None:
            raise InputError(
                f"{self.path}: the pixel size is missing (no rlnImagePixelSize, nor rlnDetectorPixelSize with "
                "rlnMagnification); add it to the file, or give --pixel-size"
            )
        return self.stated_pixel_size

    @property
    def box_size(self) -> int:
        """Pixels along each side of an image."""
        if self.stated_box_size is None:
            raise InputError(f"{self.path}: the image size is missing (no rlnImageSize); add it to the file")
        return self.stated_box_size

    def read_images(self, index: slice | Tensor) -> Tensor:
        """Read some images from disk.

        Parameters
        ----------
        index
            A slice, or (m,) row numbers counted from 0 in any order, or an (n,) mask.

        Returns
        -------
        Tensor
            (m, box_size, box_size) float32, grey values as stored.

        Raises
        ------
        InputError
            One of the images is constant, or holds NaN or infinite values; the message names its row.
        """
        if self.images is None:
            raise InputError(f"{self.path}: its images were not opened; read the file with them")
        rows = np.arange(len(self))[index if isinstance(index, slice) else index.cpu().numpy()]
        pixels = torch.from_numpy(self.images.read(rows))
        self._require_signal(pixels, rows)
        return pixels

    def distinct_images(self) -> tuple[Tensor, Tensor]:
        """Return what is needed to read each image once, although several rows may show it.

        Returns
        -------
        tuple
            (m,) a row of each image, images in the order in which they are stored; (n,) which of these each row shows.
        """
        if self.images is None:
            raise InputError(f"{self.path}: its images were not opened; read the file with them")
        place = np.stack((self.images.stack_of, self.images.position))
        _, rows, image_of = np.unique(place, axis=1, return_index=True, return_inverse=True)
        return torch.from_numpy(rows), torch.from_numpy(image_of.reshape(-1))

    def _require_signal(self, pixels: Tensor, rows: np.ndarray) -> None:
        if not len(rows):
            return
        flat = pixels.flatten(1)
        lowest, highest = flat.aminmax(dim=1)  # NaN if any pixel is
        bad = ~(torch.isfinite(highest - lowest) & (highest > lowest))
        if not bad.any():
            return
        first = int(bad.nonzero()[0])
        finite = bool(torch.isfinite(flat[first]).all())
        fault = "is constant" if finite else "holds NaN or infinite values"
        row = int(rows[first])
        name = self.table.text(PARTICLE_COLUMN)[row]
        raise InputError(f"{self.path}: row {row + 1}: the image {name} {fault}; take the row out, or repair the image")

    def require_poses(self) -> tuple[Tensor, Tensor]:
        """Return rotations (n, 3, 3) and shifts (n, 2); no origins means no shifts, no angles are an error."""
        if self.rotations is None:
            raise InputError(
                f"{self.path}: poses are needed, but rlnAngleRot, rlnAngleTilt or rlnAnglePsi is missing; "
                "give a file with poses"
            )
        return self.rotations, self.rotations.new_zeros(len(self), 2) if self.shifts is None else self.shifts

    def with_columns(self, columns: Mapping[str, Column]) -> ParticleSet:
        """Return the particles with columns of the table replaced where they stand, or appended.

        Numbers become text with 6 decimals, integers without. ``optics``, ``rotations`` and ``shifts`` are
        read anew from the changed table.

        Parameters
        ----------
        columns
            Name without underscore -> one value a particle.
        """
        table = self.table.with_columns({name: format_cells(values) for name, values in columns.items()})
        tables = {**self.tables, self.block: table}
        metadata = join_tables(self.path, tables, needs_images=self.images is not None)
        return replace(
            self,
            tables=tables,
            optics=find_optics(metadata, self.dtype),
            rotations=find_rotations(metadata, self.dtype),
            shifts=find_shifts(metadata, self.stated_pixel_size, self.dtype),
        )

    def with_poses(self, rotation: Tensor, shift: Tensor) -> ParticleSet:
        """Return the particles with other poses: rotations A (n, 3, 3) and shifts (n, 2) in Å.

        Where the file has RELION 3.0's origins in pixels, they are brought in line.
        """
        columns: dict[str, Column] = dict(pose_columns(rotation, shift))
        for pixels, angstroms in zip(ORIGIN_PIXEL_COLUMNS, ORIGIN_COLUMNS, strict=True):
            if pixels in self.table:
                columns[pixels] = torch.as_tensor(columns[angstroms]) / self.pixel_size
        return self.with_columns(columns)


def read_particles(
    path: str | os.PathLike[str],
    datadir: str | os.PathLike[str] | None = None,
    *,
    with_images: bool = True,
    pixel_size: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> ParticleSet:
    """Read a RELION particle file (3.0, or 3.1 and later) and check everything short of the pixels.

    Parameters
    ----------
    path
        The STAR file.
    datadir
        Folder that image names start from; by default the file's own folder or one above it.
    with_images
        Whether the image stacks must be there; without, only poses and optics are read.
    pixel_size
        Å per pixel, in place of what the file and the stacks say.
    dtype
        Of optics, rotations and shifts.

    Returns
    -------
    ParticleSet
        The particles; images are read when :meth:`ParticleSet.read_images` is called.

    Raises
    ------
    InputError
        The file is malformed; a stack is missing, truncated or too short; box or pixel sizes are missing or
        contradict one another. The message names file and row.
    """
    path = Path(path)
    tables = read_star(path)
    metadata = join_tables(path, tables, needs_images=with_images)
    stated_pixel_size = pixel_size or find_pixel_size(metadata)
    stated_box_size = find_box_size(metadata)
    images = None
    if with_images:
        folder = None if datadir is None else Path(datadir)
        images = locate_images(path, metadata.tables[metadata.block].text(PARTICLE_COLUMN), folder)
        _require_agreement(path, images, stated_box_size, stated_pixel_size, trusts_headers=pixel_size is not None)
        stated_box_size = images.box_size
    particles = ParticleSet(
        path=path,
        tables=tables,
        block=metadata.block,
        stated_pixel_size=stated_pixel_size,
        stated_box_size=stated_box_size,
        images=images,
        optics=find_optics(metadata, dtype),
        rotations=find_rotations(metadata, dtype),
        shifts=find_shifts(metadata, stated_pixel_size, dtype),
        dtype=dtype,
    )
    if with_images:
        _ = particles.pixel_size  # must be known, now rather than an hour later
    return particles


def write_particles(path: str | os.PathLike[str], particles: ParticleSet) -> None:
    """Write the STAR file of the particles: every table, row and column they were read with, particles last."""
    write_star(path, particles.tables)


def check_images(particles: ParticleSet) -> None:
    """Read every image once, and raise InputError at the first that is constant or not finite."""
    for start in range(0, len(particles), _CHECK_BATCH):
        particles.read_images(slice(start, start + _CHECK_BATCH))


def _require_agreement(
    path: Path, images: ImageLocations, box_size: int | None, pixel_size: float | None, *, trusts_headers: bool
) -> None:
    if box_size is not None and box_size != images.box_size:
        raise InputError(
            f"{path}: rlnImageSize says {box_size} pixels, but the images of {images.stacks[0]} have "
            f"{images.box_size}; correct rlnImageSize, or point to the right stack"
        )
    if pixel_size is None or trusts_headers:
        return
    for stack, info in zip(images.stacks, images.infos, strict=True):
        stated = info.pixel_size
        # 0 and 1 are what programs write when they do not know.
        if stated not in (None, 1.0) and abs(stated - pixel_size) > _HEADER_TOLERANCE * pixel_size:
            raise InputError(
                f"{path}: the pixel size is {pixel_size:g} Å there, but {stated:g} Å in the header of {stack}; "
                "correct the wrong one, or give --pixel-size"
            )
