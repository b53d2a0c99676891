"""``resmfn postprocess``: what a referee asks of half maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import B_FACTOR, DIAMETER, PIXEL_SIZE


def postprocess(
    run_or_half1: Annotated[Path, Parameter(help="Run folder, or the first of two half maps.")],
    half2: Annotated[Path | None, Parameter(help="Second half map.")] = None,
    /,
    *,
    mask: Annotated[Path | None, Parameter(help="Soft mask, 0 to 1 [default: the run's mask].")] = None,
    mask_diameter: Annotated[float | None, in_range(DIAMETER, "Diameter of a soft spherical mask, Å.")] = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides the headers.")] = None,
    b_factor: Annotated[float | None, in_range(B_FACTOR, "B-factor to correct for, Å^2 [default: fitted].")] = None,
    out: Annotated[Path | None, Parameter(help="Output folder [default: RUN/postprocess].")] = None,
    overwrite: Annotated[bool, Parameter(negative="", help="Replace existing files.")] = False,
) -> None:
    """Validate and sharpen a map from its half maps: FSC, B-factor, local and directional resolution."""
    from resmfn.reports.postprocess import postprocess as run
    from resmfn.reports.tables import half_map_table

    result = run(
        run_or_half1, half2, mask=mask, mask_diameter=mask_diameter, pixel_size=pixel_size, b_factor=b_factor,
        out=out, overwrite=overwrite,
    )  # fmt: skip
    record, found = result.validation, result.found
    print(half_map_table(found.halves, is_masked=True))
    fitted = "too few shells finer than 10 Å" if found.fit is None else f"{found.fit.b_factor:.1f} Å² (Guinier fit)"
    print(f"B-factor              {fitted}; {found.b_factor:.1f} Å² corrected for")
    print(f"by direction          {record['directional_resolution']}")
    print(f"local resolution      {record['local_resolution']}")
    if result.doubt is not None:
        print(f"\n{result.doubt}")
    print(f"\n{result.folder}: written")
