"""Some of a run's particles as a file of their own: by class, by probability."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import torch

from resmfn.core import InputError
from resmfn.data.particles.particle_set import ParticleSet, read_particles
from resmfn.data.particles.particle_writer import write_particles
from resmfn.data.runs.file_names import PARTICLES

CLASS, CLASS_PROBABILITY, FIGURE_OF_MERIT = "rlnClassNumber", "rlnClassProbability", "rlnParticleFigureOfMerit"


def select_particles(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    classes: Collection[int] | None = None,
    least_probability: float = 0.5,
) -> tuple[ParticleSet, int]:
    """Write the particles of some classes, with every column of their file and the names of their own images.

    Parameters
    ----------
    source
        Run folder, its particles.star, or any file with the same columns.
    out
        Ends in .star or .cs.
    classes
        rlnClassNumber of those that are kept; by default all.
    least_probability
        Kept are images that show a particle (rlnParticleFigureOfMerit) of their class (rlnClassProbability) with this
        probability at least: the product of the two.

    Returns
    -------
    tuple
        Those that were written, and how many there were.

    Raises
    ------
    InputError
        The file has no such columns, no such class, or nothing is left.
    """
    source = Path(source)
    source = source / PARTICLES if source.is_dir() else source
    particles = read_particles(source, with_images=False)
    metadata, n = particles.metadata, len(particles)
    missing = [name for name in (CLASS,) if classes is not None and name not in particles.table]
    missing += [name for name in (FIGURE_OF_MERIT,) if name not in particles.table]
    if missing:
        raise InputError(f"{source}: {' and '.join(missing)} is missing; give particles.star of a finished run")
    probability = torch.from_numpy(metadata.numbers(FIGURE_OF_MERIT))
    if CLASS_PROBABILITY in particles.table:
        probability = probability * torch.from_numpy(metadata.numbers(CLASS_PROBABILITY))
    kept = probability >= least_probability
    if classes is not None:
        numbers = torch.from_numpy(metadata.numbers(CLASS)).long()
        unknown = sorted(set(classes) - set(numbers.tolist()))
        if unknown:
            raise InputError(
                f"--classes {unknown[0]}: {source} has classes {', '.join(map(str, sorted(set(numbers.tolist()))))}; "
                "choose among these"
            )
        kept &= torch.isin(numbers, torch.tensor(sorted(classes)))
    if not bool(kept.any()):
        raise InputError(f"{source}: no particle is left of {n}; lower --min-probability, or name other --classes")
    chosen = particles.select(kept.nonzero()[:, 0])
    write_particles(Path(out), chosen)
    return chosen, n
