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
        Parameter(help="File to write (.star or .cs; .mrc for a map); any other name is a folder of .npy files."),
    ],
    *,
    datadir: DataDir = None,
    strip_prefix: StripPrefix = None,
    allow_outside: AllowOutside = False,
    passthrough: Passthrough = None,
    pixel_size: Annotated[float | None, in_range(PIXEL_SIZE, "Pixel size in Å; overrides the files.")] = None,
    voltage: Voltage = None,
    spherical_aberration: SphericalAberration = None,
    amplitude_contrast: AmplitudeContrast = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace existing files.")] = False,
) -> None:
    """Write particles in another format: RELION STAR, cryoSPARC .cs, or the folder of .npy files of published data.

    All rows, columns and poses are kept, in order; notes name what the other program ignores. Image stacks are not
    copied, and their names are kept.
    A map of any shape, packed or with permuted axes, becomes a zero-padded cube in a plain .mrc file.
    """
    from resmfn.core import InputError
    from resmfn.data import Supplement, convert_particles, read_map, write_map
    from resmfn.data.particles.conversion import lost_by

    stack = out.with_suffix(".mrcs")  # where the images of a folder of .npy files go
    for path in (out, stack) if source.is_dir() and out.suffix in (".star", ".cs") else (out,):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: already exists; give another name, or --overwrite")
    if out.suffix == ".mrc":
        density = read_map(source, pixel_size, pad=True)
        write_map(out, density.data, density.pixel_size)
        print(f"{out}: written, {density.box_size} voxels a side")
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
        print("The file says that the molecule is dark; RELION expects white, so invert the contrast there.")
