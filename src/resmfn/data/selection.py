"""Some of a run's particles as a file of their own: by class, by probability."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.particles.particle_set import ParticleSet, read_particles
from resmfn.data.particles.particle_writer import write_particles
from resmfn.data.runs.file_names import PARTICLES
from resmfn.data.star.metadata import SUBSET_COLUMN
from resmfn.data.star.tables import PARTICLE_COLUMN

PLACE_COLUMNS = "rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"
SAME_PLACE = 1.0
"""Pixels of the micrograph within which coordinates of one image may differ: programs round them."""
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
    particles = _listed_in(source)
    chosen = particles.select(_of_classes(particles, classes, least_probability))
    write_particles(Path(out), chosen)
    return chosen, len(particles)


def images_of_classes(
    particles: ParticleSet,
    run: str | os.PathLike[str],
    classes: Collection[int],
    *,
    with_poses: bool = False,
    least_probability: float = 0.5,
) -> ParticleSet:
    """Return the images that a run found to show some of its classes, in the half sets that the run had.

    The images may be those that the run read, or the same particles extracted anew, in a larger box or at another pixel
    size: rows are found again by the name of the image or, failing that, by micrograph and coordinates.

    Parameters
    ----------
    particles
        Images to choose among.
    run
        Folder of a finished run, or its particles.star.
    classes
        rlnClassNumber of those that are chosen.
    with_poses
        Whether they take over the poses of the run.
    least_probability
        As :func:`select_particles` takes it.

    Raises
    ------
    InputError
        The file has no such columns, no such class, or an image that is not among the particles.
    """
    listed = _listed_in(run)
    found = listed.select(_of_classes(listed, classes, least_probability))
    chosen = particles.select(_rows_of(found, particles))
    if SUBSET_COLUMN in found.table:
        chosen = chosen.with_columns({SUBSET_COLUMN: found.table[SUBSET_COLUMN]})
    if with_poses:
        rotations, shifts = found.require_poses()  # to the last digit, which angles of six decimals do not keep
        chosen = replace(chosen.with_poses(rotations, shifts), rotations=rotations, shifts=shifts)
    numbers = " and ".join(map(str, sorted(classes)))
    note = f"{len(chosen)} of {len(particles)} particles: class {numbers} of {run}"
    return replace(chosen, remarks=replace(chosen.remarks, applied=(*chosen.remarks.applied, note)))


def class_numbers(text: str) -> set[int]:
    """Return the numbers of classes that a text such as 1,3 lists.

    Raises
    ------
    InputError
        It is no such list.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--classes must be class numbers with commas between, such as 1,3, got {text}")
    return {int(part) for part in parts}


def _listed_in(source: str | os.PathLike[str]) -> ParticleSet:
    source = Path(source)
    return read_particles(source / PARTICLES if source.is_dir() else source, with_images=False)


def _of_classes(particles: ParticleSet, classes: Collection[int] | None, least_probability: float) -> Tensor:
    """Return the rows, int64 (m,), of some classes."""
    source, metadata, n = particles.path, particles.metadata, len(particles)
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
    return kept.nonzero()[:, 0]


def _rows_of(found: ParticleSet, particles: ParticleSet) -> Tensor:
    """Return the row, int64 (m,), of each image found in a run, among all particles."""
    asked: list[tuple[str, ...]] = []
    moved: int | None = None
    for key in (_names, _places):
        asked, there = key(found), key(particles)
        row_of = dict(zip(there, range(len(there)), strict=True))
        if there and asked and len(row_of) == len(there) and all(name in row_of for name in asked):
            rows = torch.tensor([row_of[name] for name in asked])
            moved = _moved(found, particles, rows)
            if moved is None:
                return rows
    if moved is not None:
        raise InputError(
            f"{particles.path} and {found.path} both have the image {' '.join(_names(found)[moved])}, with other "
            "coordinates: another particle; give the particles of that run, or the same ones extracted anew"
        )
    names = set(_names(particles))
    lost = next((name for name in _names(found) if name not in names), None)
    if lost is None:
        raise InputError(
            f"{particles.path} lists an image more than once, so that rows cannot be told apart by name; write the "
            f"images of the class with resmfn select, and give that file in place of {particles.path}"
        )
    raise InputError(
        f"{particles.path} lacks the image {' '.join(lost)}, which {found.path} has, and micrographs with coordinates "
        "do not identify it; give the particles of that run, or the same ones extracted anew"
    )


def _moved(found: ParticleSet, particles: ParticleSet, rows: Tensor) -> int | None:
    """Return the first image whose row among all particles says that it was picked elsewhere; None if none does."""
    if not all(name in table for table in (found.table, particles.table) for name in PLACE_COLUMNS[1:]):
        return None
    for name in PLACE_COLUMNS[1:]:
        here, there = (torch.from_numpy(of.metadata.numbers(name)) for of in (found, particles))
        far = ((here - there[rows]).abs() > SAME_PLACE).nonzero()[:, 0]
        if len(far):
            return int(far[0])
    return None


def _names(particles: ParticleSet) -> list[tuple[str, ...]]:
    """Return what image each row shows; nothing without a column that says it."""
    return [(name,) for name in particles.table.text(PARTICLE_COLUMN)] if PARTICLE_COLUMN in particles.table else []


def _places(particles: ParticleSet) -> list[tuple[str, ...]]:
    """Return the micrograph and the place in it where each row was picked; nothing without columns that say it."""
    table = particles.table
    if not all(name in table for name in PLACE_COLUMNS):
        return []
    micrographs = table.text(PLACE_COLUMNS[0])
    x, y = (particles.metadata.numbers(name) for name in PLACE_COLUMNS[1:])
    return [(Path(name).name, f"{at_x:.1f}", f"{at_y:.1f}") for name, at_x, at_y in zip(micrographs, x, y, strict=True)]
