"""``resmfn render``: flags, and a line on what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import PIXEL_SIZE, SCALE, SIDE


def render(
    field: Annotated[
        Path, Parameter(help="Fitted field (RUN/fields/NAME/field.pt), or a network written by save_network.")
    ],
    *,
    out: Annotated[
        Path, Parameter(help="Output: .png for an image (values are clipped to 0 to 1), .mrc for a volume.")
    ],
    size: Annotated[int | None, in_range(SIDE, "Samples along the longer side [default: as the original].")] = None,
    pixel_size: Annotated[
        float | None,
        in_range(PIXEL_SIZE, "Sampling interval: Å; for an image, pixels of the original (0.5: twice as fine)."),
    ] = None,
    scale: Annotated[
        float | None,
        in_range(
            SCALE,
            "1 is the coarsest [default: the finest]. 2.5 is the Fourier series of scale 3, cut off half way (in "
            "octaves) between the bands of scales 2 and 3.",
        ),
    ] = None,
    filter: Annotated[
        str | None,
        Parameter(
            help="gaussian:SIGMA (standard deviation), box:WIDTH (mean over a square or cube of that side) or "
            "lanczos:WIDTH (for samples that far apart), exact, before sampling. Widths are in Å for a volume, in "
            "pixels of the original for an image. Needs a field that was fitted with --quantized."
        ),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="auto takes a GPU if there is one.")] = "auto",
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace an existing file.")] = False,
) -> None:
    """Sample a fitted field, an image or a volume, at any resolution and scale, filtered if asked for.

    A network written by save_network is sampled on its box_size, with voxels of 1 Å.
    """
    from resmfn.fitting import render as run

    shape = run(
        field, out, size=size, pixel_size=pixel_size, scale=scale, filter=filter, device=device, overwrite=overwrite
    )
    chosen = f"scale {'finest' if scale is None else f'{scale:g}'}" + (f", {filter}" if filter else "")
    print(f"{out}: {' x '.join(map(str, reversed(shape)))}, {chosen}")
