"""Flags that say how a particle file is read, the same for every command that reads one."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import AMPLITUDE_CONTRAST, SPHERICAL_ABERRATION, VOLTAGE

DataDir = Annotated[Path | None, Parameter(help="Folder that image names start from.")]
StripPrefix = Annotated[str | None, Parameter(help="Taken away from the front of image names.")]
AllowOutside = Annotated[
    bool, Parameter(negative=(), help="Let image names lead out of the folder that they start from.")
]
Passthrough = Annotated[
    Path | None, Parameter(help="For a .cs file, the one with the fields it lacks [default: found beside it].")
]
Voltage = Annotated[float | None, in_range(VOLTAGE, "kV, of a file that does not say it.")]
SphericalAberration = Annotated[
    float | None, in_range(SPHERICAL_ABERRATION, "Cs in mm, of a file that does not say it.")
]
AmplitudeContrast = Annotated[float | None, in_range(AMPLITUDE_CONTRAST, "0 to 1, of a file that does not say it.")]
