"""What the tables of a RELION particle file say: poses and sampling, and which of two values counts.

Both layouts are read: RELION 3.1 and later (a table ``data_optics``, joined by rlnOpticsGroup) and 3.0 (everything in
the particle table; origins in pixels; the pixel size from magnification and detector).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.star.kinds import describe_tables, require_single_particles
from resmfn.data.star.tables import PARTICLE_COLUMN, Table, unquote
from resmfn.rotations.convert import euler_from_matrix, matrix_from_euler

OPTICS_BLOCK = "optics"
SUBSET_COLUMN = "rlnRandomSubset"
ANGLE_COLUMNS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGIN_COLUMNS = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGIN_PIXEL_COLUMNS = ("rlnOriginX", "rlnOriginY")
_SAME = 1e-4  # relative difference that is rounding
_LARGEST_BOX = 1_000_000

#: What both tables may have, and RELION (CTF::readByGroup) takes from the particles first; all else from the optics.
PARTICLES_FIRST = {
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnPhaseShift",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
}
_FLAGS = {
    "rlnVoltage": "--voltage",
    "rlnSphericalAberration": "--spherical-aberration",
    "rlnAmplitudeContrast": "--amplitude-contrast",
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

    @property
    def particles(self) -> Table:
        """The particle table."""
        return self.tables[self.block]

    @property
    def optics(self) -> Table:
        """The optics table, one without columns where the file has none."""
        return self.tables[OPTICS_BLOCK] if self.groups is not None else Table()

    def _table_with(self, column: object) -> Table | None:
        order = (self.optics, self.particles)
        if column in PARTICLES_FIRST:
            order = (self.particles, self.optics)
        return next((table for table in order if column in table), None)

    def numbers(self, column: str) -> np.ndarray:
        """Return (n,) float64, one finite number a particle, from the table whose value counts, as in RELION."""
        table = self._table_with(column)
        if table is None:
            raise InputError(f"{self.path}: the column {column} is missing; {self._advice(column)}")
        return self.per_particle(parse_numbers(table[column], column, self.path), table)

    def texts(self, column: str) -> tuple[list[str], np.ndarray]:
        """Return the cells of a column that one of the tables has, and which of them each particle has (n,)."""
        table = self._table_with(column) or Table()
        return table.text(column), self.per_particle(np.arange(len(table)), table)

    def per_particle(self, values: np.ndarray, table: Table) -> np.ndarray:
        """Return the values of a table's rows for each particle."""
        return values if table is self.particles or self.groups is None else values[self.groups]

    def _advice(self, column: str) -> str:
        """Say how a missing column may be given."""
        flag = f", or give {_FLAGS[column]}" if column in _FLAGS else ""
        if self.groups is None and "rlnOpticsGroup" in self.particles:
            return (
                f"the particles name optics groups, but the table data_{OPTICS_BLOCK} is missing or empty: add it{flag}"
            )
        return f"add it to the file{flag}"

    def contradictions(self) -> list[str]:
        """Say which columns stand in both tables with other values, and which of the two counts."""
        found = []
        groups = [] if self.groups is None else self.groups.tolist()
        for column in self.optics.columns:
            if column not in self.particles or column == "rlnOpticsGroup":
                continue
            ours = self.particles.text(column)
            of_groups = self.optics.text(column)
            theirs = [of_groups[row] for row in groups]
            differs = next((row for row, pair in enumerate(zip(ours, theirs, strict=True)) if _differ(*pair)), None)
            if differs is not None:
                values = f"{ours[differs]} in data_{self.block}, {theirs[differs]} in data_{OPTICS_BLOCK}"
                counts = self.block if column in PARTICLES_FIRST else OPTICS_BLOCK
                found.append(f"{column} contradicts itself ({values}): data_{counts} counts, as in RELION")
        return found


def _differ(a: str, b: str) -> bool:
    x, y = _number_or_nan(a), _number_or_nan(b)
    return a != b if np.isnan(x) or np.isnan(y) else abs(x - y) > _SAME * max(abs(x), abs(y))


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
    block = _find_particle_block(path, tables, needs_images=needs_images)
    particles = tables[block]
    if not len(particles):
        raise InputError(f"{path}: the table data_{block} has no rows, so there are no particles")
    if not len(tables.get(OPTICS_BLOCK, ())) or block == OPTICS_BLOCK:
        return Metadata(path, tables, block, None)
    return Metadata(path, tables, block, _optics_rows(path, tables[OPTICS_BLOCK], particles))


def _find_particle_block(path: Path, tables: Mapping[str, Table], *, needs_images: bool) -> str:
    for columns in ((PARTICLE_COLUMN,),) if needs_images else ((PARTICLE_COLUMN,), ANGLE_COLUMNS):
        found = [name for name, table in tables.items() if all(column in table for column in columns)]
        if "particles" in found or len(found) == 1:
            block = "particles" if "particles" in found else found[0]
            require_single_particles(path, tables, block)
            return block
        if found:
            names = ", ".join(f"data_{name}" for name in found)
            raise InputError(f"{path}: several tables have the column {columns[0]} ({names}); keep one particle table")
    wanted = PARTICLE_COLUMN if needs_images else f"{PARTICLE_COLUMN} or the three columns of angles"
    raise InputError(f"{path}: not a particle file but {describe_tables(tables)}: no table has {wanted}")


def _optics_rows(path: Path, optics: Table, particles: Table) -> np.ndarray:
    column = "rlnOpticsGroup"
    if column not in particles:
        if len(optics) == 1:
            return np.zeros(len(particles), dtype=np.int64)
        raise InputError(f"{path}: {len(optics)} optics groups, but the particles have no column {column}; add it")
    if column not in optics:
        raise InputError(f"{path}: the table data_{OPTICS_BLOCK} has no column {column}; add it")
    names = [_group_name(cell) for cell in optics[column]]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: data_{OPTICS_BLOCK} has several rows of optics group {twice}; renumber them")
    row_of = {name: row for row, name in enumerate(names)}
    name_of = {cell: _group_name(cell) for cell in set(particles[column])}
    cells = [name_of[cell] for cell in particles[column]]
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
        values = np.array([np.nan])
    if not np.isfinite(values).all() or not _is_plain("".join(cells)):
        values = np.array([_number_or_nan(unquote(cell)) for cell in cells])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{path}: row {row + 1}: {column} must be a finite number, got {cells[row]!r}; correct it")
    return values


def _is_plain(text: str) -> bool:
    """Say whether no character is one that Python takes for part of a number and RELION does not: 17_000, ١٧."""
    return text.isascii() and "_" not in text


def _number_or_nan(text: str) -> float:
    try:
        return float(text) if _is_plain(text) else float("nan")
    except ValueError:
        return float("nan")


def find_pixel_sizes(metadata: Metadata) -> np.ndarray | None:
    """Return the pixel size (n,) of each particle's image in Å, or None where the file does not say it."""
    column = next((name for name in ("rlnImagePixelSize", "rlnPixelSize") if name in metadata), None)
    by_magnification = _pixel_sizes_by_magnification(metadata)
    if column is not None:
        sizes = metadata.numbers(column)
        if column == "rlnPixelSize" and by_magnification is not None:
            _require_same_pixel_size(metadata.path, sizes, by_magnification)
    elif by_magnification is not None:
        column, sizes = "rlnDetectorPixelSize / rlnMagnification", by_magnification
    else:
        return None
    if (sizes <= 0).any():
        raise InputError(
            f"{metadata.path}: the pixel size ({column}) must be positive, got {sizes.min():g}; correct it"
        )
    return sizes


def _pixel_sizes_by_magnification(metadata: Metadata) -> np.ndarray | None:
    if "rlnDetectorPixelSize" not in metadata or "rlnMagnification" not in metadata:
        return None
    # The detector's pixels are in µm (1 µm = 10,000 Å); six digits undo the rounding of the magnification.
    magnification = metadata.numbers("rlnMagnification")
    ratio = 1e4 * metadata.numbers("rlnDetectorPixelSize") / np.where(magnification == 0, np.inf, magnification)
    found, places = np.unique(ratio, return_inverse=True)
    return np.array([float(f"{value:.6g}") for value in found])[places]


def _require_same_pixel_size(path: Path, stated: np.ndarray, by_magnification: np.ndarray) -> None:
    wrong = np.abs(stated - by_magnification) > 0.01 * np.abs(stated)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}: row {row + 1}: rlnPixelSize says {stated[row]:g} Å, rlnDetectorPixelSize / rlnMagnification "
            f"{by_magnification[row]:g} Å (which RELION takes); correct the wrong one, or give --pixel-size"
        )


def require_one_pixel_size(metadata: Metadata, pixel_size: float) -> None:
    """Refuse a pixel size for all where the file says several: images of some groups would be taken for others'."""
    try:
        stated = find_pixel_sizes(metadata)
    except InputError:  # what is given in its place is the way out
        return
    if stated is not None and np.ptp(stated) > _SAME * stated.max():
        found = ", ".join(f"{value:g}" for value in np.unique(stated)[:5])
        raise InputError(
            f"{metadata.path}: --pixel-size {pixel_size:g} cannot replace pixel sizes of {found} Å; correct "
            "rlnImagePixelSize of each optics group in the file"
        )


def find_box_sizes(metadata: Metadata) -> np.ndarray | None:
    """Return the side (n,) of each particle's image in pixels, or None where the file does not say it."""
    if "rlnImageSize" not in metadata:
        return None
    sizes = metadata.numbers("rlnImageSize")
    bad = (sizes < 1) | (sizes > _LARGEST_BOX) | (sizes != np.rint(sizes))
    if bad.any():
        raise InputError(f"{metadata.path}: rlnImageSize must be a number of pixels, got {sizes[bad][0]:g}; correct it")
    return sizes.astype(np.int64)


def shared_value(path: Path, name: str, values: np.ndarray) -> float:
    """Return the value that all particles have.

    Raises
    ------
    InputError
        They differ; the message names the values.
    """
    if np.ptp(values) > _SAME * np.abs(values).max():
        found = ", ".join(f"{value:g}" for value in np.unique(values)[:5])
        raise InputError(
            f"{path}: all particles must have the same {name}, but there are {found}; "
            "split the file, or rescale the images as reconstruct does by itself"
        )
    return float(values[0])


def find_rotations(metadata: Metadata, dtype: torch.dtype) -> Tensor | None:
    """Return the rotation matrices A (n, 3, 3), or None where an angle is missing (2-D classes have only psi)."""
    if not all(column in metadata for column in ANGLE_COLUMNS):
        return None
    angles = np.stack([metadata.numbers(column) for column in ANGLE_COLUMNS], axis=1)
    return matrix_from_euler(torch.from_numpy(angles)).to(dtype)


def with_pixel_size(metadata: Metadata, pixel_size: float) -> Metadata:
    """Return tables that say this pixel size (Å) wherever they say one; or else anew."""
    tables, said = dict(metadata.tables), False
    for name in {metadata.block, OPTICS_BLOCK} & set(tables):
        table, columns = tables[name], dict[str, list[str]]()
        for column in ("rlnImagePixelSize", "rlnPixelSize"):
            if column in table:
                columns[column] = [f"{pixel_size:.6f}"] * len(table)
        if "rlnMagnification" in table and "rlnDetectorPixelSize" in table:
            # The detector's pixels are in µm (1 µm = 10,000 Å); the magnification stays.
            magnification = parse_numbers(table["rlnMagnification"], "rlnMagnification", metadata.path)
            columns["rlnDetectorPixelSize"] = [f"{pixel_size * value / 1e4:.6f}" for value in magnification.tolist()]
        said = said or bool(columns)
        tables[name] = table.with_columns(columns)
    if not said:
        where = metadata.block if metadata.groups is None else OPTICS_BLOCK
        tables[where] = tables[where].with_columns({"rlnImagePixelSize": [f"{pixel_size:.6f}"] * len(tables[where])})
    return replace(metadata, tables=tables)


def find_shifts(metadata: Metadata, pixel_sizes: np.ndarray | None, dtype: torch.dtype) -> Tensor | None:
    """Return rlnOriginX/YAngst (n, 2) in Å, or None where the file has no origins.

    RELION 3.0's rlnOriginX/Y are in pixels and need ``pixel_sizes`` (n,).
    """
    if any(column in metadata for column in ORIGIN_COLUMNS):
        columns, unit = ORIGIN_COLUMNS, np.ones(len(metadata))
    elif any(column in metadata for column in ORIGIN_PIXEL_COLUMNS):
        if pixel_sizes is None:
            raise InputError(
                f"{metadata.path}: rlnOriginX/Y are in pixels, but the pixel size is missing; give --pixel-size"
            )
        columns, unit = ORIGIN_PIXEL_COLUMNS, pixel_sizes
    else:
        return None
    origins = np.stack([metadata.numbers(column) for column in columns], axis=1)
    return torch.from_numpy(origins * unit[:, None]).to(dtype)


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
