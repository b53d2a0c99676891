"""``resmfn align``: flags, and how the map was turned."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import PIXEL_SIZE


def align(
    moving: Annotated[Path, Parameter(name="map", help="The map that is turned (.mrc, .map, also .gz).")],
    reference: Annotated[Path, Parameter(help="The map whose frame and hand it takes.")],
    *,
    out: Annotated[Path, Parameter(help="The turned map (.mrc).")],
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Å, in place of what the maps say.")] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a file that exists.")] = False,
) -> None:
    """Rotate, shift and, where needed, mirror a map onto a reference."""
    from resmfn.reports.compare import align as run_alignment
    from resmfn.reports.tables import alignment_table

    start = time.perf_counter()
    alignment = run_alignment(moving, reference, out, pixel_size=pixel_size, overwrite=overwrite)
    print(f"{alignment_table(alignment)}\n\n{out}: written in {time.perf_counter() - start:.1f} s")
