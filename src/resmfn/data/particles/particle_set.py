"""A set of particle images: metadata from its file, and images read on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.cryosparc.records import stated_sign
from resmfn.data.particles.common_frame import CommonFrame, plain_images
from resmfn.data.particles.image_folders import ImageFolders
from resmfn.data.particles.locations import ImageLocations, locate_images, require_agreement
from resmfn.data.particles.sources import Supplement, read_source
from resmfn.data.remarks.particles import Remarks, remark_on
from resmfn.data.star.metadata import (
    ORIGIN_COLUMNS,
    ORIGIN_PIXEL_COLUMNS,
    Metadata,
    find_box_sizes,
    find_pixel_sizes,
    find_rotations,
    find_shifts,
    join_tables,
    pose_columns,
    require_one_pixel_size,
    shared_value,
    with_pixel_size,
)
from resmfn.data.star.optics import find_optics
from resmfn.data.star.tables import PARTICLE_COLUMN, Column, Table, format_cells
from resmfn.physics.optics import Optics

_CHECK_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class ParticleSet:
    """Particles in the tables of a STAR file, whatever file lists them. Made by :func:`read_particles`; unchanging."""

    path: Path  #: the file it was read from
    tables: dict[str, Table]  #: every block of that file, cells as they came; of other formats, what they say
    block: str  #: name of the block that lists the particles
    optics: Optics | None  #: one entry a particle; None where the file has no defocus (images without CTF)
    rotations: Tensor | None  #: (n, 3, 3) matrices A, or None
    shifts: Tensor | None  #: (n, 2) rlnOriginX/YAngst in Å, or None
    groups: np.ndarray | None = None  #: (n,) row of the optics table for each particle, None without such a table
    pixel_sizes: np.ndarray | None = None  #: (n,) Å per pixel of each image, None where the file does not say
    box_sizes: np.ndarray | None = None  #: (n,) pixels along each side, None where the file does not say
    records: np.ndarray | None = field(default=None, repr=False)  #: (n,) every field of a cryoSPARC file
    images: ImageLocations | None = field(default=None, repr=False)  #: None if read without images
    dtype: torch.dtype = torch.float32  #: of optics, rotations and shifts
    frame: CommonFrame | None = None  #: what images are brought to as they are read; None leaves them as stored
    recorded: Optics | None = None  #: what is undone of images as they are read; None leaves them as recorded
    remarks: Remarks = field(
        default_factory=Remarks
    )  #: what is to be said of the file, and what a reconstruction would refuse

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
    def metadata(self) -> Metadata:
        """The tables read as one."""
        return Metadata(self.path, self.tables, self.block, self.groups)

    @property
    def stated_pixel_size(self) -> float | None:
        """Å per pixel, None where the file does not say it; an InputError where optics groups differ."""
        return None if self.pixel_sizes is None else shared_value(self.path, "pixel size", self.pixel_sizes)

    @property
    def stated_box_size(self) -> int | None:
        """Pixels along each side of an image, None where the file does not say it; an InputError where they differ."""
        return None if self.box_sizes is None else round(shared_value(self.path, "rlnImageSize", self.box_sizes))

    @property
    def stated_sign(self) -> int | None:
        """+1 where the file says that the molecule is white, -1 where it says dark, None where it does not say."""
        return None if self.records is None else stated_sign(self.records)

    @property
    def pixel_size(self) -> float:
        """Å per pixel of what :meth:`read_images` gives."""
        if self.frame is not None:
            return self.frame.pixel_size
        pixel_size = self.stated_pixel_size
        if pixel_size is None:
            raise InputError(
                f"{self.path}: the pixel size is missing (neither rlnImagePixelSize, nor rlnDetectorPixelSize with "
                "rlnMagnification); add it to the file, or give --pixel-size"
            )
        return pixel_size

    @property
    def box_size(self) -> int:
        """Pixels along each side of what :meth:`read_images` gives."""
        if self.frame is not None:
            return self.frame.box_size
        box_size = self.stated_box_size
        if box_size is None:
            raise InputError(f"{self.path}: the image size is missing (no rlnImageSize); add it to the file")
        return box_size

    def in_common_frame(self) -> ParticleSet:
        """Return the particles so that their images are read as plain ones, at one box and pixel size.

        What beam tilt, odd aberrations and later treatment did to images is undone as they are read
        (:mod:`resmfn.physics.recorded`); ``optics`` then are those of the plain images. Tables stay as they are.

        Raises
        ------
        InputError
            The file states something about its images that is not modeled.
        """
        self.require_modeled()
        return self.in_plain_frame()

    def in_plain_frame(self) -> ParticleSet:
        """Return the same without refusing what is not modeled, for inspection."""
        if self.box_sizes is None or self.pixel_sizes is None:
            return self
        framed = replace(self, frame=CommonFrame.of(self.box_sizes, self.pixel_sizes))
        return framed if self.optics is None else replace(framed, **_plain(self.optics))

    def require_modeled(self) -> None:
        """Raise InputError if the file states something about its images that is not modeled."""
        if self.remarks.refusals:
            raise InputError(self.remarks.refusals[0])

    def pixel_size_in(self, box_size: int) -> float:
        """Return Å per pixel of the images, cropped in Fourier space to a box; an InputError if it is a larger one."""
        if box_size > self.box_size:
            raise InputError(
                f"--box-size must be at most the images' box of {self.box_size} pixels, got {box_size}; "
                "a larger box holds no more detail"
            )
        return self.pixel_size * self.box_size / box_size

    def read_images(self, index: slice | Tensor) -> Tensor:
        """Read some images from disk.

        Parameters
        ----------
        index
            A slice, or (m,) row numbers counted from 0 in any order, or an (n,) mask.

        Returns
        -------
        Tensor
            (m, box_size, box_size) float32, gray values as stored, resampled where the set has a common frame.

        Raises
        ------
        InputError
            One of the images is constant, or holds NaN or infinite values; the message names its row.
        """
        images = self._opened_images()
        rows = np.arange(len(self))[index if isinstance(index, slice) else index.cpu().numpy()]
        if self.frame is None:
            _ = self.box_size  # one for all
            stored = self._read_alike(rows)
            return self._plain(stored, rows, self.pixel_size) if self.recorded is not None else stored
        pixels = torch.empty(len(rows), self.frame.box_size, self.frame.box_size)
        sampling = np.stack((images.box_sizes, np.asarray(self.pixel_sizes)), axis=1)[rows]
        for box_and_pixel in np.unique(sampling, axis=0):
            here = (sampling == box_and_pixel).all(axis=1)
            pixel_size = float(box_and_pixel[1])
            plain = self._plain(self._read_alike(rows[here]), rows[here], pixel_size)
            pixels[torch.from_numpy(here)] = self.frame.bring(plain, pixel_size)
        return pixels

    def _plain(self, images: Tensor, rows: np.ndarray, pixel_size: float) -> Tensor:
        """Return images (m, N, N) of these rows without what is undone at reading."""
        if self.recorded is None:
            return images
        return plain_images(images, self.recorded.select(torch.from_numpy(rows)).to(dtype=images.dtype), pixel_size)

    def _read_alike(self, rows: np.ndarray) -> Tensor:
        """Return images (m, N, N) of one box size as they are stored."""
        pixels = torch.from_numpy(self._opened_images().read(rows))
        self._require_signal(pixels, rows)
        return pixels

    def distinct_images(self) -> tuple[Tensor, Tensor]:
        """Return what is needed to read each image once, although several rows may show it.

        Returns
        -------
        tuple
            (m,) a row of each image, images in the order in which they are stored; (n,) which of these each row shows.
        """
        images = self._opened_images()
        place = np.stack((images.stack_of, images.position))
        _, rows, image_of = np.unique(place, axis=1, return_index=True, return_inverse=True)
        return torch.from_numpy(rows), torch.from_numpy(image_of.reshape(-1))

    def _opened_images(self) -> ImageLocations:
        if self.images is None:
            raise InputError(f"{self.path}: its images were not opened; read the file with images")
        return self.images

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
        raise InputError(f"{self.path}: row {row + 1}: the image {name} {fault}; remove the row, or repair the image")

    def require_poses(self) -> tuple[Tensor, Tensor]:
        """Return rotations (n, 3, 3) and shifts (n, 2); no origins means no shifts, no angles are an error."""
        if self.rotations is None:
            raise InputError(
                f"{self.path}: poses are needed, but rlnAngleRot, rlnAngleTilt or rlnAnglePsi is missing; "
                "give a file with poses"
            )
        return self.rotations, self.rotations.new_zeros(len(self), 2) if self.shifts is None else self.shifts

    def select(self, rows: Tensor) -> ParticleSet:
        """Return some of the particles, int64 (m,), in this order; all optics groups stay in their table."""
        index = rows.cpu().numpy()
        images = self.images
        if images is not None:
            images = replace(images, stack_of=images.stack_of[index], position=images.position[index])
        arrays = {name: getattr(self, name) for name in ("groups", "pixel_sizes", "box_sizes", "records")}
        tensors = {name: getattr(self, name) for name in ("rotations", "shifts")}
        optics = {name: getattr(self, name) for name in ("optics", "recorded")}
        changed: dict[str, Any] = {
            **{name: None if value is None else value[index] for name, value in arrays.items()},
            **{name: None if value is None else value[rows] for name, value in tensors.items()},
            **{name: None if value is None else value.select(rows) for name, value in optics.items()},
        }
        tables = {**self.tables, self.block: self.table.select(index.tolist())}
        return replace(self, tables=tables, images=images, **changed)

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
        optics = find_optics(metadata, self.dtype)
        shifts = find_shifts(metadata, self.pixel_sizes, self.dtype)
        changed = replace(
            self, tables=tables, optics=optics, rotations=find_rotations(metadata, self.dtype), shifts=shifts
        )
        return changed if optics is None or self.recorded is None else replace(changed, **_plain(optics))

    def with_poses(self, rotation: Tensor, shift: Tensor) -> ParticleSet:
        """Return the particles with other poses: rotations A (n, 3, 3) and shifts (n, 2) in Å.

        Where the file has RELION 3.0's origins in pixels, they are brought in line.
        """
        columns: dict[str, Column] = dict(pose_columns(rotation, shift))
        for pixels, angstroms in zip(ORIGIN_PIXEL_COLUMNS, ORIGIN_COLUMNS, strict=True):
            if pixels in self.table:
                columns[pixels] = torch.as_tensor(columns[angstroms]) / self._pixels_of_origins()
        return self.with_columns(columns)

    def _pixels_of_origins(self) -> Tensor:
        return torch.from_numpy(np.full(len(self), self.pixel_size) if self.pixel_sizes is None else self.pixel_sizes)


def _plain(optics: Optics) -> dict[str, Any]:
    """Return the fields of a set whose images are read as plain ones, where there is something to undo."""
    undistorted = optics.undistorted()
    if all(getattr(optics, field.name) is getattr(undistorted, field.name) for field in fields(optics)):
        return {}
    return {"optics": undistorted, "recorded": optics}


def read_particles(
    path: str | os.PathLike[str],
    datadir: str | os.PathLike[str] | None = None,
    *,
    with_images: bool = True,
    pixel_size: float | None = None,
    dtype: torch.dtype = torch.float32,
    strip_prefix: str | None = None,
    allow_outside: bool = False,
    supplement: Supplement | None = None,
) -> ParticleSet:
    """Read a particle file and check everything except the pixels.

    Parameters
    ----------
    path
        A STAR file (RELION 3.0 to 5), a cryoSPARC ``.cs`` file, an image stack, or a folder in the published layout;
        told by what is in it.
    datadir
        Folder that image paths are relative to; by default the file's own folder or one above it.
    with_images
        Whether the image stacks must be there; without, only poses and optics are read.
    pixel_size
        Å per pixel; overrides the file and the stacks.
    dtype
        Of optics, rotations and shifts.
    strip_prefix
        Prefix that is removed from image paths.
    allow_outside
        Whether image paths may leave the folder that they are relative to.
    supplement
        Values that the file lacks: the passthrough file of a ``.cs`` file, and values of the microscope.

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
    supplement = supplement or Supplement()
    source = read_source(path, supplement.passthrough, pixel_size)
    metadata = supplement.added_to(join_tables(path, source.tables, needs_images=with_images))
    if pixel_size is not None:
        require_one_pixel_size(metadata, pixel_size)
        metadata = with_pixel_size(metadata, pixel_size)
    stated = find_pixel_sizes(metadata) if pixel_size is None else np.full(len(metadata), float(pixel_size))
    box_sizes = find_box_sizes(metadata)
    images = None
    if with_images:
        folders = ImageFolders(
            source=source.anchor,
            datadir=None if datadir is None else Path(datadir),
            strip_prefix=strip_prefix,
            allow_outside=allow_outside,
        )
        images = locate_images(metadata.tables[metadata.block].text(PARTICLE_COLUMN), folders)
        require_agreement(path, images, box_sizes, stated, trusts_headers=pixel_size is not None)
        box_sizes = images.box_sizes
    optics = find_optics(metadata, dtype)
    remarks = remark_on(metadata, optics, records=source.records, pixel_sizes=stated)
    if images is not None:
        remarks = replace(remarks, notes=(*remarks.notes, *images.remarks()))
    particles = ParticleSet(
        path=path,
        tables=dict(metadata.tables),
        block=metadata.block,
        groups=metadata.groups,
        pixel_sizes=stated,
        box_sizes=box_sizes,
        records=source.records,
        images=images,
        optics=optics,
        rotations=find_rotations(metadata, dtype),
        shifts=find_shifts(metadata, stated, dtype),
        dtype=dtype,
        remarks=remarks,
    )
    if with_images and stated is None:
        _ = particles.pixel_size  # must be known, now rather than an hour later
    return particles


def check_images(particles: ParticleSet) -> None:
    """Read every image once, and raise InputError at the first that is constant or not finite."""
    for start in range(0, len(particles), _CHECK_BATCH):
        particles.read_images(slice(start, start + _CHECK_BATCH))
