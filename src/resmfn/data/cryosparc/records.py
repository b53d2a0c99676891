"""cryoSPARC's ``.cs`` files: one record per particle, read into the tables that a STAR file would hold.

A ``.cs`` file is a numpy array of records (or the container of :mod:`resmfn.data.cryosparc.csdat`). Fields are named
``group/name``; several files of one job are joined by ``uid``. Its conventions, in ours (docs/data.md has the sources):

- ``alignments3D/pose`` is an axis times an angle in radians; A is the transpose of that rotation;
- ``alignments3D/shift`` is in pixels of ``alignments3D/psize_A``, and has the sign of rlnOriginX/YAngst;
- ``ctf/df1_A``, ``df2_A`` are rlnDefocusU, V; ``df_angle_rad`` and ``phase_shift_rad`` are in radians;
- ``blob/idx`` counts images from 0; a ``>`` before ``blob/path`` marks a path within an exported group;
- ``blob/sign`` is -1 where the molecule is dark;
- ``ctf/tilt_A`` is Cs times rlnBeamTiltX and Y; ``ctf/anisomag`` is rlnMagMat less the identity; ``ctf/scale`` and
  ``ctf/bfactor`` are rlnCtfScalefactor and rlnCtfBfactor; ``ctf/shift_A`` is to be taken from rlnOriginX/YAngst.

Fields ``rln/NAME`` hold columns of a STAR file that was converted; they become columns again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from resmfn.core import InputError
from resmfn.data.cryosparc.csdat import CSDAT_MAGIC, read_csdat
from resmfn.data.npy import read_npy_header
from resmfn.data.star.tables import PARTICLE_COLUMN, Table, quote
from resmfn.rotations.convert import euler_from_matrix
from resmfn.rotations.exponential import exp_so3

RELION_GROUP = "rln/"
POSE_GROUP = "alignments3D"
EXPOSURE_FIELD = "ctf/exp_group_id"
WITHIN = ">"
"""Before a path that starts from the folder of an exported group."""
#: Column -> its field, and the factor from the field's unit to the column's.
PARTICLE_FIELDS = {
    "rlnDefocusU": ("ctf/df1_A", 1.0),
    "rlnDefocusV": ("ctf/df2_A", 1.0),
    "rlnDefocusAngle": ("ctf/df_angle_rad", 180 / np.pi),
    "rlnPhaseShift": ("ctf/phase_shift_rad", 180 / np.pi),
}
OPTICS_FIELDS = {
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
    "rlnImagePixelSize": "blob/psize_A",
}


#: Columns that RELION reads in the optics table only; of a converted STAR file they are kept as text in ``rln/NAME``.
_KEPT_OPTICS = (
    *("OpticsGroup", "OpticsGroupName", "MicrographOriginalPixelSize"),
    *("BeamTiltX", "BeamTiltY", "OddZernike", "EvenZernike", "MagMat00", "MagMat01", "MagMat10", "MagMat11"),
    *("CtfDataAreCtfPremultiplied", "CtfDataArePhaseFlipped", "CtfDataAreCtfCorrected", "MtfFileName"),
)
TILT_FIELD, MAGNIFICATION_FIELD, SHIFT_FIELD = "ctf/tilt_A", "ctf/anisomag", "ctf/shift_A"
PIXEL_FIELD, SCALE_FIELD, B_FACTOR_FIELD = "blob/psize_A", "ctf/scale", "ctf/bfactor"


def read_records(path: Path, passthrough: Path | None = None) -> np.ndarray:
    """Return the records (n,) of a ``.cs`` file, joined with those of its passthrough file.

    Parameters
    ----------
    path
        The file.
    passthrough
        The file that has the fields it lacks; without one, ``*passthrough*.cs`` beside it are tried if the file
        lacks images or their CTF.

    Raises
    ------
    InputError
        A file is damaged or holds no records, or the passthrough file lacks some of the particles.
    """
    records = _read_one(path)
    if passthrough is not None:
        return _merge(records, _read_one(passthrough), path, passthrough)
    names = records.dtype.names or ()
    if "uid" in names and not {"blob/path", "ctf/df1_A"} <= set(names):
        for candidate in sorted(path.parent.glob("*passthrough*.cs")):
            other = _read_one(candidate) if candidate != path else records[:0]
            if "uid" in (other.dtype.names or ()) and np.isin(records["uid"], other["uid"]).all():
                records = _merge(records, other, path, candidate)
    return records


def _read_one(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        if file.read(len(CSDAT_MAGIC)) == CSDAT_MAGIC:
            return read_csdat(path)
    header = read_npy_header(path)
    if header.dtype.names is None or len(header.shape) != 1:
        raise InputError(
            f"{path}: not a particle file but an array of shape {header.shape} of {str(header.dtype)[:40]}; a .cs file "
            "has one record for each particle; for the published layout, give the folder"
        )
    with path.open("rb") as file:
        file.seek(header.data_offset)
        return np.fromfile(file, dtype=header.dtype, count=header.shape[0])


def _merge(records: np.ndarray, extra: np.ndarray, path: Path, extra_path: Path) -> np.ndarray:
    """Return records with the fields that only the other file has, row for row by uid."""
    for file, table in ((path, records), (extra_path, extra)):
        if "uid" not in (table.dtype.names or ()):
            raise InputError(f"{file}: there is no field uid to join the files by")
    order = np.argsort(extra["uid"], kind="stable")
    place = np.searchsorted(extra["uid"][order], records["uid"])
    found = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(records), dtype=np.int64)
    missing = ~np.isin(records["uid"], extra["uid"])
    if missing.any():
        raise InputError(f"{extra_path}: {int(missing.sum())} of the {len(records)} particles of {path} are not in it")
    fields = {name: records[name] for name in records.dtype.names or ()}
    fields |= {name: extra[name][found] for name in extra.dtype.names or () if name not in fields}
    return records_of(fields)


def records_of(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Return records (n,) with these fields, each (n, ...)."""
    dtype = np.dtype([(name, values.dtype, values.shape[1:]) for name, values in fields.items()])
    records = np.zeros(len(next(iter(fields.values()))), dtype=dtype)
    for name, values in fields.items():
        records[name] = values
    return records


def with_pixel_size(path: Path, records: np.ndarray, pixel_size: float) -> np.ndarray:
    """Return records whose images have this pixel size (Å), and whose alignments keep the ratio to it that they had.

    Records of several pixel sizes come back as they are: one cannot replace them.
    """
    fields = {name: records[name] for name in records.dtype.names or ()}
    stated = _numbers(path, records, PIXEL_FIELD) if PIXEL_FIELD in fields else np.full(len(records), pixel_size)
    if np.ptp(stated) > 1e-4 * stated.max():
        return records
    for name in fields:
        if name.startswith("alignments") and name.endswith("/psize_A"):
            ratio = _numbers(path, records, name) / np.where(stated > 0, stated, np.inf)
            sizes = pixel_size * np.where(ratio > 0, ratio, 1)
            fields[name] = sizes.astype("<f4")
    return records_of({**fields, PIXEL_FIELD: np.full(len(records), pixel_size, dtype="<f4")})


def tables_from_records(path: Path, records: np.ndarray) -> dict[str, Table]:
    """Return the tables ``optics`` and ``particles`` that say what the records say, in RELION's columns."""
    names = set(records.dtype.names or ())
    columns: dict[str, list[str]] = {}
    if {"blob/path", "blob/idx"} <= names:
        paths = [text.removeprefix(WITHIN) for text in texts_of(records["blob/path"])]
        numbers = _numbers(path, records, "blob/idx") + 1
        columns[PARTICLE_COLUMN] = [
            quote(f"{number:06.0f}@{name}") for number, name in zip(numbers.tolist(), paths, strict=True)
        ]
    for column, (field, factor) in PARTICLE_FIELDS.items():
        if field in names:
            columns[column] = _cells(_numbers(path, records, field) * factor)
    for column, field, neutral in (("rlnCtfScalefactor", SCALE_FIELD, 1), ("rlnCtfBfactor", B_FACTOR_FIELD, 0)):
        if field in names and bool((_numbers(path, records, field) != neutral).any()):
            columns[column] = _cells(_numbers(path, records, field))
    columns |= _pose_columns(path, records)
    optics, group = _optics_table(path, records)
    for name in records.dtype.names or ():
        if name.startswith(RELION_GROUP) and records[name].ndim == 1:
            column = "rln" + name.removeprefix(RELION_GROUP)
            if column not in optics:
                columns.setdefault(column, column_text(records[name]))
    if not {PARTICLE_COLUMN, "rlnAngleRot"} & set(columns):
        found = ", ".join(sorted({name.split("/")[0] for name in names}))
        raise InputError(
            f"{path}: the cryoSPARC file has no particle images (blob/path) and no poses, only {found[:80]}; give the "
            "file of particles, or with --passthrough the one that has the rest"
        )
    columns["rlnOpticsGroup"] = [optics["rlnOpticsGroup"][row] for row in group.tolist()]
    return {"optics": optics, "particles": Table(columns, version="30001")}


def _optics_table(path: Path, records: np.ndarray) -> tuple[Table, np.ndarray]:
    """Return the table of distinct optics, and which of its rows each particle has (n,)."""
    names = records.dtype.names or ()
    columns = {column: _numbers(path, records, field) for column, field in OPTICS_FIELDS.items() if field in names}
    if "blob/shape" in names:
        columns["rlnImageSize"] = _numbers(path, records, "blob/shape").reshape(len(records), -1)[:, 0]
    columns |= _aberration_columns(path, records)
    texts = {
        f"rln{name}": column_text(records[RELION_GROUP + name])
        for name in _KEPT_OPTICS
        if RELION_GROUP + name in names and f"rln{name}" not in columns and records[RELION_GROUP + name].ndim == 1
    }
    keys = [_numbers(path, records, EXPOSURE_FIELD)] if EXPOSURE_FIELD in names else [np.zeros(len(records))]
    codes = [np.unique(cells, return_inverse=True)[1].reshape(-1) for cells in texts.values()]
    distinct, first, group = np.unique(
        np.stack([*keys, *columns.values(), *codes], axis=1), axis=0, return_index=True, return_inverse=True
    )
    count = range(1, len(distinct) + 1)
    kept = {column: [text[row] for row in first.tolist()] for column, text in texts.items()}
    cells = {
        "rlnOpticsGroup": [str(number) for number in count],
        "rlnOpticsGroupName": [
            f"opticsGroup{number}_exposure{row[0]:.0f}" for number, row in zip(count, distinct, strict=True)
        ],
    }
    # Groups that cryoSPARC has divided since share number and name: they are numbered and named anew.
    cells |= {column: kept.pop(column) for column in list(cells) if len(set(kept.get(column, ()))) == len(distinct)}
    cells |= {column: _cells(distinct[:, i]) for i, column in enumerate(columns, start=1)}
    cells |= {column: text for column, text in kept.items() if column not in cells}
    cells["rlnImageDimensionality"] = ["2"] * len(distinct)
    return Table(cells, version="30001"), group.reshape(-1)


def _aberration_columns(path: Path, records: np.ndarray) -> dict[str, np.ndarray]:
    """Return beam tilt and magnification matrix in RELION's columns, where there are any."""
    names = records.dtype.names or ()
    columns: dict[str, np.ndarray] = {}
    if TILT_FIELD in names and _numbers(path, records, TILT_FIELD).any():
        tilt = _of_width(path, records, TILT_FIELD, 2)
        aberration = _numbers(path, records, "ctf/cs_mm")[:, None] if "ctf/cs_mm" in names else np.zeros((1, 1))
        if not aberration.all():
            raise InputError(
                f"{path}: {TILT_FIELD} is Cs times the beam tilt, but ctf/cs_mm is 0 or missing; correct it"
            )
        mrad = tilt / (1e4 * aberration)  # mm to Å, rad to mrad
        columns["rlnBeamTiltX"], columns["rlnBeamTiltY"] = mrad[:, 0], mrad[:, 1]
    if MAGNIFICATION_FIELD in names and _numbers(path, records, MAGNIFICATION_FIELD).any():
        matrix = _of_width(path, records, MAGNIFICATION_FIELD, 4) + np.array([1.0, 0.0, 0.0, 1.0])
        columns |= {f"rlnMagMat{i // 2}{i % 2}": matrix[:, i] for i in range(4)}
    return columns


def _of_width(path: Path, records: np.ndarray, field: str, width: int) -> np.ndarray:
    values = _numbers(path, records, field)
    if values.shape != (len(records), width):
        raise InputError(f"{path}: {field} must have {width} numbers a particle, got shape {values.shape[1:]}")
    return values


def _pose_columns(path: Path, records: np.ndarray) -> dict[str, list[str]]:
    names = set(records.dtype.names or ())
    single_class = "alignments_class_0" if "alignments_class_1/pose" not in names else POSE_GROUP
    group = POSE_GROUP if f"{POSE_GROUP}/pose" in names else single_class
    columns: dict[str, list[str]] = {}
    if f"{group}/pose" in names:
        rotation_vectors = _numbers(path, records, f"{group}/pose")
        if rotation_vectors.shape != (len(records), 3):
            raise InputError(f"{path}: {group}/pose must have three numbers a particle, got {rotation_vectors.shape}")
        angles = euler_from_matrix(exp_so3(torch.from_numpy(rotation_vectors)).mT)
        for column, values in zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles.unbind(1), strict=True):
            columns[column] = _cells(values.numpy())
    sizes = next((name for name in (f"{group}/psize_A", PIXEL_FIELD) if name in names), None)
    if f"{group}/shift" in names and sizes is not None:
        shifts = _numbers(path, records, f"{group}/shift").reshape(len(records), -1)
        shifts = shifts * _numbers(path, records, sizes).reshape(-1, 1)
        if SHIFT_FIELD in names:
            shifts = shifts - _of_width(path, records, SHIFT_FIELD, 2)
        columns["rlnOriginXAngst"], columns["rlnOriginYAngst"] = _cells(shifts[:, 0]), _cells(shifts[:, -1])
    split = next((name for name in (f"{group}/split", f"{POSE_GROUP}/split") if name in names), None)
    if split is not None:
        halves = _numbers(path, records, split)
        if len(np.unique(halves)) > 1:  # jobs without halves write zeros
            columns["rlnRandomSubset"] = [f"{half + 1:.0f}" for half in halves.tolist()]
    return columns


def stated_sign(records: np.ndarray) -> int | None:
    """Return +1 if the file says that molecules are white, -1 if dark, None if it does not say."""
    if "blob/sign" not in (records.dtype.names or ()) or records["blob/sign"].dtype.kind not in "fiu":
        return None
    with np.errstate(invalid="ignore"):  # NaN is no sign
        signs = set(np.sign(records["blob/sign"]).reshape(-1).tolist())
    return int(signs.pop()) if signs in ({1.0}, {-1.0}) else None


def _numbers(path: Path, records: np.ndarray, field: str) -> np.ndarray:
    """Return a field as float64, every number finite."""
    values = records[field]
    if values.dtype.kind not in "fiub":
        raise InputError(f"{path}: the field {field} must hold numbers, got {values.dtype}")
    with np.errstate(invalid="ignore"):  # NaN that signals: found below
        numbers = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1))
    if bad.size:
        raise InputError(
            f"{path}: particle {bad[0] + 1}: {field} must be finite, got {values[bad[0]]}; remove the particle"
        )
    return numbers


def texts_of(values: np.ndarray) -> list[str]:
    """Return a field of texts; bytes that are not UTF-8 survive, as in STAR files."""
    if values.dtype.kind == "S":
        return [text.decode("utf-8", "surrogateescape") for text in values.tolist()]
    return [str(text) for text in values.tolist()]


def _cells(values: np.ndarray) -> list[str]:
    """Return numbers as cells with the digits that single precision has."""
    return [f"{value:.9g}" for value in values.tolist()]


def column_text(values: np.ndarray) -> list[str]:
    """Return a field (n,) of any kind as cells that a STAR file can hold, numbers with all their digits."""
    if values.dtype.kind in "SU":
        return [quote(text) for text in texts_of(values)]
    return [quote(text) for text in values.astype(str).tolist()]
