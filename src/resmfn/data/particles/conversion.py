"""Particle sets from one file format into another, with every row, column and pose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.mrc.stacks import ImageStackWriter
from resmfn.data.npy import NPY_MAGIC
from resmfn.data.particles.cryosparc_writer import CS_GROUP, known_fields
from resmfn.data.particles.particle_set import ParticleSet, read_particles
from resmfn.data.particles.particle_writer import write_particles
from resmfn.data.particles.published import write_published
from resmfn.data.particles.sources import Supplement
from resmfn.data.star.metadata import Metadata
from resmfn.data.star.optics import EVEN_COLUMN, ODD_COLUMN, PHASE_FLIPPED_COLUMN, PREMULTIPLIED_COLUMN
from resmfn.data.star.tables import PARTICLE_COLUMN, Table, quote

_BATCH = 500
_UNKNOWN_TO_CRYOSPARC = (ODD_COLUMN, EVEN_COLUMN, PREMULTIPLIED_COLUMN, PHASE_FLIPPED_COLUMN)
_UNKNOWN_TO_RELION = ("ctf/trefoil_A", "ctf/tetra_A")
_NOT_PUBLISHED = ("scale", "even_aberration", "odd_aberration", "magnification", "premultiplied", "phase_flipped")
_TABLE_SUFFIXES = (".star", ".cs")


def convert_particles(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    datadir: str | os.PathLike[str] | None = None,
    strip_prefix: str | None = None,
    allow_outside: bool = False,
    pixel_size: float | None = None,
    supplement: Supplement | None = None,
) -> tuple[ParticleSet, list[Path]]:
    """Read particles of one format and write them in another.

    Images are not copied, and their names are kept, except in two cases: a folder in the published layout
    holds its images, so they are written into it; and out of such a folder they go into an .mrcs stack beside ``out``,
    because no other program reads them as .npy.

    Parameters
    ----------
    source
        A STAR file, a ``.cs`` file, an image stack or a folder in the published layout.
    out
        A path that ends in ``.star`` or ``.cs``; any other is a folder for the published layout.
    datadir, strip_prefix, allow_outside, pixel_size, supplement
        As :func:`resmfn.data.read_particles` takes them.

    Returns
    -------
    ParticleSet
        What was read.
    list of Path
        What was written.

    Raises
    ------
    InputError
        The particles cannot be read, or the format cannot hold what they say.
    """
    source, out = Path(source), Path(out)
    into_folder = out.suffix not in _TABLE_SUFFIXES
    names_npy = source.is_dir()
    particles = read_particles(
        source,
        datadir,
        with_images=into_folder or names_npy,
        pixel_size=pixel_size,
        strip_prefix=strip_prefix,
        allow_outside=allow_outside,
        supplement=supplement,
    )
    if into_folder:
        return particles, _write_folder(out, particles)
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist; create it first")
    written = [out]
    if names_npy or _holds_npy(particles):
        stack = out.with_suffix(".mrcs")
        _write_stack(stack, particles)
        particles, written = _renamed(particles, stack), [stack, out]
    write_particles(out, particles)
    return particles, written


def lost_by(particles: ParticleSet, out: Path) -> list[str]:
    """Return lines on what is not carried over to ``out``, or will be ignored there."""
    metadata = particles.metadata
    if out.suffix == ".cs":
        found = [column for column in _UNKNOWN_TO_CRYOSPARC if column in metadata and _says_something(metadata, column)]
        kept = ", ".join(f"rln/{column.removeprefix('rln')}" for column in found)
        lines = (
            [f"cryoSPARC has no field for {', '.join(found)}: kept as {kept}, which it does not use"] if found else []
        )
        if f"{CS_GROUP}blob/path" in particles.table and "blob/path" not in known_fields(particles):
            lines.append(
                f"{PARTICLE_COLUMN} names other images than {CS_GROUP}blob/path and idx, or of another box: fields of "
                "images and exposure groups are made anew, and molecules are said to be white"
            )
        return lines
    records = particles.records
    if records is None:
        return []
    fields = records.dtype.names or ()
    found = [field for field in _UNKNOWN_TO_RELION if field in fields and bool(np.any(records[field]))]
    kept = ", ".join(f"cs/{field}" for field in found)
    return [f"RELION has no column for {', '.join(found)}: kept as {kept}, which it does not use"] if found else []


def _says_something(metadata: Metadata, column: str) -> bool:
    cells = metadata.texts(column)[0]
    return any(character in "123456789" for cell in cells for character in cell)


def _holds_npy(particles: ParticleSet) -> bool:
    if particles.images is None:
        return False
    with particles.images.stacks[0].open("rb") as file:
        return file.read(len(NPY_MAGIC)) == NPY_MAGIC


def _batches(particles: ParticleSet) -> Iterator[Tensor]:
    for start in range(0, len(particles), _BATCH):
        yield particles.read_images(slice(start, start + _BATCH))


def _write_stack(path: Path, particles: ParticleSet) -> None:
    with ImageStackWriter(path, len(particles), particles.box_size, particles.pixel_size) as stack:
        for batch in _batches(particles):
            stack.write(batch)


def _renamed(particles: ParticleSet, stack: Path) -> ParticleSet:
    """Return the particles with their images named in this stack, in order."""
    cells = [quote(f"{number:06d}@{stack.name}") for number in range(1, len(particles) + 1)]
    columns = {PARTICLE_COLUMN: cells, **{k: v for k, v in particles.table.columns.items() if k != PARTICLE_COLUMN}}
    table = Table(columns, version=particles.table.version)
    return replace(particles, tables={**particles.tables, particles.block: table}, images=None, records=None)


def _write_folder(folder: Path, particles: ParticleSet) -> list[Path]:
    """Write the published layout, which knows poses and CTF but no shifts."""
    rotations, shifts = particles.require_poses()
    if bool((shifts.abs() > 1e-3).any()):
        raise InputError(
            f"{particles.path}: the published layout cannot hold shifts, and these particles have some; write "
            ".star or .cs, or remove rlnOriginX/YAngst to use the images without shifts"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: exists and is not a folder; for a file, give a name that ends in .star or .cs")
    optics = particles.optics
    lost = [] if optics is None else [name for name in _NOT_PUBLISHED if getattr(optics, name) is not None]
    if optics is not None and (lost or bool((optics.b_factor != 0).any())):
        raise InputError(
            f"{particles.path}: the published layout cannot hold {', '.join(lost or ['B-factors'])}, and these "
            "particles have some; write .star or .cs"
        )
    write_published(folder, _batches(particles), torch.as_tensor(rotations), particles.optics)
    return [folder]
