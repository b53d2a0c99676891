"""A run as EMDB asks for it: primary map, half maps, mask, FSC, picture, and the values and text of the form.

After EMDB's general deposition guide (www.ebi.ac.uk/emdb, documentation of the deposition): primary map, two half maps
as the refinement left them, and a picture are mandatory, an FSC curve in XML is asked for; half maps are unmasked,
unfiltered, not sharpened, and superimpose with the primary map (wwPDB, since 25 February 2022).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from resmfn.core import InputError, atomic_folder
from resmfn.data import DensityMap, read_map, read_particles
from resmfn.data.runs.file_names import (
    CONFIG,
    FSC_XML,
    MAP,
    MASK,
    PARTICLES,
    SUMMARY,
    SYMMETRY,
    UNMASKED_HALF_MAPS,
    VALIDATION,
)
from resmfn.data.runs.plain_settings import read_settings
from resmfn.reports.exports.entry_image import write_entry_image
from resmfn.reports.exports.finished_run import SHARPENED, require_finished_run
from resmfn.reports.exports.methods_text import Deposited, methods_text
from resmfn.reports.inputs import SAME_LENGTH, StrPath, read_json
from resmfn.reports.values import listed, number, words

FILES = {
    SHARPENED: "primary_map.mrc",
    UNMASKED_HALF_MAPS[0]: "half_map_1.mrc",
    UNMASKED_HALF_MAPS[1]: "half_map_2.mrc",
    MASK: "mask.mrc",
    FSC_XML: "fsc.xml",
}
"""Files of a run, and their names in the deposition."""
IMAGE, METHODS = "image.png", "methods.txt"
OUTSIDE = 1e-3
"""Where a mask is below this, an unmasked map still has noise."""


@dataclass(frozen=True)
class Deposition:
    """What was written."""

    folder: Path
    contour: float
    text: str


def deposit(run: StrPath, out: StrPath) -> Deposition:
    """Gather what EMDB asks for with a map.

    Parameters
    ----------
    run
        A finished run, or the folder of one of its classes.
    out
        Folder to make.

    Raises
    ------
    InputError
        The run is not finished, found nothing, or its maps are not what EMDB takes; nothing is written then.
    """
    run = Path(run)
    _require_one_map(run)
    summary = require_finished_run(run, *FILES, VALIDATION, CONFIG)
    validation = read_json(run / VALIDATION)
    contour = number(validation, "contour_level")
    if contour is None:
        raise InputError(
            f"{run / VALIDATION}: there is no contour level: the sharpened map is nowhere above its noise, or the run"
            " is of an earlier version; `resmfn reconstruct --config RUN/config.yaml --out RUN --resume` writes it anew"
        )
    primary, first, second, mask = (read_map(run / name) for name in (SHARPENED, *UNMASKED_HALF_MAPS, MASK))
    _require_alike(run, {SHARPENED: primary, **dict(zip(UNMASKED_HALF_MAPS, (first, second), strict=True)), MASK: mask})
    _require_half_maps(run, first, second, mask)
    enclosed = int((primary.data > contour).sum())
    if not 0 < enclosed < primary.data.numel():
        raise InputError(f"{run / SHARPENED}: no surface lies at the contour level {contour:g}; was the map exchanged?")
    whole, class_of = _run_of_class(run)
    text = methods_text(
        Deposited(
            summary=summary,
            validation=validation,
            settings=read_settings(run / CONFIG),
            provenance=read_json(run / "provenance.json") or read_json(whole / "provenance.json"),
            particles=read_particles(run / PARTICLES, with_images=False),
            contour=contour,
            half_contour=_level_enclosing(first, mask, enclosed),
            symmetry=read_json(run / SYMMETRY),
            class_of=class_of,
        )
    )
    with atomic_folder(out) as folder:
        for source, name in FILES.items():
            shutil.copyfile(run / source, folder / name)
        write_entry_image(folder / IMAGE, primary.data, contour)
        (folder / METHODS).write_text(text, encoding="utf-8")
    return Deposition(Path(out), contour, text)


def _require_one_map(run: Path) -> None:
    """Refuse the folder above those of several classes."""
    classes = [row for row in listed(read_json(run / SUMMARY), "classes") if isinstance(row, dict)]
    if classes and not (run / MAP).is_file():
        raise InputError(
            f"{run}: this is a run with classes, each with maps in a folder of its own; give that of one class, such "
            f"as {run / words(classes[0], 'folder', default='class1')}"
        )


def _run_of_class(run: Path) -> tuple[Path, str]:
    """Return the folder of the whole run, and which class of it this one is in words; itself and "" if it is none."""
    folder = run.resolve()
    summary = read_json(folder.parent / SUMMARY)
    names = [words(row, "folder") for row in listed(summary, "classes") if isinstance(row, dict)]
    if folder.name not in names:
        return run, ""
    images = number(summary, "n_particles") or 0
    return folder.parent, (
        f"{names.index(folder.name) + 1} of {len(names)}, into which the run divided {images:,.0f} particle images"
    )


def _require_alike(run: Path, maps: dict[str, DensityMap]) -> None:
    """Refuse maps that do not superimpose voxel by voxel."""
    like = maps[SHARPENED]
    for name, density in maps.items():
        same = abs(density.pixel_size - like.pixel_size) <= SAME_LENGTH * like.pixel_size
        if density.box_size != like.box_size or not same:
            raise InputError(
                f"{run / name}: {density.box_size} voxels of {density.pixel_size:g} Å a side, but {SHARPENED} has "
                f"{like.box_size} of {like.pixel_size:g} Å; EMDB wants them to superimpose"
            )


def _require_half_maps(run: Path, first: DensityMap, second: DensityMap, mask: DensityMap) -> None:
    """Refuse half maps that are one map, or that were masked."""
    if torch.equal(first.data, second.data):
        raise InputError(
            f"{run}: {UNMASKED_HALF_MAPS[0]} and {UNMASKED_HALF_MAPS[1]} are the same map; EMDB refuses that"
        )
    outside = mask.data < OUTSIDE
    for name, half in zip(UNMASKED_HALF_MAPS, (first, second), strict=True):
        if outside.any() and not half.data[outside].any():
            raise InputError(f"{run / name}: 0 everywhere outside of the mask; EMDB wants half maps without mask")


def _level_enclosing(half: DensityMap, mask: DensityMap, count: int) -> float:
    """Return the level above which so many voxels of a half map lie, inside the mask."""
    inside = half.data[mask.data > 0.5].sort(descending=True).values
    return float(inside[min(count, len(inside) - 1)])
