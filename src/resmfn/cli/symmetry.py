"""``resmfn symmetry``: flags, and a plain table of how copies agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import DIAMETER, PIXEL_SIZE, SEED


def symmetry(
    map_or_run: Annotated[Path, Parameter(help="A map (.mrc, .map, also .gz), or a run folder.")],
    half1: Annotated[Path | None, Parameter(help="Its first half map, unmasked.")] = None,
    half2: Annotated[Path | None, Parameter(help="The second: the two tell noise from asymmetry.")] = None,
    /,
    *,
    mask_diameter: Annotated[
        float | None, in_range(DIAMETER, "Å, of the sphere that is looked into [default: 0.84 of the box].")
    ] = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Å, in place of what the maps say.")] = None,
    out: Annotated[Path | None, Parameter(help="The map, turned and moved into RELION's setting of its group.")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print all figures as JSON, in place of the table.")] = False,
    seed: Annotated[int, in_range(SEED, "Random seed of the turns that copies are compared with.")] = 0,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a file that exists.")] = False,
) -> None:
    """Find the point group of a map: its axes, and to which resolution turned copies agree with it.

    Half maps say how well copies of a symmetric map would agree; what agrees at low resolution only is a
    pseudo-symmetry. Of a run folder, symmetry.json is written.
    """
    import json as json_format

    from resmfn.reports.structure.symmetry import symmetry as find
    from resmfn.reports.structure.symmetry import symmetry_table

    found = find(
        map_or_run, half1, half2, mask_diameter=mask_diameter, pixel_size=pixel_size, out=out, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip
    print(json_format.dumps(found.to_dict()) if json else symmetry_table(found))
    if out is not None and not json:
        print(f"\n{out}: written")
