"""``resmfn convert``: flags, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.input_flags import (
    AllowOutside,
    AmplitudeContrast,
    DataDir,
    Passthrough,
    SphericalAberration,
    StripPrefix,
    Voltage,
)
from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import PIXEL_SIZE


def convert(
    source: Annotated[Path, Parameter(help="A .star or .cs file, an image stack, a folder with .npy files, or a map.")],
    out: Annotated[
        Path,
        Parameter(help="Ends in .star or .cs, of a map in .mrc; any other is a folder for .npy files."),
    ],
    *,
    datadir: DataDir = None,
    strip_prefix: StripPrefix = None,
    allow_outside: AllowOutside = False,
    passthrough: Passthrough = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Å, in place of what the files say.")] = None,
    voltage: Voltage = None,
    spherical_aberration: SphericalAberration = None,
    amplitude_contrast: AmplitudeContrast = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace what exists.")] = False,
) -> None:
    """Write particles in another format: RELION STAR, cryoSPARC .cs, or the folder of .npy files of published data.

    Every row, column and pose is kept, rows in their order; what the other program will not use is said. Images stay
    where they are; names of them stay as they are.
    A map of any shape, packed or with axes in another order, becomes a cube in a plain .mrc file, zeros around it.
    """
    from resmfn.core import InputError
    from resmfn.data import Supplement, convert_particles, read_map, write_map
    from resmfn.data.particles.conversion import lost_by

    stack = out.with_suffix(".mrcs")  # where the images of a folder of .npy files go
    for path in (out, stack) if source.is_dir() and out.suffix in (".star", ".cs") else (out,):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; give another name, or --overwrite")
    if out.suffix == ".mrc":
        density = read_map(source, pixel_size, pad=True)
        write_map(out, density.data, density.pixel_size)
        print(f"a map of {density.box_size} voxels a side: {out} written")
        return
    particles, written = convert_particles(
        source,
        out,
        datadir=datadir,
        strip_prefix=strip_prefix,
        allow_outside=allow_outside,
        pixel_size=pixel_size,
        supplement=Supplement(
            passthrough=passthrough,
            voltage=voltage,
            spherical_aberration=spherical_aberration,
            amplitude_contrast=amplitude_contrast,
        ),
    )
    print(f"{len(particles)} particles: {' and '.join(map(str, written))} written")
    for line in (*lost_by(particles, out), *particles.remarks.refusals, *particles.remarks.notes):
        print(f"note: {line}")
    if particles.stated_sign == -1 and out.suffix != ".cs":
        print("The file says that the molecule is dark: RELION expects it white, so invert the images there.")
