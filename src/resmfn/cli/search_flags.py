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
    """Flags that --preset published does not take; names and defaults are those of the settings."""

    mask_diameter: Annotated[
        float | None, Parameter(help="Diameter of the particle in Å [default: 0.84 of the box].")
    ] = None
    mask: Annotated[Path | None, Parameter(help="Soft mask, 0 to 1 [default: made from the map].")] = None
    shift_range: Annotated[float, Parameter(help="Largest shift to search, Å; 0: images are centered.")] = 10.0
    n_starts: Annotated[int, Parameter(help="Annealed starts; the likeliest is kept.")] = 4
    n_classes: Annotated[
        int | Literal["auto"], Parameter(help="Largest number of classes; auto: as many as held-out images support.")
    ] = 1
    local_states: Annotated[
        bool,
        Parameter(
            help="Classes are states of one structure that differ locally: divided at its refined poses.", negative=""
        ),
    ] = False
    poses: Annotated[
        Literal["unknown", "from-input", "fixed"],
        Parameter(help="Search the poses, refine those of the input, or keep them fixed."),
    ] = "unknown"
    classes_from: Annotated[
        Path | None,
        Parameter(help="Run whose classes choose among the particles, which may be extracted anew; needs --classes."),
    ] = None
    classes: Annotated[str | None, Parameter(help="Classes of that run to reconstruct from, such as 1,3.")] = None
    reference: Annotated[Path | None, Parameter(help="Initial map, instead of annealed starts.")] = None
    ini_high: Annotated[float, Parameter(help="Low-pass filter of the reference, Å.")] = 30.0
    hidden_dim: Annotated[int | None, Parameter(help="Width of the network [default: 4 x the box, 96 to 1,024].")] = (
        None
    )
    score_precision: Annotated[
        Literal["auto", "full", "tf32"],
        Parameter(help="Precision of pose scores; the best are rescored in full. auto: tf32 on a GPU."),
    ] = "auto"
    gpu_memory: Annotated[
        float | None,
        Parameter(help="Limit of GPU memory, GiB: smaller chunks of images, a box that fits [default: all]."),
    ] = None
    network_steps: Annotated[int, Parameter(help="Conjugate gradient steps of each scale of the network.")] = 30
    datadir: DataDir = None
    strip_prefix: StripPrefix = None
    allow_outside: AllowOutside = False
    passthrough: Passthrough = None
