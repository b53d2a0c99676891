"""``resmfn fsc``: flags, and a plain table of resolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import DIAMETER, PIXEL_SIZE, SEED


def fsc(
    a: Annotated[Path, Parameter(help="A map (.mrc, .map, also .gz).")],
    b: Annotated[Path, Parameter(help="Another, in the same frame: `resmfn align` brings it there.")],
    *,
    mask: Annotated[Path | None, Parameter(help="Map of a mask.")] = None,
    mask_diameter: Annotated[float | None, in_range(DIAMETER, "Å, of a soft sphere as mask.")] = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Å, in place of what the maps say.")] = None,
    out: Annotated[Path | None, Parameter(help="Table of the curves (.csv).")] = None,
    xml: Annotated[
        Path | None, Parameter(help="The same as EMDB's XML: the corrected curve, if there is a mask.")
    ] = None,
    seed: Annotated[int, in_range(SEED, "Of the random phases that the correction for the mask draws.")] = 0,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a file that exists.")] = False,
) -> None:
    """Compare two maps, as they lie, by Fourier shell correlation.

    With a mask, the curve is also corrected for it by phase randomization, as half maps need.
    """
    from resmfn.reports.compare import fsc as run_fsc
    from resmfn.reports.compare import refuse_existing, write_xml
    from resmfn.reports.tables import half_map_table

    refuse_existing(xml, overwrite=overwrite)
    is_masked = mask is not None or mask_diameter is not None
    result = run_fsc(
        a,
        b,
        mask=mask,
        mask_diameter=mask_diameter,
        pixel_size=pixel_size,
        out=out,
        seed=seed,
        overwrite=overwrite,
    )
    print(half_map_table(result, is_masked=is_masked))
    if xml is not None:
        write_xml(xml, result, is_masked=is_masked)
    for path in (out, xml):
        if path is not None:
            print(f"\n{path}: written")
