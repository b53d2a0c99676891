"""Two maps: one aligned to the other, or both compared shell by shell."""

from __future__ import annotations

from pathlib import Path

from resmfn.core import InputError, atomic_write
from resmfn.core.random import spawn
from resmfn.data import write_fsc_xml, write_map
from resmfn.evaluation import (
    HalfMapResult,
    MapAlignment,
    align_maps,
    apply_alignment,
    fsc_csv_text,
    half_map_resolution,
)
from resmfn.reports.inputs import StrPath, read_map_pair, read_mask

ONE_MAP = 1 - 1e-9
"""Correlation of each shell beyond which two maps are one: noise of a thousandth leaves 1 - 1e-6."""


def align(
    moving: StrPath,
    reference: StrPath,
    out: StrPath | None = None,
    *,
    pixel_size: float | None = None,
    overwrite: bool = False,
) -> MapAlignment:
    """Find the rotation, shift and hand that align one map to another, and write the aligned map.

    Parameters
    ----------
    moving, reference
        Map files. If their boxes have one length in Å but different voxels, the finer map is resampled.
    out
        File for the aligned map, in the reference's frame; None writes nothing.
    pixel_size
        Å per voxel of both; overrides the headers.
    overwrite
        Whether ``out`` may be replaced.

    Raises
    ------
    InputError
        If a file is missing or unusable, or the output exists.
    """
    refuse_existing(out, overwrite=overwrite)
    a, b = read_map_pair(moving, reference, pixel_size)
    alignment = align_maps(a.data, b.data, b.pixel_size)
    if out is not None:
        write_map(out, apply_alignment(a.data, alignment), b.pixel_size)
    return alignment


def fsc(
    a: StrPath,
    b: StrPath,
    *,
    mask: StrPath | None = None,
    mask_diameter: float | None = None,
    pixel_size: float | None = None,
    out: StrPath | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> HalfMapResult:
    """Compare two maps by Fourier shell correlation, without aligning them; with a mask, also corrected for it.

    Parameters
    ----------
    a, b
        Map files, in one frame.
    mask, mask_diameter
        A mask file, or the diameter of a soft sphere in Å. None: no mask, and all four curves are the unmasked one.
    pixel_size
        Å per voxel of both; overrides the headers.
    out
        A .csv file for the curves.
    seed
        Random seed of the phase randomization.
    overwrite
        Whether ``out`` may be replaced.

    Raises
    ------
    InputError
        If a file is missing or unusable, or the output exists.
    """
    refuse_existing(out, overwrite=overwrite)
    first, second = read_map_pair(a, b, pixel_size)
    chosen = read_mask(mask, mask_diameter, second, pixel_size)
    generator = spawn(seed, "phases")
    result = half_map_resolution(first.data, second.data, chosen, second.pixel_size, generator=generator)
    if out is not None:
        curves = result.curves
        named = {"unmasked": curves.unmasked}
        if chosen is not None:
            named |= {"masked": curves.masked, "randomized": curves.randomized, "corrected": curves.corrected}
        with atomic_write(out) as temporary:
            temporary.write_text(fsc_csv_text(named))
    return result


def are_one_map(result: HalfMapResult) -> bool:
    """Say whether two maps that were compared are the same, but for a factor: they agree fully wherever they go."""
    curve = result.curves.unmasked.correlation[1:]
    return bool(curve.any()) and bool(((curve == 0) | (curve > ONE_MAP)).all())


def write_xml(path: StrPath, result: HalfMapResult, *, is_masked: bool) -> None:
    """Write the FSC curve of two maps as EMDB XML: the corrected one or, without a mask, the unmasked one."""
    curve = result.curves.corrected if is_masked else result.curves.unmasked
    title = f"resmfn {'masked, corrected' if is_masked else 'unmasked'} FSC"
    write_fsc_xml(path, curve.frequency.tolist(), curve.correlation.tolist(), title)


def refuse_existing(path: StrPath | None, *, overwrite: bool) -> None:
    """Raise InputError, before any work is done, if an output cannot be written to this path."""
    if path is None:
        return
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path}: already exists; give another name, or --overwrite")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
