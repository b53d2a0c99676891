"""``resmfn render``: flags, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import COUNT, PIXEL_SIZE, SIDE


def render(
    field: Annotated[Path, Parameter(help="A fitted field (RUN/fields/NAME/field.pt).")],
    *,
    out: Annotated[Path, Parameter(help="A .png for an image; a .mrc for a volume.")],
    size: Annotated[int | None, in_range(SIDE, "Samples along the longer side [default: the original's].")] = None,
    pixel_size: Annotated[
        float | None,
        in_range(PIXEL_SIZE, "In place of --size: Å; for an image, pixels of the original (0.5: twice as fine)."),
    ] = None,
    scale: Annotated[int | None, in_range(COUNT, "1 is the coarsest [default: the finest].")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="Where to compute.")] = "auto",
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a file that exists.")] = False,
) -> None:
    """Sample a fitted field, an image or a volume, at any resolution and scale."""
    from resmfn.fitting import render as run

    shape = run(field, out, size=size, pixel_size=pixel_size, scale=scale, device=device, overwrite=overwrite)
    print(f"{out}: {' x '.join(map(str, reversed(shape)))}, scale {scale or 'finest'}")
