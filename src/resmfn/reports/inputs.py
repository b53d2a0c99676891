"""Read what is compared, and bring it to common grids and a common order."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resmfn.core import InputError, one_line
from resmfn.data import DensityMap, ParticleSet, read_map, read_particles, read_stored_map
from resmfn.data.runs.file_names import FSC, MAP, PARTICLES
from resmfn.data.runs.result_files import require_own_results
from resmfn.evaluation import FscCurve, spherical_mask
from resmfn.fourier import resize_map
from resmfn.reports.values import LARGEST

REFERENCE_NAME = "volume.mrc"
SAME_LENGTH = 0.01
"""Relative difference between pixel sizes, or box lengths in Å, that is attributed to rounded headers."""

MASK_SLACK = 1e-3
"""By which rounding may bring a mask below 0 or above 1."""
MOST_BYTES = 64 * 2**20
"""Of a text file that a run writes."""
LEAST_SHELLS = 3

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class RunFiles:
    """The files of a run that can be evaluated; any may be missing."""

    folder: Path | None
    map: Path | None
    particles: Path | None
    fsc: Path | None


def find_run(run: StrPath) -> RunFiles:
    """Tell a run folder from a map and a STAR file, and find the files in it.

    Raises
    ------
    InputError
        If there is no such file or folder, or the folder holds neither map nor particles.
    """
    path = Path(run)
    if path.is_dir():
        found = [path / name if (path / name).is_file() else None for name in (MAP, PARTICLES, FSC)]
        if found[0] is None and found[1] is None:
            raise InputError(
                f"{path}: this folder holds neither {MAP} nor {PARTICLES}; give the folder of a finished run"
            )
        require_own_results(path, MAP, PARTICLES, FSC)
        return RunFiles(path, *found)
    if not path.is_file():
        raise InputError(f"{path}: no such run folder, map or STAR file")
    is_star = path.suffix == ".star"
    return RunFiles(None, None if is_star else path, path if is_star else None, None)


def read_map_pair(
    moving: StrPath, reference: StrPath, pixel_size: float | None = None
) -> tuple[DensityMap, DensityMap]:
    """Read two maps and bring them to the coarser of their grids.

    Boxes of one length in Å but different voxels are resampled (Fourier cropping); anything else that differs is an
    error.

    Parameters
    ----------
    moving, reference
        Files.
    pixel_size
        Å per voxel of both; overrides the headers; the boxes must then have as many voxels.
    """
    a, b = (read_map(path, pixel_size) for path in (moving, reference))
    if a.box_size != b.box_size:
        length_a, length_b = a.box_size * a.pixel_size, b.box_size * b.pixel_size
        if abs(length_a - length_b) > SAME_LENGTH * length_b:
            raise InputError(
                f"{moving}: a box of {a.box_size} voxels, {length_a:.4g} Å, but {reference} has {b.box_size} voxels, "
                f"{length_b:.4g} Å; crop, pad or resample one of them"
            )
        size = min(a.box_size, b.box_size)
        fine, coarse = (a, b) if b.box_size == size else (b, a)
        small = DensityMap(resize_map(fine.data, size), coarse.pixel_size)
        return (small, b) if fine is a else (a, small)
    if abs(a.pixel_size - b.pixel_size) > SAME_LENGTH * b.pixel_size:
        raise InputError(
            f"{moving}: {a.pixel_size:g} Å per voxel, but {b.pixel_size:g} in {reference}; correct the wrong header, "
            "or give --pixel-size"
        )
    return a, b


def read_mask(
    mask: StrPath | None, diameter: float | None, like: DensityMap, pixel_size: float | None = None
) -> Tensor | None:
    """Read a mask file, or make a sphere of a diameter in Å; None if neither is given.

    Parameters
    ----------
    mask, diameter
        The file, or the diameter; not both.
    like
        The map that it must fit.
    pixel_size
        Å per voxel as the user gave it, in place of what headers say.

    Raises
    ------
    InputError
        If both are given, or the file does not fit the map, or is no mask: values from 0 to 1, and not 0 everywhere.
    """
    if mask is not None and diameter is not None:
        raise InputError("--mask and --mask-diameter exclude each other; give only one")
    if mask is not None:
        stored = read_stored_map(mask)
        found = stored.cube(None if stored.voxel_size and pixel_size is None else like.pixel_size)
        if found.box_size != like.box_size:
            raise InputError(
                f"{mask}: the mask has {found.box_size} voxels a side, the map {like.box_size}; resample it"
            )
        if abs(found.pixel_size - like.pixel_size) > SAME_LENGTH * like.pixel_size:
            raise InputError(
                f"{mask}: {found.pixel_size:g} Å per voxel, but {like.pixel_size:g} in the map; correct the wrong "
                "header, or give --pixel-size"
            )
        return _zero_to_one(mask, found.data)
    return None if diameter is None else spherical_mask(like.box_size, like.pixel_size, diameter)


def _zero_to_one(path: StrPath, mask: Tensor) -> Tensor:
    low, high = float(mask.min()), float(mask.max())
    if low < -MASK_SLACK or high > 1 + MASK_SLACK:
        raise InputError(
            f"{path}: a mask must lie between 0 and 1, got {low:g} to {high:g}; threshold the map and soften its edge "
            "first"
        )
    if high <= 0:
        raise InputError(f"{path}: a mask must be above 0 somewhere, this one is 0 everywhere; give another")
    return mask.clamp(0, 1)


def read_poses(path: StrPath) -> ParticleSet:
    """Read a particle file that must have angles; its images need not be there."""
    particles = read_particles(path, with_images=False, dtype=torch.float64)
    particles.require_poses()
    return particles


def match_particles(estimated: ParticleSet, true: ParticleSet) -> Tensor:
    """Row of the true file for each estimated particle, by rlnImageName; (n,) int64.

    Names are compared as written or, where that fails for any, by image number and the stack's file name. Files
    without names must list as many particles, and are taken to list them in the same order.

    Raises
    ------
    InputError
        If a particle has no partner, or a name stands twice in the true file.
    """
    column = "rlnImageName"
    if column not in estimated.table or column not in true.table:
        if len(estimated) != len(true):
            raise InputError(
                f"{estimated.path}: {len(estimated)} particles, {true.path}: {len(true)}, and no {column} in both to "
                "match them by; add it"
            )
        return torch.arange(len(true))
    names, true_names = estimated.table.text(column), true.table.text(column)
    if not set(names) <= set(true_names):
        names, true_names = ([_short_name(name) for name in listed] for listed in (names, true_names))
    row_of = {name: row for row, name in enumerate(true_names)}
    if len(row_of) < len(true_names):
        double = next(name for row, name in enumerate(true_names) if row_of[name] != row)
        raise InputError(f"{true.path}: the image {double} is listed twice, so its pose is ambiguous; remove one")
    lost = [name for name in names if name not in row_of]
    if lost:
        raise InputError(
            f"{estimated.path}: {len(lost)} of {len(names)} images are not in {true.path}, the first {lost[0]}; "
            "give the true poses of the same particles"
        )
    return torch.tensor([row_of[name] for name in names])


def read_fsc_table(path: StrPath) -> dict[str, FscCurve]:
    """Read the curves of an fsc.csv by name; columns that are not correlations are left out.

    Raises
    ------
    InputError
        If it is no such table.
    """
    rows = list(csv.DictReader(small_text(path).splitlines()))
    if not rows or "frequency" not in rows[0]:
        raise InputError(f"{path}: not a table of FSC curves: it has no column named frequency")
    names = [name for name in rows[0] if name not in (None, "shell", "frequency", "resolution")]
    try:
        frequency, *columns = (
            torch.tensor([float(row[name]) for row in rows], dtype=torch.float64) for name in ("frequency", *names)
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a cell of the FSC table is not a number ({error}); write the table again") from error
    if not all(bool((column.abs() <= LARGEST).all()) for column in (frequency, *columns)):
        raise InputError(f"{path}: a cell of the FSC table is not a finite number; write the table again")
    if len(rows) < LEAST_SHELLS or not bool((frequency.diff() > 0).all()):
        raise InputError(f"{path}: the frequencies of an FSC table must increase, over at least {LEAST_SHELLS} rows")
    return {name: FscCurve(frequency, column) for name, column in zip(names, columns, strict=True)}


def small_text(path: StrPath) -> str:
    """Return the text of a file; bytes that are not UTF-8 are replaced.

    Raises
    ------
    InputError
        If it has more than 64 MiB.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InputError(
            f"{path}: {size / 2**20:,.0f} MiB is too long for a text file of a run (at most 64 MiB); remove it"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; an empty dictionary if there is no file.

    Raises
    ------
    InputError
        If it is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(small_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not JSON ({one_line(error, 200)}); remove it, or write it again") from error
    return found if isinstance(found, dict) else {}


def _short_name(name: str) -> str:
    number, _, stack = name.rpartition("@")
    return f"{int(number) if number.isdecimal() else 1}@{Path(stack).name}"
