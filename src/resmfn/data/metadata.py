"""What the tables of a RELION particle file say: optics, poses, sampling.

Both layouts are read: RELION 3.1 and later (a table ``data_optics``, joined by rlnOpticsGroup) and 3.0 (everything in
the particle table; origins in pixels; the pixel size from magnification and detector).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.star import PARTICLE_COLUMN, Table, unquote
from resmfn.physics.optics import Optics
from resmfn.rotations.convert import euler_from_matrix, matrix_from_euler

OPTICS_BLOCK = "optics"
ANGLE_COLUMNS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGIN_COLUMNS = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGIN_PIXEL_COLUMNS = ("rlnOriginX", "rlnOriginY")
_SAME = 1e-4  # relative difference that is rounding

#: Field of Optics -> its column, and its value where the column is absent (None: the column must be there).
_OPTICS_COLUMNS: dict[str, tuple[str, float | None]] = {
    "defocus_u": ("rlnDefocusU", None),
    "defocus_v": ("rlnDefocusV", None),
    "defocus_angle": ("rlnDefocusAngle", None),
    "phase_shift": ("rlnPhaseShift", 0.0),
    "b_factor": ("rlnCtfBfactor", 0.0),
    "voltage": ("rlnVoltage", None),
    "spherical_aberration": ("rlnSphericalAberration", None),
    "amplitude_contrast": ("rlnAmplitudeContrast", None),
}


@dataclass(frozen=True)
class Metadata:
    """The particle table and the optics table of one file, read as one table."""

    path: Path
    tables: Mapping[str, Table]
    block: str  #: which of the tables has the particles
    groups: np.ndarray | None  #: (n,) row of the optics table for each particle, or None without such a table

    def __len__(self) -> int:
        return len(self.tables[self.block])

    def __contains__(self, column: object) -> bool:
        return self._table_with(column) is not None

    def _table_with(self, column: object) -> Table | None:
        optics = self.tables[OPTICS_BLOCK] if self.groups is not None else Table()
        return next((table for table in (optics, self.tables[self.block]) if column in table), None)

    def numbers(self, column: str) -> np.ndarray:
        """Return (n,) float64, one finite number a particle, from whichever table has the column."""
        table = self._table_with(column)
        if table is None:
            raise InputError(f"{self.path}: the column {column} is missing; add it to the file")
        values = parse_numbers(table[column], column, self.path)
        return values if table is self.tables[self.block] or self.groups is None else values[self.groups]

    def shared_number(self, column: str) -> float:
        """Return the value that a column has for every particle."""
        values = self.numbers(column)
        if np.ptp(values) > _SAME * np.abs(values).max():
            found = ", ".join(f"{value:g}" for value in np.unique(values)[:5])
            raise InputError(
                f"{self.path}: all particles must have the same {column}, but there are {found}; "
                "split the file or rescale the images"
            )
        return float(values[0])


def join_tables(path: Path, tables: Mapping[str, Table], *, needs_images: bool) -> Metadata:
    """Find the particle table and, for each of its rows, the row of the optics table.

    Parameters
    ----------
    path
        The file, for messages.
    tables
        Its blocks.
    needs_images
        Whether the particle table must name images; if not, one with angles will do.
    """
    block = _find_particle_block(path, tables, (PARTICLE_COLUMN,) if needs_images else (PARTICLE_COLUMN, "rlnAngleRot"))
    particles = tables[block]
    if not len(particles):
        raise InputError(f"{path}: the table data_{block} has no rows; nothing can be done without particles")
    if not len(tables.get(OPTICS_BLOCK, ())) or block == OPTICS_BLOCK:
        return Metadata(path, tables, block, None)
    return Metadata(path, tables, block, _optics_rows(path, tables[OPTICS_BLOCK], particles))


def _find_particle_block(path: Path, tables: Mapping[str, Table], columns: Sequence[str]) -> str:
    for column in columns:
        found = [name for name, table in tables.items() if column in table]
        if "particles" in found or len(found) == 1:
            return "particles" if "particles" in found else found[0]
        if found:
            names = ", ".join(f"data_{name}" for name in found)
            raise InputError(f"{path}: several tables have the column {column} ({names}); keep one particle table")
    names = ", ".join(f"data_{name}" for name in tables)
    raise InputError(f"{path}: not a particle file: none of its tables ({names}) has the column {' or '.join(columns)}")


def _optics_rows(path: Path, optics: Table, particles: Table) -> np.ndarray:
    column = "rlnOpticsGroup"
    if column not in particles:
        if len(optics) == 1:
            return np.zeros(len(particles), dtype=np.int64)
        raise InputError(f"{path}: {len(optics)} optics groups, but the particles have no column {column}; add it")
    if column not in optics:
        raise InputError(f"{path}: the table data_{OPTICS_BLOCK} has no column {column}; add it")
    row_of = {_group_name(cell): row for row, cell in enumerate(optics[column])}
    cells = [_group_name(cell) for cell in particles[column]]
    for row, name in enumerate(cells):
        if name not in row_of:
            known = ", ".join(row_of)
            raise InputError(f"{path}: particle {row + 1} is in optics group {name}, but data_optics has only {known}")
    return np.array([row_of[name] for name in cells], dtype=np.int64)


def _group_name(cell: str) -> str:
    """Return the number of an optics group in one spelling: some programs write 1.000000."""
    number = _number_or_nan(unquote(cell))
    return str(int(number)) if number.is_integer() else unquote(cell)


def parse_numbers(cells: Sequence[str], column: str, path: Path) -> np.ndarray:
    """Return the cells of a column as float64; every one must be a finite number."""
    try:
        values = np.array(cells, dtype=np.str_).astype(np.float64)
    except ValueError:
        values = np.array([_number_or_nan(unquote(cell)) for cell in cells])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{path}: row {row + 1}: {column} must be a finite number, got {cells[row]!r}; correct it")
    return values


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def find_pixel_size(metadata: Metadata) -> float | None:
    """Return the pixel size of the images in Å, or None where the file does not say it."""
    column = next((name for name in ("rlnImagePixelSize", "rlnPixelSize") if name in metadata), None)
    if column is not None:
        pixel_size = metadata.shared_number(column)
    elif "rlnDetectorPixelSize" in metadata and "rlnMagnification" in metadata:
        column = "rlnDetectorPixelSize / rlnMagnification"
        magnification = metadata.shared_number("rlnMagnification")
        # The detector's pixels are in µm (1 µm = 10,000 Å); six digits undo the rounding of the magnification.
        ratio = 1e4 * metadata.shared_number("rlnDetectorPixelSize") / magnification if magnification else 0.0
        pixel_size = float(f"{ratio:.6g}")
    else:
        return None
    if pixel_size <= 0:
        raise InputError(f"{metadata.path}: the pixel size ({column}) must be positive, got {pixel_size:g}; correct it")
    return pixel_size


def find_box_size(metadata: Metadata) -> int | None:
    """Return the side of the images in pixels, or None where the file does not say it; images must be 2-D."""
    if "rlnImageDimensionality" in metadata and metadata.shared_number("rlnImageDimensionality") != 2:
        raise InputError(f"{metadata.path}: rlnImageDimensionality must be 2: single-particle images, not subtomograms")
    return round(metadata.shared_number("rlnImageSize")) if "rlnImageSize" in metadata else None


def find_optics(metadata: Metadata, dtype: torch.dtype) -> Optics | None:
    """Return the optics of each particle, or None where no column speaks of defocus: images without CTF."""
    if not any(column in metadata for column in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")):
        return None
    columns = {}
    for name, (column, default) in _OPTICS_COLUMNS.items():
        if default is not None and column not in metadata:
            values = np.full(len(metadata), default)
        else:
            values = metadata.numbers(column)
        columns[name] = torch.from_numpy(values).to(dtype)
    if (columns["voltage"] <= 0).any():
        raise InputError(f"{metadata.path}: rlnVoltage must be positive; give it in kV")
    contrast = columns["amplitude_contrast"]
    if ((contrast < 0) | (contrast > 1)).any():
        raise InputError(f"{metadata.path}: rlnAmplitudeContrast must lie between 0 and 1; correct it")
    return Optics(**columns)


def find_rotations(metadata: Metadata, dtype: torch.dtype) -> Tensor | None:
    """Return the rotation matrices A (n, 3, 3), or None where an angle is missing (2-D classes have only psi)."""
    if not all(column in metadata for column in ANGLE_COLUMNS):
        return None
    angles = np.stack([metadata.numbers(column) for column in ANGLE_COLUMNS], axis=1)
    return matrix_from_euler(torch.from_numpy(angles)).to(dtype)


def find_shifts(metadata: Metadata, pixel_size: float | None, dtype: torch.dtype) -> Tensor | None:
    """Return rlnOriginX/YAngst (n, 2) in Å, or None where the file has no origins.

    RELION 3.0's rlnOriginX/Y are in pixels and need ``pixel_size``.
    """
    if any(column in metadata for column in ORIGIN_COLUMNS):
        columns, unit = ORIGIN_COLUMNS, 1.0
    elif any(column in metadata for column in ORIGIN_PIXEL_COLUMNS):
        if pixel_size is None:
            raise InputError(f"{metadata.path}: rlnOriginX/Y are in pixels, but the pixel size is missing; give it")
        columns, unit = ORIGIN_PIXEL_COLUMNS, pixel_size
    else:
        return None
    origins = np.stack([metadata.numbers(column) for column in columns], axis=1)
    return torch.from_numpy(origins * unit).to(dtype)


def pose_columns(rotation: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """Return the five columns of a pose: three angles in degrees, two origins in Å.

    Parameters
    ----------
    rotation
        (n, 3, 3) matrices A.
    shift
        (n, 2) in Å.
    """
    angles = euler_from_matrix(rotation.detach().cpu().double())
    values = torch.cat([angles, shift.detach().cpu().double()], dim=1)
    return dict(zip((*ANGLE_COLUMNS, *ORIGIN_COLUMNS), values.unbind(1), strict=True))
