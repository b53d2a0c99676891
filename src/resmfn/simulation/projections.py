"""Images of a map at the poses and optics of a STAR file."""

from __future__ import annotations

import os
from pathlib import Path

from resmfn.core import InputError
from resmfn.data.mrc.maps import DensityMap, read_map
from resmfn.data.mrc.stacks import ImageStackWriter
from resmfn.data.particles.particle_set import ParticleSet, read_particles
from resmfn.data.particles.particle_writer import write_particles
from resmfn.data.star.tables import PARTICLE_COLUMN
from resmfn.simulation.images import Progress, clean_images, is_constant

_OTHER_FILES = (".mrc", ".map", ".ccp4", ".star", ".cs", ".npy", ".gz")
_SAME = 0.01  # relative difference of pixel sizes that is rounding


def project(
    map_path: str | os.PathLike[str],
    star_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    ctf: bool = True,
    pixel_size: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Project a map, without noise, at given poses and optics into a stack and a STAR file of the same name.

    Gray values are those of the projections: sums of voxels along z, before the CTF.

    Parameters
    ----------
    map_path
        Cubic map.
    star_path
        STAR file with angles, and, if ``ctf``, optics. Its own images need not exist.
    out
        The stack, ``.mrcs`` (added if missing). Beside it a ``.star`` with every row and column of ``star_path``, in
        which rlnImageName points to the new stack.
    ctf
        Whether images are as recorded: modulated by the CTF of their row, with its aberrations and magnification, and
        multiplied by it or with phases flipped where the file says so.
    pixel_size
        Pixel size in Å; overrides map and STAR file.
    overwrite
        Whether files that exist may be replaced.
    progress
        Called after each batch with the number of images done and the total.

    Returns
    -------
    Path
        The stack.

    Raises
    ------
    InputError
        An input cannot be used, lacks angles or defocus, or map and STAR file differ in box or pixel size; or the
        output exists.
    """
    stack_path = _stack_path(Path(out))
    new_star = stack_path.with_suffix(".star")
    _require_free(stack_path, new_star, Path(star_path), overwrite=overwrite)
    density = _read_density(map_path, pixel_size)
    particles = read_particles(star_path, with_images=False, pixel_size=pixel_size)
    _require_same_sampling(density, particles, map_path)
    rotations, shifts = particles.require_poses()
    optics = particles.optics if ctf else None
    if ctf and optics is None:
        raise InputError(f"{star_path}: has no rlnDefocusU, so no CTF can be applied; give --no-ctf")
    if ctf:
        particles.require_modeled()
    names = [f"{row:06d}@{stack_path.name}" for row in range(1, len(particles) + 1)]
    with ImageStackWriter(stack_path, len(particles), density.box_size, density.pixel_size) as stack:
        for images in clean_images(density, rotations, shifts, optics, progress):
            stack.write(images)
        write_particles(new_star, particles.with_columns({PARTICLE_COLUMN: names}))
    return stack_path


def _stack_path(out: Path) -> Path:
    """Return the stack's path; a name that says it is something else is refused."""
    if out.suffix in _OTHER_FILES:
        raise InputError(f"--out {out} must end in .mrcs, a stack of images, not in {out.suffix}; or in nothing")
    return out if out.suffix == ".mrcs" else Path(f"{out}.mrcs")


def _require_free(stack_path: Path, new_star: Path, star_path: Path, *, overwrite: bool) -> None:
    if new_star.absolute() == star_path.absolute():
        raise InputError(f"{new_star}: the output would replace the STAR file of the poses; give another --out")
    for path in (stack_path, new_star):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: already exists; give --overwrite, or another --out")


def _read_density(path: str | os.PathLike[str], pixel_size: float | None) -> DensityMap:
    density = read_map(path, pixel_size)
    if is_constant(density):
        raise InputError(f"{path}: the map is constant; there is nothing to project")
    return density


def _require_same_sampling(density: DensityMap, particles: ParticleSet, map_path: str | os.PathLike[str]) -> None:
    star_pixel, star_box = particles.stated_pixel_size, particles.stated_box_size
    if star_pixel is not None and abs(star_pixel - density.pixel_size) > _SAME * density.pixel_size:
        raise InputError(
            f"{map_path}: voxels of {density.pixel_size:g} Å, but {particles.path} has pixels of {star_pixel:g} Å; "
            "resample the map, or give --pixel-size"
        )
    if star_box is not None and star_box != density.box_size:
        raise InputError(
            f"{map_path}: the box has {density.box_size} voxels, but {particles.path} has images of {star_box} pixels; "
            "resample the map"
        )
