"""Which columns of a particle file are used, and which are merely kept."""

from __future__ import annotations

import numpy as np

from resmfn.data.cryosparc.records import (
    B_FACTOR_FIELD,
    MAGNIFICATION_FIELD,
    OPTICS_FIELDS,
    PARTICLE_FIELDS,
    POSE_GROUP,
    RELION_GROUP,
    SCALE_FIELD,
    SHIFT_FIELD,
    TILT_FIELD,
)
from resmfn.data.remarks.particles import CORRECTED_COLUMN, FLIP_COLUMN, TUBE_COLUMN
from resmfn.data.star.metadata import (
    ANGLE_COLUMNS,
    ORIGIN_COLUMNS,
    ORIGIN_PIXEL_COLUMNS,
    PARTICLES_FIRST,
    SUBSET_COLUMN,
    Metadata,
)
from resmfn.data.star.optics import (
    EVEN_COLUMN,
    MAGNIFICATION_COLUMNS,
    ODD_COLUMN,
    PHASE_FLIPPED_COLUMN,
    PREMULTIPLIED_COLUMN,
    TILT_COLUMNS,
)
from resmfn.data.star.tables import PARTICLE_COLUMN

_PIXEL_COLUMNS = (("rlnImagePixelSize",), ("rlnPixelSize",), ("rlnDetectorPixelSize", "rlnMagnification"))
_READ = {
    PARTICLE_COLUMN,
    "rlnOpticsGroup",
    "rlnImageSize",
    "rlnImageDimensionality",
    SUBSET_COLUMN,
    CORRECTED_COLUMN,
    FLIP_COLUMN,
    TUBE_COLUMN,
    EVEN_COLUMN,
    ODD_COLUMN,
    PREMULTIPLIED_COLUMN,
    PHASE_FLIPPED_COLUMN,
    *ANGLE_COLUMNS,
    *PARTICLES_FIRST,
    *TILT_COLUMNS,
    *MAGNIFICATION_COLUMNS,
}
_READ_FIELDS = {
    "uid",
    "blob/path",
    "blob/idx",
    "blob/shape",
    "blob/sign",
    "ctf/exp_group_id",
    "ctf/trefoil_A",
    "ctf/tetra_A",
    B_FACTOR_FIELD,
    MAGNIFICATION_FIELD,
    SCALE_FIELD,
    SHIFT_FIELD,
    TILT_FIELD,
    *(f"{POSE_GROUP}/{name}" for name in ("pose", "shift", "psize_A", "split")),
    *(f"alignments_class_0/{name}" for name in ("pose", "shift", "psize_A", "split")),
    *(field for field, _ in PARTICLE_FIELDS.values()),
    *OPTICS_FIELDS.values(),
}


def columns_by_use(metadata: Metadata, records: np.ndarray | None) -> tuple[list[str], list[str]]:
    """Return the columns that are used, and those that are only kept: of a cryoSPARC file its fields."""
    if records is not None:
        names = list(records.dtype.names or ())
        return _divided(names, {n for n in names if n in _READ_FIELDS or "rln" + n.removeprefix(RELION_GROUP) in _READ})
    names = list(dict.fromkeys([*metadata.optics.columns, *metadata.particles.columns]))
    origins = ORIGIN_COLUMNS if any(column in names for column in ORIGIN_COLUMNS) else ORIGIN_PIXEL_COLUMNS
    pixels = next((columns for columns in _PIXEL_COLUMNS if all(column in names for column in columns)), ())
    return _divided(names, _READ.union(origins, pixels))


def _divided(names: list[str], read: set[str]) -> tuple[list[str], list[str]]:
    return [name for name in names if name in read], [name for name in names if name not in read]
