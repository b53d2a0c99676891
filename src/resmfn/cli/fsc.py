"""``resmfn fsc``: flags, and a plain table of resolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import DIAMETER, PIXEL_SIZE, SEED


def fsc(
    a: Annotated[Path, Parameter(help="A map (.mrc, .map, also .gz).")],
    b: Annotated[Path, Parameter(help="Second map, in the same frame; see `resmfn align`.")],
    *,
    mask: Annotated[Path | None, Parameter(help="Mask (.mrc).")] = None,
    mask_diameter: Annotated[float | None, in_range(DIAMETER, "Diameter of a soft spherical mask, Å.")] = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides the map headers.")] = None,
    out: Annotated[Path | None, Parameter(help="File for the curves (.csv).")] = None,
    xml: Annotated[
        Path | None, Parameter(help="File for the curve as EMDB XML; with a mask, the corrected one.")
    ] = None,
    seed: Annotated[int, in_range(SEED, "Random seed of the phase randomization.")] = 0,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace an existing file.")] = False,
) -> None:
    """Compare two maps by Fourier shell correlation, without aligning them.

    With a mask, the curve is also corrected for the mask by phase randomization, as for half maps.
    """
    from resmfn.reports.compare import are_one_map, refuse_existing, write_xml
    from resmfn.reports.compare import fsc as run_fsc
    from resmfn.reports.structure.confirmation import unconfirmed_halves
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
    if are_one_map(result):
        print(f"\n{a} and {b} are the same map, but for a factor: they say nothing of the resolution")
    doubt = unconfirmed_halves(a, b, result)
    if doubt is not None:
        print(f"\n{doubt.line()}")
    if xml is not None:
        write_xml(xml, result, is_masked=is_masked)
    for path in (out, xml):
        if path is not None:
            print(f"\n{path}: written")
