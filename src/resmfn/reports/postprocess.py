"""Half maps to what a referee asks for: curves, B-factor, a sharpened map, local and directional resolution."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resmfn.core import InputError, atomic_write, make_generator
from resmfn.data import DensityMap, write_map
from resmfn.evaluation import (
    DirectionalFsc,
    GuinierFit,
    HalfMapResult,
    directional_fsc,
    fit_guinier,
    fsc_csv_text,
    half_map_resolution,
    local_resolution,
    sharpen,
)
from resmfn.reports.compare import write_xml
from resmfn.reports.inputs import StrPath, read_map_pair, read_mask

HALF_NAMES = ("half1.mrc", "half2.mrc")
VALIDATION, CURVES, XML = "validation.json", "fsc.csv", "fsc.xml"
SHARPENED, LOCAL = "postprocessed.mrc", "local_resolution.mrc"
FOLDER, MASK_NAME = "postprocess", "mask.mrc"


@dataclass(frozen=True)
class PostprocessResult:
    """What the half maps say."""

    folder: Path
    halves: HalfMapResult
    fit: GuinierFit | None
    """None where too few shells lie between 10 Å and the resolution."""
    b_factor: float
    """Å^2, that was undone: the fit's or the one that was given."""
    directions: DirectionalFsc
    validation: dict[str, object]
    """What validation.json holds."""


def postprocess(
    run_or_half1: StrPath,
    half2: StrPath | None = None,
    *,
    mask: StrPath | None = None,
    mask_diameter: float | None = None,
    pixel_size: float | None = None,
    b_factor: float | None = None,
    out: StrPath | None = None,
    overwrite: bool = False,
) -> PostprocessResult:
    """Validate and sharpen a map by its half maps.

    Parameters
    ----------
    run_or_half1, half2
        A run folder, or two half maps.
    mask, mask_diameter
        A mask file, or the diameter of a soft sphere in Å; by default the run's own mask.
    pixel_size
        Å per voxel, in place of what the headers say.
    b_factor
        Å^2, to undo in place of the one that is fitted.
    out
        Folder to make; by default ``postprocess`` in the run folder.
    overwrite
        Whether files that are there may be replaced.

    Raises
    ------
    InputError
        A file is missing, unfit or there already; or there is no mask.
    """
    first, second, found_mask, folder = _inputs(run_or_half1, half2, mask if mask_diameter is None else None, out)
    if not overwrite and folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out {folder}: holds files already; give another name, or --overwrite")
    a, b = read_map_pair(first, second, pixel_size)
    chosen = read_mask(mask if mask is not None else found_mask, mask_diameter, b)
    if chosen is None:
        raise InputError("a mask is needed: give --mask or --mask-diameter")
    generator = make_generator(0)
    halves = half_map_resolution(a.data, b.data, chosen, b.pixel_size, generator=generator)
    mean = (a.data + b.data) / 2
    fit = None if math.isinf(halves.resolution) else fit_guinier(mean, halves.curves.corrected, halves.resolution)
    undone = b_factor if b_factor is not None else (0.0 if fit is None else fit.b_factor)
    directions = directional_fsc(a.data, b.data, b.pixel_size, chosen)
    local = local_resolution(a.data, b.data, chosen, b.pixel_size, generator=generator)
    validation = validation_record(halves, fit, undone, directions, local)
    sharpened = sharpen(mean, halves.curves.corrected, undone, halves.resolution) * chosen
    _write(folder, halves, DensityMap(sharpened, b.pixel_size), local, validation)
    return PostprocessResult(folder, halves, fit, undone, directions, validation)


def validation_record(
    halves: HalfMapResult, fit: GuinierFit | None, b_factor: float, directions: DirectionalFsc, local: Tensor
) -> dict[str, object]:
    """Return the figures by name: Å, Å^2, and shares (docs/validation.md); None where there is none."""
    curves = halves.curves
    named = {"unmasked": curves.unmasked, "masked": curves.masked, "corrected": curves.corrected}
    resolutions = directions.resolutions()
    inside = local[local > 0].double()
    spread = torch.quantile(inside[:: max(1, len(inside) // 1_000_000)], torch.tensor([0.05, 0.5, 0.95]).double())
    return {
        "resolution_0143": {name: _figure(curve.resolution_at(0.143)) for name, curve in named.items()},
        "resolution_05": {name: _figure(curve.resolution_at(0.5)) for name, curve in named.items()},
        "fsc_area": {name: _figure(curve.area()) for name, curve in named.items()},
        "phases_randomized_from": _figure(curves.randomized_from),
        "b_factor": None if fit is None else _figure(fit.b_factor),
        "b_factor_undone": _figure(b_factor),
        "guinier_correlation": None if fit is None else _figure(fit.correlation),
        "directional_resolution": {
            "best": _figure(float(resolutions.min())),
            "worst": _figure(float(resolutions.max())),
            "sphericity": _figure(directions.sphericity()),
        },
        "local_resolution": dict(zip(("p05", "median", "p95"), map(_figure, spread.tolist()), strict=True)),
    }


def _figure(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _inputs(
    run_or_half1: StrPath, half2: StrPath | None, mask: StrPath | None, out: StrPath | None
) -> tuple[Path, Path, StrPath | None, Path]:
    """Return both half maps, the run's mask if one is there and none is given, and the folder to write."""
    path = Path(run_or_half1)
    if half2 is not None:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a run folder alone, or two half maps")
        if out is None:
            raise InputError("--out is needed where two half maps are given")
        return path, Path(half2), mask, Path(out)
    if not path.is_dir():
        raise InputError(f"{path}: no such run folder; give one, or two half maps")
    first, second = (path / name for name in HALF_NAMES)
    for half in (first, second):
        if not half.is_file():
            raise InputError(f"{path}: {half.name} is not in this folder; give the folder of a finished run")
    own = path / MASK_NAME
    return first, second, mask if mask is not None or not own.is_file() else own, Path(out or path / FOLDER)


def _write(
    folder: Path, halves: HalfMapResult, sharpened: DensityMap, local: Tensor, validation: dict[str, object]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    curves = halves.curves
    table = {
        "corrected": curves.corrected,
        "masked": curves.masked,
        "unmasked": curves.unmasked,
        "randomized": curves.randomized,
    }
    with atomic_write(folder / CURVES) as temporary:
        temporary.write_text(fsc_csv_text(table))
    write_xml(folder / XML, halves, is_masked=True)
    write_map(folder / SHARPENED, sharpened.data, sharpened.pixel_size)
    write_map(folder / LOCAL, local, sharpened.pixel_size)
    with atomic_write(folder / VALIDATION) as temporary:
        temporary.write_text(json.dumps(validation, indent=1, allow_nan=False) + "\n")
