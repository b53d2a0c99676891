"""Flags for reading a particle file, shared by every command that reads one."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import AMPLITUDE_CONTRAST, SPHERICAL_ABERRATION, VOLTAGE

DataDir = Annotated[Path | None, Parameter(help="Folder that image paths are relative to.")]
StripPrefix = Annotated[str | None, Parameter(help="Prefix to remove from image paths.")]
AllowOutside = Annotated[
    bool, Parameter(negative=(), help="Allow image paths that leave the folder they are relative to.")
]
Passthrough = Annotated[Path | None, Parameter(help="Passthrough file of a .cs file [default: found beside it].")]
Voltage = Annotated[float | None, in_range(VOLTAGE, "Voltage in kV, for a file that lacks it.")]
SphericalAberration = Annotated[float | None, in_range(SPHERICAL_ABERRATION, "Cs in mm, for a file that lacks it.")]
AmplitudeContrast = Annotated[float | None, in_range(AMPLITUDE_CONTRAST, "0 to 1, for a file that lacks it.")]
