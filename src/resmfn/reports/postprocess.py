"""From half maps to validation: FSC curves, B-factor, a sharpened map, local and directional resolution."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from resmfn.core import InputError, atomic_write
from resmfn.core.random import spawn
from resmfn.data import write_map
from resmfn.data.runs.file_names import (
    CONFIG,
    DIRECTIONAL_FSC,
    FSC,
    FSC_XML,
    HALF_MAPS,
    LOCAL_RESOLUTION,
    MASK,
    UNMASKED_HALF_MAPS,
    VALIDATION,
)
from resmfn.data.runs.plain_settings import read_settings
from resmfn.data.runs.result_files import require_own_results
from resmfn.evaluation import (
    Validation,
    fsc_csv_text,
    half_map_resolution,
    validate_halves,
)
from resmfn.reports.compare import write_xml
from resmfn.reports.inputs import StrPath, read_map_pair, read_mask
from resmfn.reports.structure.confirmation import unconfirmed_halves

FOLDER, SHARPENED = "postprocess", "postprocessed.mrc"


@dataclass(frozen=True)
class PostprocessResult:
    """The files that were written, and the figures."""

    folder: Path
    found: Validation
    validation: dict[str, object]
    """The content of validation.json."""
    doubt: str | None
    """Why the halves of this run confirm no resolution; None where they do, or where it is not known."""


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
    """Validate and sharpen a map from its half maps.

    Parameters
    ----------
    run_or_half1, half2
        A run folder, or two half maps.
    mask, mask_diameter
        A mask file, or the diameter of a soft sphere in Å; by default the run's own mask.
    pixel_size
        Å per voxel; overrides the headers.
    b_factor
        B-factor to correct for, Å^2, instead of the fitted one.
    out
        Output folder; by default ``postprocess`` in the run folder.
    overwrite
        Whether existing files may be replaced.

    Raises
    ------
    InputError
        A file is missing or unusable, an output exists, or there is no mask.
    """
    first, second, found_mask, folder = _inputs(run_or_half1, half2, mask if mask_diameter is None else None, out)
    if not overwrite and folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out {folder}: already holds files; give another name, or --overwrite")
    a, b = read_map_pair(first, second, pixel_size)
    if torch.equal(a.data, b.data):
        raise InputError(f"{first} and {second} are the same map; give maps of two halves of the particles")
    chosen = read_mask(mask if mask is not None else found_mask, mask_diameter, b, pixel_size)
    if chosen is None:
        raise InputError("a mask is needed: give --mask or --mask-diameter")
    seed = _seed_of(first.parent)
    phases, windows = spawn(seed, "phases"), spawn(seed, "validation")  # as the run draws them: its figures, again
    halves = half_map_resolution(a.data, b.data, chosen, b.pixel_size, generator=phases)
    found = validate_halves(a.data, b.data, chosen, b.pixel_size, generator=windows, b_factor=b_factor, halves=halves)
    doubt = unconfirmed_halves(first, second, halves)
    said = None if doubt is None else doubt.line()
    validation = {**found.figures(), "unconfirmed": said}
    _write(folder, found, b.pixel_size, validation)
    return PostprocessResult(folder, found, validation, said)


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
    # A run's figures are of its half maps without mask; runs of other programs may have no such.
    unmasked = [path / name for name in UNMASKED_HALF_MAPS]
    first, second = unmasked if all(half.is_file() for half in unmasked) else (path / name for name in HALF_MAPS)
    for half in (first, second):
        if not half.is_file():
            raise InputError(f"{path}: {half.name} is not in this folder; give the folder of a finished run")
    require_own_results(path, first.name, second.name, MASK)
    own = path / MASK
    return first, second, mask if mask is not None or not own.is_file() else own, Path(out or path / FOLDER)


def _seed_of(folder: Path) -> int:
    """Return the seed of the run that a folder holds; 0 where it holds none."""
    seed = read_settings(folder / CONFIG).get("seed") if (folder / CONFIG).is_file() else None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else 0


def _write(folder: Path, found: Validation, pixel_size: float, validation: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        FSC: fsc_csv_text(found.halves.curves.by_name()),
        DIRECTIONAL_FSC: fsc_csv_text(found.directional_curves()),
    }
    texts[VALIDATION] = json.dumps(validation, indent=1, allow_nan=False) + "\n"
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text)
    write_xml(folder / FSC_XML, found.halves, is_masked=True)
    write_map(folder / SHARPENED, found.sharpened, pixel_size)
    write_map(folder / LOCAL_RESOLUTION, found.local, pixel_size)
