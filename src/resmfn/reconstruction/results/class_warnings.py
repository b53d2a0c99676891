"""What a referee would ask about several classes: are two of them one, is one noise, is one a view and no structure."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from resmfn.evaluation import correlation_after_alignment
from resmfn.evaluation.starts import SAME_MAP
from resmfn.reconstruction.classes.new_starts import few_views
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.run.context import RunContext, already_set

MOST_COMPARED = 8
"""Classes, the largest first, whose maps are compared with each other: an alignment takes seconds."""
LEAST_ERRORS = 5.0
"""Standard errors by which halves differ in the size of a class."""


def class_warnings(run: RunContext, members: list[Tensor]) -> list[str]:
    """Return lines about the classes of a finished run.

    Parameters
    ----------
    run
        The run.
    members
        Of each class its images, int64 (m,).
    """
    return [
        *_noise(run),
        *_mixed(run),
        *_same_maps(run),
        *_one_view(run, members),
        *_halves_differ(run, members),
    ]


def _noise(run: RunContext) -> list[str]:
    return [
        f"class {number + 1}: images left out do not prefer its map to noise ({control.gain:.2g} ± "
        f"{control.gain_error:.2g} nat); do not believe this class"
        for number, control in enumerate(already_set(state.tests.structure) for state in run.state.classes)
        if not control.is_structure
    ]


def _mixed(run: RunContext) -> list[str]:
    return [
        f"class {number + 1} may hold more than one structure: images of each half are likelier as two by the maps of "
        "the other; divide it with --classes-from and --n-classes, or give a larger --n-classes"
        for number in run.state.branching.get("mixed", [])
    ]


def _same_maps(run: RunContext) -> list[str]:
    found: list[str] = []
    if run.config.local_states:  # alike they are; images left out have told them apart
        return found
    for first, second in combinations(range(min(MOST_COMPARED, len(run.state.classes))), 2):
        one, other = (already_set(run.state.classes[number].starts.best).cpu() for number in (first, second))
        if torch.equal(one, other):  # one class of the search, which images left out have told apart since
            continue
        size = min(len(one), len(other))  # classes of different size were searched in different bands
        one, other = resized(one, size), resized(other, size)
        alike = correlation_after_alignment(one, other, run.box_size * run.pixel_size / size)
        if alike > SAME_MAP:
            found.append(
                f"classes {first + 1} and {second + 1} look alike at {run.resolution(run.state.band.split):.0f} Å "
                f"(correlation {alike:.2f} after alignment): compare them before you call them two structures"
            )
    return found


def _one_view(run: RunContext, members: list[Tensor]) -> list[str]:
    """Name classes whose images look from one side, where those of all do not: orientation may have been sorted."""
    return [
        f"class {number + 1} lives on few views ({density:.1f} times an even distribution): it may be a direction, not "
        "a structure"
        for number, density in few_views(run, members).items()
    ]


def _halves_differ(run: RunContext, members: list[Tensor]) -> list[str]:
    """Name classes of which one half has more than the other: each half decided by its own maps."""
    found = []
    sizes = [len(half) for half in run.half_index]
    for number, mine in enumerate(members):
        first, second = (int(torch.isin(mine, half).sum()) for half in run.half_index)
        share = len(mine) / max(1, sum(sizes))
        error = math.sqrt(max(share * (1 - share), 1e-9) * sum(1 / max(1, size) for size in sizes))
        shares = [count / max(1, size) for count, size in zip((first, second), sizes, strict=True)]
        if abs(shares[0] - shares[1]) > LEAST_ERRORS * error:
            found.append(
                f"class {number + 1}: {first} images of one half and {second} of the other; the halves do not agree on "
                "who belongs there"
            )
    return found
