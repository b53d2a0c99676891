"""Particle files of every kind, recognized by content rather than by name, and read into tables.

Read: STAR files, cryoSPARC's records, image stacks alone, folders in the published layout. Refused, and named: pickles
(cryoDRGN's pose.pkl and ctf.pkl), which run code when they are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from resmfn.core import InputError
from resmfn.core.numbers import AMPLITUDE_CONTRAST, SPHERICAL_ABERRATION, VOLTAGE, require_numbers
from resmfn.data.cryosparc.csdat import CSDAT_MAGIC
from resmfn.data.cryosparc.records import read_records, tables_from_records, with_pixel_size
from resmfn.data.mrc.header import read_header
from resmfn.data.mrc.stacks import read_stack_info
from resmfn.data.npy import NPY_MAGIC, read_npy_header
from resmfn.data.particles.published import POSES_FILE, STACK_FILE, VOLUME_FILE, read_published
from resmfn.data.star.metadata import OPTICS_BLOCK, Metadata, pose_columns
from resmfn.data.star.optics import MICROSCOPE_COLUMNS
from resmfn.data.star.tables import PARTICLE_COLUMN, Table, format_cells, quote, read_star

_VERSION = "30001"  # of RELION's STAR files, 3.1 and later
_PARTICLE_OPTICS = {
    "rlnDefocusU": "defocus_u",
    "rlnDefocusV": "defocus_v",
    "rlnDefocusAngle": "defocus_angle",
    "rlnPhaseShift": "phase_shift",
}
_GROUP_OPTICS = {
    "rlnVoltage": "voltage",
    "rlnSphericalAberration": "spherical_aberration",
    "rlnAmplitudeContrast": "amplitude_contrast",
}
_STACK_SUFFIXES = {".mrc", ".mrcs", ".st", ".map"}
_LONGEST_STAR = 4 * 2**30  # bytes
_SAME = 1e-6  # relative difference that single precision makes


@dataclass(frozen=True)
class Source:
    """The tables of a particle file, and what they were made from."""

    tables: dict[str, Table]
    anchor: Path  #: the file whose folder image names start from
    records: np.ndarray | None = None  #: (n,) cryoSPARC's, every field


MICROSCOPE_RANGES = {
    "voltage": VOLTAGE,
    "spherical_aberration": SPHERICAL_ABERRATION,
    "amplitude_contrast": AMPLITUDE_CONTRAST,
}
"""Ranges of the values of the microscope that a user may give."""


@dataclass(frozen=True, kw_only=True)
class Supplement:
    """Values that a particle file lacks and a user gives; None if not given."""

    passthrough: Path | None = None
    """Of a ``.cs`` file: the one that has the fields it lacks; by default found beside it."""
    voltage: float | None = None
    """kV."""
    spherical_aberration: float | None = None
    """mm."""
    amplitude_contrast: float | None = None
    """Fraction, 0 to 1."""

    def __post_init__(self) -> None:
        require_numbers(self, MICROSCOPE_RANGES)

    def added_to(self, metadata: Metadata) -> Metadata:
        """Return tables that say the microscope's values where they said nothing; an InputError where they differ."""
        tables = dict(metadata.tables)
        where = metadata.block if metadata.groups is None else OPTICS_BLOCK
        for field, column in MICROSCOPE_COLUMNS.items():
            value = getattr(self, field)
            if value is None:
                continue
            if column not in metadata:
                tables[where] = tables[where].with_columns({column: [f"{value:.6f}"] * len(tables[where])})
            elif not np.allclose(stated := metadata.numbers(column), value, rtol=_SAME, atol=0):
                flag = f"--{field.replace('_', '-')}"
                raise InputError(
                    f"{metadata.path}: {column} says {stated[0]:g}, {flag} {value:g}; the flag is for files that "
                    "lack the value: omit it, or correct the file"
                )
        return replace(metadata, tables=tables)


def read_source(path: Path, passthrough: Path | None = None, pixel_size: float | None = None) -> Source:
    """Read a particle file of any kind into tables.

    Parameters
    ----------
    path
        A STAR file, a ``.cs`` file, an image stack, or a folder in the published layout.
    passthrough
        For a ``.cs`` file, the file that has the fields it lacks.
    pixel_size
        Å per pixel, in place of what a ``.cs`` file says: its shifts are in pixels.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: {_why_not_there(path)}")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(NPY_MAGIC) and _is_stack(path):
        return _read_stack(path)
    if start.startswith((NPY_MAGIC, CSDAT_MAGIC)):
        records = read_records(path, passthrough)
        if not len(records):
            raise InputError(f"{path}: the file has no particles")
        if pixel_size is not None:
            records = with_pixel_size(path, records, pixel_size)
        return Source(tables_from_records(path, records), path, records)
    if passthrough is not None:
        raise InputError(f"{path}: --passthrough belongs to a cryoSPARC .cs file, which this is not")
    # Protocol 2 to 5, and an instruction: images with sides of 384, 640 or 896 begin with the same two bytes.
    if start[:1] == b"\x80" and 2 <= start[1] <= 5 and start[2:4] != b"\0\0":
        raise InputError(
            f"{path}: a Python pickle, which is never loaded, because it can run code; instead of cryoDRGN's pose.pkl "
            "and ctf.pkl, give the STAR or .cs file they were made from, or make one with `cryodrgn_utils write_star`"
        )
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: text in UTF-16; save it as UTF-8, for instance with `iconv -f utf-16 -t utf-8`")
    if b"\0" in start:
        return _read_stack(path)
    if path.stat().st_size > _LONGEST_STAR:
        raise InputError(f"{path}: too long for a STAR file ({path.stat().st_size} bytes)")
    return Source(read_star(path), path)


def _is_stack(path: Path) -> bool:
    """Say whether an .npy file holds an array of three dimensions, and no table."""
    header = read_npy_header(path)
    return header.dtype.names is None and len(header.shape) == 3


def _read_stack(path: Path) -> Source:
    """Return a table of the images of a stack, which says nothing else of them."""
    try:
        info = read_stack_info(path)
    except InputError as error:
        if path.suffix in _STACK_SUFFIXES:
            raise
        raise InputError(
            f"{path}: not a particle file: neither STAR, nor cryoSPARC, nor an image stack; check the name"
        ) from error
    columns = {PARTICLE_COLUMN: [quote(f"{number:06d}@{path.name}") for number in range(1, info.n_images + 1)]}
    if info.pixel_size not in (None, 1.0):  # 1 is what programs write when they do not know
        columns["rlnImagePixelSize"] = [f"{info.pixel_size:.6f}"] * info.n_images
    return Source({"particles": Table(columns, version=_VERSION)}, path)


def _why_not_there(path: Path) -> str:
    """Say why a path is no file."""
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there; restore it, or link it anew"
    return "is no ordinary file; name a particle file" if path.exists() else "does not exist; check the name"


def _read_folder(folder: Path) -> Source:
    """Return the tables that say what a folder in the published layout holds."""
    if not (folder / STACK_FILE).is_file() or not (folder / POSES_FILE).is_file():
        inside = next((name for name in ("particles.star",) if (folder / name).is_file()), None)
        advice = f"give {folder / inside}" if inside else f"one in the published layout has {STACK_FILE}, {POSES_FILE}"
        raise InputError(f"{folder}: a folder without readable particles; {advice}")
    data = read_published(folder)
    n = len(data.rotations)
    columns = {PARTICLE_COLUMN: [f"{number:06d}@{STACK_FILE}" for number in range(1, n + 1)]}
    columns |= {name: format_cells(cells) for name, cells in pose_columns(data.rotations, torch.zeros(n, 2)).items()}
    pixel_size = _volume_pixel_size(folder)
    shared: dict[str, np.ndarray] = {} if pixel_size is None else {"rlnImagePixelSize": np.full(n, pixel_size)}
    if data.optics is not None:
        columns |= {name: format_cells(getattr(data.optics, field)) for name, field in _PARTICLE_OPTICS.items()}
        shared |= {name: getattr(data.optics, field).numpy() for name, field in _GROUP_OPTICS.items()}
    optics, group = _group(shared, n)
    optics |= {"rlnImageSize": [str(data.images.shape[-1])] * len(optics["rlnOpticsGroup"])}
    optics |= {"rlnImageDimensionality": ["2"] * len(optics["rlnOpticsGroup"])}
    columns["rlnOpticsGroup"] = group
    tables = {"optics": Table(optics, version=_VERSION), "particles": Table(columns, version=_VERSION)}
    return Source(tables, folder / STACK_FILE)


def _group(shared: dict[str, np.ndarray], n: int) -> tuple[dict[str, list[str]], list[str]]:
    """Return the columns of an optics table of the distinct values, and the group of each of n particles."""
    distinct, group = np.unique(np.stack([np.zeros(n), *shared.values()], axis=1), axis=0, return_inverse=True)
    numbers = [str(number + 1) for number in range(len(distinct))]
    columns = {"rlnOpticsGroup": numbers, "rlnOpticsGroupName": [f"opticsGroup{number}" for number in numbers]}
    columns |= {name: [f"{value:.7g}" for value in distinct[:, i].tolist()] for i, name in enumerate(shared, start=1)}
    return columns, [str(number + 1) for number in group.reshape(-1).tolist()]


def _volume_pixel_size(folder: Path) -> float | None:
    """Return Å per voxel of volume.mrc in the folder or beside it, or None."""
    for place in (folder, folder.absolute().parent):
        volume = place / VOLUME_FILE
        if volume.is_file():
            with volume.open("rb") as file:
                return read_header(volume, file).voxel_size[0] or None
    return None
