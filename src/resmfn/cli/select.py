"""``resmfn select``: flags, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import NumberRange


def select(
    source: Annotated[Path, Parameter(help="Run folder, or its particles.star.")],
    *,
    out: Annotated[Path, Parameter(help="File to write; ends in .star or .cs.")],
    classes: Annotated[str | None, Parameter(help="Classes to keep, such as 1,3 [default: all].")] = None,
    min_probability: Annotated[
        float, in_range(NumberRange(0, 1), "Least probability that an image shows a particle of its class.")
    ] = 0.5,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace what exists.")] = False,
) -> None:
    """Write the good particles of a run, or of some of its classes, for the next job.

    Every column of the input is kept. Images are named as in the input, at their own pixel size: the box that the run
    worked in plays no part.
    """
    from resmfn.core import InputError
    from resmfn.data import select_particles
    from resmfn.data.runs.run_folder import classes_share_frame
    from resmfn.data.selection import CLASS, class_numbers
    from resmfn.reports.compare import refuse_existing

    if out.suffix not in (".star", ".cs"):
        raise InputError(f"--out {out} must end in .star or .cs; give such a name")
    refuse_existing(out, overwrite=overwrite)
    chosen, n = select_particles(
        source, out, classes=None if classes is None else class_numbers(classes), least_probability=min_probability
    )
    print(f"{len(chosen)} of {n} particles: {out} written")
    if CLASS in chosen.table and len(set(chosen.table[CLASS])) > 1 and not classes_share_frame(source):
        print(
            "Each class has poses in a frame, and of a hand, of its own: together these images have no common poses; "
            "search them anew (--poses unknown), or select one class."
        )
