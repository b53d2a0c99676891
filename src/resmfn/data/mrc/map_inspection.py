"""A short record of what a map file holds and what would fail with it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from resmfn.core import InputError
from resmfn.data.mrc.maps import read_stored_map


@dataclass(frozen=True, kw_only=True)
class MapInspection:
    """What was found. Lengths in Å, angles in degrees."""

    path: str
    sides: tuple[int, int, int]  #: voxels along x, y, z
    voxel_size: tuple[float, float, float] | None  #: along x, y, z; None where the file does not say
    origin: tuple[float, float, float]  #: where the header puts the first voxel, along x, y, z
    cell_angles: tuple[float, float, float]  #: alpha, beta, gamma
    minimum: float
    maximum: float
    mean: float
    deviation: float
    notes: list[str]  #: what some commands would refuse
    would_fail: list[str]  #: why every command would refuse it

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values, for JSON."""
        return asdict(self)


def inspect_map(path: str | os.PathLike[str], pixel_size: float | None = None) -> MapInspection:
    """Inspect a map.

    Parameters
    ----------
    path
        The file, as :func:`resmfn.data.read_stored_map` takes it.
    pixel_size
        Å per voxel; overrides the header.

    Raises
    ------
    InputError
        The file is missing or damaged, or holds NaN or infinite values.
    """
    stored = read_stored_map(path)
    notes, faults = [], []
    try:
        stored.cube(pixel_size, pad=True)
    except InputError as error:
        faults.append(str(error))
    else:
        try:
            stored.cube(pixel_size)
        except InputError as error:
            notes.append(f"where maps are compared or masked: {error}")
    values = stored.data.double()
    depth, height, width = stored.data.shape
    return MapInspection(
        path=str(path),
        sides=(width, height, depth),
        voxel_size=stored.voxel_size if pixel_size is None else (pixel_size,) * 3,
        origin=stored.origin,
        cell_angles=stored.cell_angles,
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(values.mean()),
        deviation=float(values.std(correction=0)),
        notes=notes,
        would_fail=faults,
    )
