"""How many classes, and which: they branch, coarse to fine, as far as images tell that were left out.

All images begin in one class. A class is tried as several: maps from its images at random poses and in random classes,
annealed as a start is. Its images that were left out of them decide: if they are likelier under several maps than under
the one that all of the class make, the class branches. After each branching all maps compete for all images, for a
species that two branches share must come together again: a class without which images left out are as likely is given
up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.reconstruction.classes.mixture import Mixture, ask, random_mixture, run_mixture
from resmfn.reconstruction.phases.annealing import START_STAGES, Progress, SearchTask
from resmfn.reconstruction.phases.starts import N_SEARCH

LEAST_ERRORS = 4.0
"""Standard errors by which the images left out of a class must prefer several maps to one."""
LEAST_GAIN = 0.5
"""Nat an image of the class: less is what a better fit of the same structure gives."""
LEAST_MEMBERS = 60
"""Images of a class below which no more maps are made of it."""
BRANCHES = 4, 3
"""Maps that a class is tried as, at first and later. Of five species with junk (3,000 images) two maps found no
division in one of three tries; more maps than are needed end in a poor division less often, and are given up again."""
SURELY_NEEDED = 2.0
"""Nat: what images of a class lose at least, in the mean, where no other class shows the same. Of a class that is there
twice they lose some tenths, as the other map was made of other images; open and closed adenylate kinase lose 6."""
POLISH = replace(START_STAGES[-1], temperature=1.0, coolest=1.0, n_steps=(2, 6))
"""Steps in which all classes compete for all images; their maps are cold."""


@dataclass(frozen=True)
class Comparison:
    """What images that were left out say of more classes against fewer."""

    gain: float
    """Mean log likelihood of an image with more, over that with fewer, nat."""
    error: float
    """Its standard error."""

    @classmethod
    def of(cls, more: Tensor, fewer: Tensor) -> Comparison:
        """Compare log likelihoods (n,) of the same images."""
        difference = (more - fewer).double()
        return cls(float(difference.mean()), float(difference.std()) / math.sqrt(max(1, len(difference))))

    @property
    def is_better(self) -> bool:
        """Whether more classes are better, beyond chance."""
        return self.gain > max(LEAST_GAIN, LEAST_ERRORS * self.error)


@dataclass(frozen=True)
class Branches:
    """The classes so far: of images that they are made from, and of images that they are asked by."""

    maps: Mixture
    asked: Mixture
    """The same maps; shift and evidence of the images left out."""

    @property
    def n_classes(self) -> int:
        """How many."""
        return len(self.maps.share)

    @property
    def log_evidence(self) -> Tensor:
        """Of the images left out (m,)."""
        return self.asked.log_evidence


@dataclass(frozen=True)
class LeftOut:
    """Images that maps are made from, and images that are left out."""

    made_from: SearchTask
    left_out: SearchTask


def first_class(tasks: LeftOut, *, generator: torch.Generator, progress: Progress) -> Branches:
    """Return one class of all images."""
    few = replace(tasks.made_from, index=_some(tasks.made_from.index, N_SEARCH, generator))
    start = _started(few, 1, generator=generator, progress=progress)
    return _polished(tasks, start, generator=generator, progress=progress)


def branched(
    tasks: LeftOut, branches: Branches, number: int, n_maps: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Mixture, Comparison] | None:
    """Try a class as several.

    Returns
    -------
    tuple or None
        The maps, of the images of the class alone, and what those left out say; None if it has too few images.
    """
    mine = members(branches.maps, number)
    its_left_out = members(branches.asked, number)
    if min(len(mine), 4 * len(its_left_out)) < LEAST_MEMBERS:
        return None
    few = _some(mine, n_maps * N_SEARCH, generator)
    task = replace(tasks.made_from, index=tasks.made_from.index[few])
    several = _started(task, n_maps, generator=generator, progress=progress)
    others = replace(tasks.left_out, index=tasks.left_out.index[its_left_out])
    shift = branches.asked.shift[its_left_out]
    one = branches.maps.only([number])
    fewer = ask(others, POLISH, one, shift, generator=generator)
    more = ask(others, POLISH, several, generator=generator)  # maps of a start have a center of their own
    return several, Comparison.of(more.log_evidence, fewer.log_evidence)


def with_branch(
    tasks: LeftOut, branches: Branches, number: int, several: Mixture, *, generator: torch.Generator, progress: Progress
) -> Branches:
    """Put several maps in the place of one, and let all compete for all images."""
    maps = branches.maps
    kept = _all_but(branches, number)
    together = replace(
        maps,
        volumes=torch.cat((maps.volumes[kept], several.volumes)),
        priors=torch.cat((maps.priors[kept], several.priors)),
        share=torch.cat((maps.share[kept], maps.share[number] * several.share)),
    )
    return _polished(tasks, together, generator=generator, progress=progress)


def without_needless(
    tasks: LeftOut, branches: Branches, most: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Branches, list[int]]:
    """Give up classes without which the images left out are as likely, one after the other, and those beyond ``most``.

    Returns
    -------
    tuple
        What is left, and which were given up, by the numbers that they had when it was asked.
    """
    given_up = []
    while branches.n_classes > 1:
        need = [_need(branches, k) for k in range(branches.n_classes)]
        number = min(range(branches.n_classes), key=need.__getitem__)
        too_many = branches.n_classes > most
        if need[number] > SURELY_NEEDED and not too_many:
            break
        rest = branches.maps.only(_all_but(branches, number))
        fewer = _polished(tasks, rest, generator=generator, progress=progress)
        if not too_many and Comparison.of(branches.log_evidence, fewer.log_evidence).is_better:
            break
        branches = fewer
        given_up.append(number)
    return branches, given_up


def members(maps: Mixture, number: int) -> Tensor:
    """Return the images, int64 (m,), that a class is the likeliest of."""
    return (maps.posterior.argmax(dim=1) == number).nonzero()[:, 0]


def _need(branches: Branches, number: int) -> float:
    """Return what the images left out that are likeliest of a class lose without it, nat in the mean; 0 if none is."""
    mine = members(branches.asked, number)
    without = branches.asked.only(_all_but(branches, number))
    lost = (branches.log_evidence - without.log_evidence)[mine]
    return float(lost.mean()) if len(mine) else 0.0


def _some(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return some of the rows (n,), growing; all if they are not too many."""
    if len(rows) <= most:
        return rows
    order = torch.randperm(len(rows), generator=generator)[:most].to(rows.device)
    return rows[order].sort().values


def _all_but(branches: Branches, number: int) -> list[int]:
    return [k for k in range(branches.n_classes) if k != number]


def _started(task: SearchTask, n_classes: int, *, generator: torch.Generator, progress: Progress) -> Mixture:
    """Anneal maps from random poses and classes."""
    maps = random_mixture(task, n_classes, START_STAGES[0], generator=generator)
    for number, stage in enumerate(START_STAGES):
        if number > 0 and task.space.shift_range > 0:
            found = ask(task, START_STAGES[0], maps, generator=generator)
            maps = replace(maps, shift=found.shift, shift_width=found.shift_width)
        maps = run_mixture(task, stage, maps, generator=generator, progress=progress)
    return maps


def _polished(tasks: LeftOut, maps: Mixture, *, generator: torch.Generator, progress: Progress) -> Branches:
    """Let maps compete for all images, whose shifts are searched anew; ask those that are left out."""
    asked = ask(tasks.made_from, START_STAGES[0], maps, generator=generator)
    maps = run_mixture(tasks.made_from, POLISH, asked, generator=generator, progress=progress)
    return Branches(maps, ask(tasks.left_out, POLISH, maps, generator=generator))
