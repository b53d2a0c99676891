"""Flags of ``resmfn reconstruct`` for the search and refinement of poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from resmfn.cli.input_flags import AllowOutside, DataDir, Passthrough, StripPrefix
from resmfn.cli.published_flags import CHECK


@Parameter(name="*", group=("Parameters", CHECK))
@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """What --preset published has no use for; names and defaults are those of the settings."""

    mask_diameter: Annotated[
        float | None, Parameter(help="Å, of the sphere that holds the particle [default: 0.84 of the box].")
    ] = None
    mask: Annotated[
        Path | None, Parameter(help="Map of a soft mask, 0 to 1 [default: found from the map's shape].")
    ] = None
    shift_range: Annotated[float, Parameter(help="Largest shift that is searched, Å; 0: images are centered.")] = 10.0
    n_starts: Annotated[int, Parameter(help="Annealed starts; the likeliest goes on.")] = 4
    poses: Annotated[
        Literal["unknown", "from-input", "fixed"],
        Parameter(help="Search them, refine those of the input, or keep those of the input."),
    ] = "unknown"
    reference: Annotated[Path | None, Parameter(help="Map to start from, in place of the annealed starts.")] = None
    ini_high: Annotated[float, Parameter(help="Å, to which the reference is believed.")] = 30.0
    hidden_dim: Annotated[int | None, Parameter(help="Width of the network [default: 4 x the box, 96 to 1,024].")] = (
        None
    )
    score_precision: Annotated[
        Literal["auto", "full", "tf32"],
        Parameter(help="Of scores that rank poses, the best always in full; auto: tf32 on a GPU."),
    ] = "auto"
    gpu_memory: Annotated[
        float | None,
        Parameter(help="GiB that the run may take of a GPU, working on fewer images at a time [default: all]."),
    ] = None
    network_steps: Annotated[int, Parameter(help="Conjugate gradient steps of each scale of the network.")] = 30
    datadir: DataDir = None
    strip_prefix: StripPrefix = None
    allow_outside: AllowOutside = False
    passthrough: Passthrough = None
