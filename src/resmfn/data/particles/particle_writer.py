"""Particle sets written: as RELION STAR files or cryoSPARC records."""

from __future__ import annotations

import os
from pathlib import Path

from resmfn.data.particles.cryosparc_writer import star_tables, write_cs
from resmfn.data.particles.particle_set import ParticleSet
from resmfn.data.star.tables import write_star


def write_particles(path: str | os.PathLike[str], particles: ParticleSet) -> None:
    """Write the particles with every row and column they were read with, in their order.

    A path that ends in ``.cs`` becomes cryoSPARC records; any other a STAR file, the particle table last.
    """
    path = Path(path)
    if path.suffix == ".cs":
        write_cs(path, particles)
    else:
        write_star(path, star_tables(particles))
