"""``resmfn evaluate``: flags, and a plain table of the results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import DIAMETER, PIXEL_SIZE


def evaluate(
    run: Annotated[Path, Parameter(help="Run folder, map, or STAR file with poses.")],
    *,
    reference: Annotated[Path | None, Parameter(help="True map, or the folder that holds volume.mrc.")] = None,
    model: Annotated[
        Path | None,
        Parameter(help="Atomic model (.pdb, .cif) instead of a true map: both hands of the map are fitted to it."),
    ] = None,
    true_poses: Annotated[Path | None, Parameter(help="STAR file with the true poses of the same images.")] = None,
    mask: Annotated[Path | None, Parameter(help="Mask in the frame of the reference.")] = None,
    mask_diameter: Annotated[
        float | None,
        in_range(DIAMETER, "Diameter of a soft spherical mask in Å [default: one that encloses the reference]."),
    ] = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides the map headers.")] = None,
    out: Annotated[
        Path | None,
        Parameter(help="Folder for evaluation.json and .png [default: the run folder; none for a map or STAR file]."),
    ] = None,
    figure: Annotated[bool, Parameter(help="Draw evaluation.png.")] = True,
) -> None:
    """Score a run's map and poses against the truth, up to a global rotation, shift and hand.

    Prints FSC, rotation and shift errors after the best alignment, and writes evaluation.json and evaluation.png. With
    a model, it also says which of both hands is right.
    """
    from resmfn.core import InputError
    from resmfn.data.models import is_model
    from resmfn.reports.scoring import FIGURE_NAME, JSON_NAME
    from resmfn.reports.scoring import evaluate as run_evaluation
    from resmfn.reports.tables import evaluation_table

    if model is not None and reference is not None:
        raise InputError("--model and --reference exclude each other; give one")
    if model is not None and not is_model(model):
        raise InputError(f"{model}: a model is a .pdb or .cif file, plain or .gz; give a map as --reference")
    start = time.perf_counter()
    evaluation = run_evaluation(
        run,
        reference=reference if model is None else model,
        true_poses=true_poses,
        mask=mask,
        mask_diameter=mask_diameter,
        pixel_size=pixel_size,
        out=out,
        figure=figure,
    )
    print(evaluation_table(evaluation))
    folder = out or (run if run.is_dir() else None)
    names = [JSON_NAME, FIGURE_NAME] if figure else [JSON_NAME]
    written = (
        f"{' and '.join(str(folder / name) for name in names)}: written" if folder else "nothing written (no --out)"
    )
    print(f"\n{written} in {time.perf_counter() - start:.1f} s")
