"""Particle sets as cryoSPARC records, with every column they have; and records as further columns of a STAR file.

The fields that cryoSPARC needs are made from poses, optics and image names. What it has no field for is kept: a STAR
column ``rlnNAME`` as the field ``rln/NAME``, a field ``group/name`` as the STAR column ``cs/group/name``, with
``[i]`` for the i-th of several numbers. A round trip loses nothing, and rows keep their order.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resmfn.core import InputError, atomic_write
from resmfn.data.cryosparc.records import (
    B_FACTOR_FIELD,
    EXPOSURE_FIELD,
    MAGNIFICATION_FIELD,
    OPTICS_FIELDS,
    PARTICLE_FIELDS,
    POSE_GROUP,
    RELION_GROUP,
    SCALE_FIELD,
    SHIFT_FIELD,
    TILT_FIELD,
    WITHIN,
    column_text,
    records_of,
    texts_of,
)
from resmfn.data.particles.locations import split_names
from resmfn.data.star.metadata import ANGLE_COLUMNS, ORIGIN_COLUMNS, SUBSET_COLUMN, parse_numbers
from resmfn.data.star.optics import MAGNIFICATION_COLUMNS, MICROSCOPE_COLUMNS, SCALE_COLUMN, TILT_COLUMNS
from resmfn.data.star.tables import PARTICLE_COLUMN, Table
from resmfn.rotations.exponential import log_so3

if TYPE_CHECKING:
    from resmfn.data.particles.particle_set import ParticleSet

CS_GROUP = "cs/"
_INDEXED = re.compile(r"(.+)\[(\d+(?:,\d+)*)\]")
#: Of cells one a line: what Python takes for a number, and would come back as another text or another value.
_NO_NUMBER = re.compile(r"[^!-~\n]|_|^[+-]?0\d+$", re.MULTILINE)
#: Ends of the names of columns and fields that hold names, however much these look like numbers.
_NAMES = ("Name", "path", "type")
_WHOLE = re.compile(r"[+-]?\d{1,20}")
SPLIT_FIELD = f"{POSE_GROUP}/split"
#: Columns that a field says in full, where it is written.
_SAID_BY = {
    PARTICLE_COLUMN: "blob/path",
    "rlnImageSize": "blob/shape",
    SUBSET_COLUMN: SPLIT_FIELD,
    **{column: field for column, (field, _) in PARTICLE_FIELDS.items()},
    **OPTICS_FIELDS,
    **dict.fromkeys(ANGLE_COLUMNS, f"{POSE_GROUP}/pose"),
    **dict.fromkeys(ORIGIN_COLUMNS, f"{POSE_GROUP}/shift"),
}
#: Fields that cryoSPARC expects beside those that have a column, and what stands in them when nothing is known.
_NEUTRAL: dict[str, tuple[str, tuple[int, ...], float]] = {
    "blob/import_sig": ("<u8", (), 0),
    "ctf/scale": ("<f4", (), 1),
    "ctf/scale_const": ("<f4", (), 0),
    "ctf/shift_A": ("<f4", (2,), 0),
    "ctf/tilt_A": ("<f4", (2,), 0),
    "ctf/trefoil_A": ("<f4", (2,), 0),
    "ctf/tetra_A": ("<f4", (4,), 0),
    "ctf/anisomag": ("<f4", (4,), 0),
}


def write_cs(path: Path, particles: ParticleSet) -> None:
    """Write particles as a ``.cs`` file (a numpy array of records), atomically."""
    with np.errstate(over="ignore", invalid="ignore"):  # what single precision cannot hold becomes infinite
        records = particle_records(particles)
    write_records(path, records)


def write_records(path: Path, records: np.ndarray) -> None:
    """Write records (n,) as a ``.cs`` file, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that many or foreign field names need the format of NumPy 1.17
        np.lib.format.write_array(file, records, allow_pickle=False)


def particle_records(particles: ParticleSet) -> np.ndarray:
    """Return the records (n,) of particles: those they were read with, brought up to date, or new ones."""
    fields = known_fields(particles)
    n = len(particles)
    made: dict[str, np.ndarray] = {}
    if "uid" not in fields:
        made["uid"] = np.array([_uid(row, cell) for row, cell in enumerate(_names(particles))], dtype="<u8")
    if PARTICLE_COLUMN in particles.table and "blob/path" not in fields:
        made |= _image_fields(particles)
    elif "blob/path" in fields and particles.pixel_sizes is not None:
        made["blob/psize_A"] = particles.pixel_sizes.astype("<f4")
    made |= _group_fields(particles, fields)
    made |= _ctf_fields(particles, fields)
    made |= _pose_fields(particles, fields)
    for name, (kind, shape, value) in _NEUTRAL.items():
        if name not in fields and (name.startswith("blob/") or particles.optics is not None):
            made[name] = np.full((n, *shape), value, dtype=kind)
    said = {*made, *(name for name in fields if name.startswith("blob/"))}
    ordered = {"uid": made.pop("uid", fields.get("uid", np.zeros(0)))}
    return records_of({**ordered, **fields, **made, **_kept_columns(particles, said)})


def known_fields(particles: ParticleSet) -> dict[str, np.ndarray]:
    """Return the fields that particles came with from cryoSPARC, without those of images that they no longer name.

    RELION's jobs that write new images (Extract, Polish, Subtract) keep columns that they do not know as they were.
    """
    fields = _restored(particles.table)
    if particles.records is not None:
        fields |= {name: particles.records[name] for name in particles.records.dtype.names or ()}
    if _are_of_its_images(fields, particles):
        return fields
    return {name: field for name, field in fields.items() if name != EXPOSURE_FIELD and not name.startswith("blob/")}


def _are_of_its_images(fields: dict[str, np.ndarray], particles: ParticleSet) -> bool:
    """Say whether path, index and box in these fields are those of the images that the particles name."""
    if "blob/path" not in fields or PARTICLE_COLUMN not in particles.table:
        return True
    numbers, stack_of, first_row = split_names(particles.path, _names(particles))
    if "blob/idx" not in fields or (fields["blob/idx"] != numbers - 1).any():
        return False
    sides = fields["blob/shape"].reshape(len(numbers), -1)[:, 0] if "blob/shape" in fields else None
    if sides is not None and particles.box_sizes is not None and (sides != particles.box_sizes).any():
        return False
    # A stack may be linked as .mrcs, which RELION wants, and be called .mrc in cryoSPARC.
    stacks = [name.removesuffix("s") for name in first_row]
    paths = [name.removeprefix(WITHIN).removesuffix("s") for name in texts_of(fields["blob/path"])]
    return all(stacks[stack] == path for stack, path in zip(stack_of.tolist(), paths, strict=True))


def _names(particles: ParticleSet) -> Sequence[str]:
    table = particles.table
    return table.text(PARTICLE_COLUMN) if PARTICLE_COLUMN in table else [""] * len(table)


def _uid(row: int, name: str) -> int:
    """Return a number for a particle that is the same whenever the same file is converted."""
    digest = hashlib.blake2b(f"{row} {name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _image_fields(particles: ParticleSet) -> dict[str, np.ndarray]:
    numbers, stack_of, first_row = split_names(particles.path, _names(particles))
    wrong = (numbers < 1) | (numbers > 2**32)
    if wrong.any():
        raise InputError(f"{particles.path}: row {wrong.argmax() + 1}: there is no image {numbers[wrong.argmax()]}")
    stacks = np.array([name.encode("utf-8", "surrogateescape") for name in first_row])
    fields = {
        "blob/path": stacks[stack_of],
        "blob/idx": (numbers - 1).astype("<u4"),
        "blob/sign": np.ones(len(numbers), dtype="<f4"),
    }
    if particles.box_sizes is not None:
        fields["blob/shape"] = np.repeat(particles.box_sizes[:, None], 2, axis=1).astype("<u4")
    if particles.pixel_sizes is not None:
        fields["blob/psize_A"] = particles.pixel_sizes.astype("<f4")
    return fields


def _group_fields(particles: ParticleSet, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the half sets and the exposure group of each particle, which need neither poses nor a CTF."""
    table, n, fields = particles.table, len(particles), dict[str, np.ndarray]()
    if SUBSET_COLUMN in table:
        halves = parse_numbers(table[SUBSET_COLUMN], SUBSET_COLUMN, particles.path)
        if np.isin(halves, (1, 2)).all():
            fields[SPLIT_FIELD] = (halves - 1).astype("<u4")
    in_groups = "rlnOpticsGroup" in table
    if EXPOSURE_FIELD not in known and (in_groups or particles.optics is not None):
        numbers = (
            _typed(table.text("rlnOpticsGroup"), "rlnOpticsGroup", single=False) if in_groups else np.ones(n, "<u4")
        )
        rows = np.zeros(n) if particles.groups is None else particles.groups
        fields[EXPOSURE_FIELD] = (numbers if numbers.dtype == "<u4" else rows + 1).astype("<u4")
    return fields


def _ctf_fields(particles: ParticleSet, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the fields of the CTF; of images without defocus, what is known of the microscope."""
    optics, metadata = particles.optics, particles.metadata
    if optics is None:
        columns = [column for column in MICROSCOPE_COLUMNS.values() if column in metadata]
        return {OPTICS_FIELDS[column]: metadata.numbers(column).astype("<f4") for column in columns}
    values = {
        "ctf/accel_kv": optics.voltage,
        "ctf/cs_mm": optics.spherical_aberration,
        "ctf/amp_contrast": optics.amplitude_contrast,
        "ctf/df1_A": optics.defocus_u,
        "ctf/df2_A": optics.defocus_v,
        "ctf/df_angle_rad": optics.defocus_angle.deg2rad(),
        "ctf/phase_shift_rad": optics.phase_shift.deg2rad(),
        B_FACTOR_FIELD: optics.b_factor,
    }
    fields = _aberration_fields(particles)
    fields |= {name: value.cpu().numpy().astype("<f4") for name, value in values.items()}
    if "ctf/type" not in known:
        fields["ctf/type"] = np.full(len(particles), b"imported", dtype="S8")
    return fields


def _aberration_fields(particles: ParticleSet) -> dict[str, np.ndarray]:
    """Return scale, beam tilt and magnification; cryoSPARC has no fields for other aberrations of RELION's."""
    metadata, fields = particles.metadata, {}
    if SCALE_COLUMN in metadata:
        fields[SCALE_FIELD] = metadata.numbers(SCALE_COLUMN)
    if any(column in metadata for column in TILT_COLUMNS):
        given = [metadata.numbers(c) if c in metadata else np.zeros(len(metadata)) for c in TILT_COLUMNS]
        aberration = 1e4 * metadata.numbers("rlnSphericalAberration")[:, None]  # mm to Å, mrad to rad
        fields[TILT_FIELD] = np.stack(given, axis=1) * aberration
    if all(column in metadata for column in MAGNIFICATION_COLUMNS):
        matrix = np.stack([metadata.numbers(column) for column in MAGNIFICATION_COLUMNS], axis=1)
        fields[MAGNIFICATION_FIELD] = matrix - np.array([1.0, 0.0, 0.0, 1.0])
    return {name: values.astype("<f4") for name, values in fields.items()}


def _pose_fields(particles: ParticleSet, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if particles.rotations is None:
        return {}
    if particles.pixel_sizes is None:
        raise InputError(
            f"{particles.path}: cryoSPARC's shifts are in pixels, but the pixel size is missing; give --pixel-size"
        )
    rotations, shifts = particles.require_poses()
    pixel_sizes = particles.pixel_sizes[:, None]
    beam_shift = known[SHIFT_FIELD].astype(np.float64) if SHIFT_FIELD in known else 0.0
    return {
        f"{POSE_GROUP}/pose": log_so3(rotations.cpu().double().mT).numpy().astype("<f4"),
        f"{POSE_GROUP}/shift": ((shifts.cpu().double().numpy() + beam_shift) / pixel_sizes).astype("<f4"),
        f"{POSE_GROUP}/psize_A": particles.pixel_sizes.astype("<f4"),
    }


def _kept_columns(particles: ParticleSet, said: set[str]) -> dict[str, np.ndarray]:
    """Return the columns that none of these fields says, those of the optics table once for each particle."""
    kept: dict[str, np.ndarray] = {}
    in_full = {column for column, field in _SAID_BY.items() if field in said} | {"rlnImageDimensionality"}
    if particles.records is not None:
        in_full.add("rlnOpticsGroup")  # counted from exposure groups, or one of the records' own fields
    if SUBSET_COLUMN in particles.table and {"1", "2"} != set(particles.table.text(SUBSET_COLUMN)):
        in_full.discard(SUBSET_COLUMN)  # a split of one value says that there are no halves
    optics, groups = particles.optics_table, particles.groups
    tables: list[tuple[Table, np.ndarray | None]] = [(particles.table, None)]
    if optics is not None and groups is not None and particles.records is None:
        tables.append((optics, groups))
    for table, rows in tables:
        for column in table.columns:
            if column in in_full or column.startswith(CS_GROUP):
                continue
            values = _typed(table.text(column), column, single=False)
            kept.setdefault(RELION_GROUP + column.removeprefix("rln"), values if rows is None else values[rows])
    return kept


def _typed(texts: Sequence[str], name: str, *, single: bool) -> np.ndarray:
    """Return the texts of a column as whole numbers, as real numbers, or as bytes: the first that all of them are."""
    if name.endswith(_NAMES) or _NO_NUMBER.search("\n".join(texts)):
        return _as_bytes(texts)
    if all(map(_WHOLE.fullmatch, texts)):
        numbers = [int(text) for text in texts]
        lowest, highest = min(numbers, default=0), max(numbers, default=0)
        for kind in ("<u4", "<u8", "<i8"):
            if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
                return np.array(numbers, dtype=kind)
    try:
        return np.array(texts, dtype=np.str_).astype("<f4" if single else "<f8")
    except ValueError:
        return _as_bytes(texts)


def _as_bytes(texts: Sequence[str]) -> np.ndarray:
    return np.array([text.encode("utf-8", "surrogateescape") for text in texts])


def _restored(table: Table) -> dict[str, np.ndarray]:
    """Return the fields that a STAR file made from records keeps as its columns ``cs/...``."""
    parts: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for column in table.columns:
        if column.startswith(CS_GROUP):
            name, index = column.removeprefix(CS_GROUP), tuple[int, ...]()
            if found := _INDEXED.fullmatch(name):
                name, index = found[1], tuple(int(part) for part in found[2].split(","))
            parts.setdefault(name, {})[index] = _typed(table.text(column), name, single=True)
    fields = {}
    for name, values in parts.items():
        sides = tuple(max(index[axis] for index in values) + 1 for axis in range(len(next(iter(values)))))
        if list(values) != list(np.ndindex(sides)):
            continue  # somebody took a part of it away: it cannot be put together
        kind = np.result_type(*values.values())
        fields[name] = np.stack(list(values.values()), axis=1).reshape(len(table), *sides).astype(kind)
    return fields


def star_tables(particles: ParticleSet) -> dict[str, Table]:
    """Return the tables of a STAR file for particles: as they were read, and the fields of their records besides."""
    if particles.records is None:
        return particles.tables
    columns: dict[str, list[str]] = {}
    for name in particles.records.dtype.names or ():
        values = particles.records[name]
        if name.startswith(RELION_GROUP):
            continue
        for index in np.ndindex(values.shape[1:]):
            mark = f"[{','.join(map(str, index))}]" if index else ""
            columns[f"{CS_GROUP}{name}{mark}"] = column_text(values[(slice(None), *index)])
    return {**particles.tables, particles.block: particles.table.with_columns(columns)}
