"""Flags of ``resmfn reconstruct`` that real data may need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from resmfn.cli.input_flags import AmplitudeContrast, SphericalAberration, Voltage
from resmfn.cli.published_flags import CHECK


@Parameter(name="*", group=(Group.create_ordered("Real data"), CHECK))
@dataclass(frozen=True, kw_only=True)
class RealDataFlags:
    """What real particle sets may need; names and defaults are those of the settings."""

    box_size: Annotated[
        int | None,
        Parameter(help="One box for all images and maps, pixels, by Fourier cropping [default: it grows]."),
    ] = None
    final_resolution: Annotated[
        float | None, Parameter(help="Finest resolution to use the images to, Å [default: two pixels].")
    ] = None
    memory: Annotated[
        float | None,
        Parameter(help="Limit of memory of all processes, GiB: the box grows as far as it allows [default: none]."),
    ] = None
    contrast: Annotated[
        Literal["auto", "white", "black"], Parameter(help="Contrast of the molecule; auto measures it.")
    ] = "auto"
    symmetry: Annotated[str, Parameter(help="Point group, oriented as in RELION: C1, Cn, Dn, T, O, I.")] = "C1"
    relax_symmetry: Annotated[
        str | None,
        Parameter(help="Point group that holds only nearly: images choose among its copies of their poses; map in C1."),
    ] = None
    refine_defocus: Annotated[
        bool,
        Parameter(
            help="Refine the defocus of each particle: rlnDefocusU and V, by one offset (RELION: CtfRefine).",
            negative="",
        ),
    ] = False
    flip_hand: Annotated[
        bool, Parameter(negative="", help="Write the other hand; with --resume, of a finished run.")
    ] = False
    voltage: Voltage = None
    spherical_aberration: SphericalAberration = None
    amplitude_contrast: AmplitudeContrast = None
