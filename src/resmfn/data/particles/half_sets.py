"""The half sets of a particle file (rlnRandomSubset), by image rather than by row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.particles.particle_set import ParticleSet
from resmfn.data.star.metadata import SUBSET_COLUMN
from resmfn.data.star.tables import PARTICLE_COLUMN, unquote


def half_sets(particles: ParticleSet) -> Tensor | None:
    """Return the half set, 1 or 2, of each row by rlnRandomSubset.

    Returns
    -------
    Tensor or None
        int64 (n,) of 1 and 2; None where the file has no such column.

    Raises
    ------
    InputError
        A cell is neither 1 nor 2, a half set is empty, or rows of one image are in both half sets.
    """
    if SUBSET_COLUMN not in particles.table:
        return None
    cells = particles.table[SUBSET_COLUMN]
    halves = np.array([_half(cell) for cell in cells], dtype=np.int64)
    path, advice = particles.path, "correct it, or remove the column to split the images at random"
    if not halves.all():
        row = int((halves == 0).argmax())
        raise InputError(f"{path}: row {row + 1}: {SUBSET_COLUMN} must be 1 or 2, got {cells[row]!r}; {advice}")
    if (halves == halves[0]).all():
        raise InputError(
            f"{path}: {SUBSET_COLUMN} must name two half sets, but every row is in half {halves[0]}; {advice}"
        )
    image = _images(particles)
    first = np.full(image.max() + 1, len(image))
    np.minimum.at(first, image, np.arange(len(image)))
    torn = halves != halves[first[image]]
    if torn.any():
        row = int(torn.argmax())
        other = int(first[image[row]])
        raise InputError(
            f"{path}: rows {other + 1} and {row + 1} show one image, in halves {halves[other]} and {halves[row]} "
            f"by {SUBSET_COLUMN}: half sets that share images agree on noise; {advice}"
        )
    return torch.from_numpy(halves)


def _half(cell: str) -> int:
    """Return 1 or 2, and 0 for anything else."""
    try:
        number = float(unquote(cell))
    except ValueError:
        return 0
    return int(number) if number in (1, 2) else 0


def _images(particles: ParticleSet) -> np.ndarray:
    """Return which image each row shows (n,): by its place in the stacks or, if they were not opened, by its name."""
    if particles.images is not None:
        return particles.distinct_images()[1].numpy()
    table = particles.table
    names = table.text(PARTICLE_COLUMN) if PARTICLE_COLUMN in table else [str(row) for row in range(len(table))]
    return np.unique(names, return_inverse=True)[1].reshape(-1)
