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
    """What real particle sets need, beyond clean ones; names and defaults are those of the settings."""

    box_size: Annotated[
        int | None, Parameter(help="Pixels, to which images are Fourier-cropped as they are read [default: theirs].")
    ] = None
    contrast: Annotated[
        Literal["auto", "white", "black"], Parameter(help="Molecules are white or black; auto asks the images.")
    ] = "auto"
    symmetry: Annotated[str, Parameter(help="Point group: C1, Cn, Dn, T, O, I, in RELION's settings.")] = "C1"
    flip_hand: Annotated[
        bool, Parameter(negative="", help="Give the mirror image; with --resume, of a run that is done.")
    ] = False
    voltage: Voltage = None
    spherical_aberration: SphericalAberration = None
    amplitude_contrast: AmplitudeContrast = None
