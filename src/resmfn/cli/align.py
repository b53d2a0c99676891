"""``resmfn align``: flags, and the alignment that was found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import PIXEL_SIZE


def align(
    moving: Annotated[Path, Parameter(name="map", help="Map to align (.mrc, .map, also .gz).")],
    reference: Annotated[Path, Parameter(help="Map to align it to.")],
    *,
    out: Annotated[Path, Parameter(help="Aligned map (.mrc).")],
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides the map headers.")] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace an existing file.")] = False,
) -> None:
    """Align a map to a reference: rotation, shift and, where needed, hand."""
    from resmfn.reports.compare import align as run_alignment
    from resmfn.reports.tables import alignment_table

    start = time.perf_counter()
    alignment = run_alignment(moving, reference, out, pixel_size=pixel_size, overwrite=overwrite)
    print(f"{alignment_table(alignment)}\n\n{out}: written in {time.perf_counter() - start:.1f} s")
