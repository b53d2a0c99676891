"""``resmfn project``: flags, a progress bar, and what was written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.cli.progress import image_progress
from resmfn.core.numbers import PIXEL_SIZE


def project(
    map_path: Annotated[Path, Parameter(name="map", help="Cubic map (.mrc, .map, also .gz).")],
    star: Annotated[
        Path, Parameter(help="STAR file with angles and, unless --no-ctf, optics; its images are not read.")
    ],
    *,
    out: Annotated[Path, Parameter(help="Image stack (.mrcs); a STAR file of the same name is written beside it.")],
    ctf: Annotated[bool, Parameter(help="Apply the CTF of each row.")] = True,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides map and STAR file.")] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace existing files.")] = False,
) -> None:
    """Project a map, without noise, at the poses and optics of a STAR file."""
    from resmfn.simulation.projections import project as run

    start = time.perf_counter()
    with image_progress("projecting") as progress:
        stack = run(map_path, star, out, ctf=ctf, pixel_size=pixel_size, overwrite=overwrite, progress=progress)
    print(f"{stack} and {stack.with_suffix('.star')}: written in {time.perf_counter() - start:.1f} s")
