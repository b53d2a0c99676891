"""How many classes, and which: they branch, coarse to fine, as far as images tell that were left out.

All images begin in one class. A class is tried as several: maps from its images at random poses and in random classes,
annealed as a start is. The bands of a start are cycles over the diameter of what it looks for, and here that is the
diameter of the class's own map: small species in the mask of a large one differ only in finer bands. Images that were
left out of the maps decide: if they are likelier under several maps than under the one that all of the class make, the
class branches. After each branching all maps compete for all images, in the finest band that a class needed, for a
species that two branches share must come together again: a class without which images left out are as likely is given
up. A class whose images are likelier a stray field than its map is junk, and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.reconstruction.classes.competition import (
    Branches,
    LeftOut,
    all_but,
    asked_in_band,
    competition,
    members,
    need_of_class,
    next_likeliest_class,
    polished,
    typical_need_of_class,
)
from resmfn.reconstruction.classes.mixture import Mixture, ask, on_stage, random_mixture, run_mixture
from resmfn.reconstruction.phases.annealing import N_SEARCH, START_STAGES, Progress, SearchTask, some_of
from resmfn.reconstruction.phases.control import mean_and_error
from resmfn.reconstruction.poses.search_space import extent_of_map

LEAST_ERRORS = 4.0
"""Standard errors by which the images left out of a class must prefer several maps to one."""
LEAST_GAIN = 0.5
"""Nat an image of the class: less is what a better fit of the same structure gives."""
LEAST_MEMBERS = 60
"""Images of a class below which no more maps are made of it."""
BRANCHES = 4, 3
"""Maps that a class is tried as, at first and later. Of five species with junk (3,000 images) two maps found no
division in one of three tries; more maps than are needed end in a poor division less often, and are given up again."""
LEAST_OF_A_MAP = 200
"""Images that each map of a try has at least, but where there are only two: of 480 images of two structures (SNR 0.5,
box 24) four maps gain 1.9 +- 0.7 nat, which is within chance, and two maps 10.2 +- 1.1."""
STARTS_AGAIN, ERRORS_AGAIN = 2, 2.0
"""Starts of each class of its own in the end; standard errors by which images left out must prefer one to the map that
the class has."""
SURELY_NEEDED = 3.0
"""Nat: what images of a class lose at least, in the mean, where no other class shows the same. Of a class that is there
twice they lose some tenths, as the other map was made of other images; of junk, beside a stray field, 2.3; open and
closed adenylate kinase lose 6."""


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
        return cls(*mean_and_error((more - fewer).double()))

    @property
    def is_better(self) -> bool:
        """Whether more classes are better, beyond chance."""
        return self.is_more_than(LEAST_GAIN)

    def is_more_than(self, least: float) -> bool:
        """Say whether the gain is more than a least one, nat, and beyond chance."""
        return self.gain > max(least, LEAST_ERRORS * self.error)


def first_class(tasks: LeftOut, *, generator: torch.Generator, progress: Progress) -> Branches:
    """Return one class of all images."""
    few = replace(tasks.made_from, index=some_of(tasks.made_from.index, N_SEARCH, generator))
    start = _started(few, 1, generator=generator, progress=progress)
    return polished(tasks, start, generator=generator, progress=progress)


def branched(
    tasks: LeftOut, branches: Branches, number: int, n_maps: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Mixture, Comparison] | None:
    """Try a class as several, ``n_maps`` or as many as it has images for; if that is no better, as two.

    Returns
    -------
    tuple or None
        The maps, of the images of the class alone, and what those left out say; None if it has too few images.
    """
    of_class = _alone(tasks, branches, number)
    if of_class is None:
        return None
    n_maps = min(n_maps, max(2, len(of_class.made_from.index) // LEAST_OF_A_MAP))
    found = _tried(of_class, branches.maps.only([number]), n_maps, generator=generator, progress=progress)
    if n_maps == 2 or found[1].is_better:
        return found
    again = _tried(of_class, branches.maps.only([number]), 2, generator=generator, progress=progress)
    return again if again[1].is_better else found


def _alone(tasks: LeftOut, branches: Branches, number: int) -> LeftOut | None:
    """Return the images of a class, searched for what is as large as its map; None if they are too few."""
    of_class = tasks.of_classes(branches, number)
    if min(len(of_class.made_from.index), 4 * len(of_class.left_out.index)) < LEAST_MEMBERS:
        return None
    return of_class.within(
        extent_of_map(branches.maps.volumes[number], tasks.space, tasks.made_from.observations.box_size)
    )


def _tried(
    of_class: LeftOut, one: Mixture, n_maps: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Mixture, Comparison]:
    """Make several maps of the images of a class, and compare them with its one map: the same band, as many slices."""
    few = replace(of_class.made_from, index=some_of(of_class.made_from.index, n_maps * N_SEARCH, generator))
    several = _started(few, n_maps, generator=generator, progress=progress)
    alone = polished(of_class, one, several.radius, generator=generator, progress=progress, finer=n_maps)
    more = asked_in_band(of_class.left_out, several, generator=generator)  # maps of a start have a center of their own
    return several, Comparison.of(more.log_evidence, alone.log_evidence)


def begun_again(tasks: LeftOut, branches: Branches, *, generator: torch.Generator, progress: Progress) -> Branches:
    """Make the map of each class anew from random poses; keep it where images left out are likelier under it.

    A map that comes of a division is one start of its species, and a start may fail.
    """
    found, n_new = [], 0
    for number in range(branches.n_classes):
        one, of_class = branches.maps.only([number]), _alone(tasks, branches, number)
        if of_class is not None:
            tries = [_tried(of_class, one, 1, generator=generator, progress=progress) for _ in range(STARTS_AGAIN)]
            best, comparison = max(tries, key=lambda found: found[1].gain)
            if comparison.gain > max(0.0, ERRORS_AGAIN * comparison.error):
                one, n_new = best, n_new + 1
        found.append(one)
    if n_new == 0:
        return branches
    together = _side_by_side(tasks, found, branches.maps.share)
    return polished(
        tasks, together, together.radius, generator=generator, progress=progress, rivals=branches.knows_rivals
    )


def _side_by_side(tasks: LeftOut, mixtures: list[Mixture], share: Tensor) -> Mixture:
    """Return all maps of some mixtures in the finest band of any, with shares (K,); images are yet to be asked."""
    radius = max(maps.radius for maps in mixtures)
    some = [maps for maps in mixtures if len(maps.share) > 0]
    there = [on_stage(tasks.made_from, competition(tasks.made_from, maps, radius), maps) for maps in some]
    volumes, priors = (torch.cat(parts) for parts in zip(*((m.volumes, m.priors) for m in there), strict=True))
    return replace(there[0], volumes=volumes, priors=priors, share=share)


def with_branch(
    tasks: LeftOut, branches: Branches, number: int, several: Mixture, *, generator: torch.Generator, progress: Progress
) -> Branches:
    """Put several maps in the place of one, and let all compete for all images, in the finest band of any."""
    share = branches.maps.share
    kept = branches.maps.only(all_but(branches, number))
    shares = torch.cat((share[all_but(branches, number)], share[number] * several.share))
    together = _side_by_side(tasks, [kept, several], shares)
    return polished(tasks, together, together.radius, generator=generator, progress=progress)


def without_needless(
    tasks: LeftOut, branches: Branches, most: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Branches, list[int]]:
    """Give up classes without which the images left out are as likely, one after the other, and those beyond ``most``.

    What is lost is counted for each image of the class in question, however many others there are. Fewer maps are asked
    at more rotations, as many slices in all: two maps of one molecule are likelier than one by their finer rotations.

    Where it has been asked whether images show a particle at all (:func:`with_rivals`), junk is needless too, and of
    too many classes it goes first.

    Returns
    -------
    tuple
        What is left, and which were given up, by the numbers that they had when it was asked.
    """
    given_up, settled, n_asked = list[int](), True, branches.n_classes

    def compete(maps: Mixture, finer: float = 1.0) -> Branches:
        rivals = branches.knows_rivals
        return polished(tasks, maps, maps.radius, generator=generator, progress=progress, rivals=rivals, finer=finer)

    while branches.n_classes > 1:
        too_many = branches.n_classes > most
        needed_by = typical_need_of_class if too_many else need_of_class
        need = [needed_by(branches, k) for k in range(branches.n_classes)]
        number = min(range(branches.n_classes), key=need.__getitem__)
        rest = all_but(branches, number)
        if too_many or need[number] < LEAST_GAIN:
            branches, settled = branches.only(rest), False
        elif not settled:
            branches, settled, n_asked = compete(branches.maps), True, branches.n_classes
            continue
        elif need[number] > SURELY_NEEDED:
            break
        else:
            fewer = compete(branches.maps.only(rest), n_asked / len(rest))
            share = len(members(branches.asked, number)) / len(branches.log_evidence)
            if Comparison.of(branches.log_evidence, fewer.log_evidence).is_more_than(LEAST_GAIN * share):
                break
            branches = fewer
        given_up.append(number)
    return branches if settled else compete(branches.maps), given_up


def without_doubles(
    tasks: LeftOut, branches: Branches, among: list[int], *, generator: torch.Generator, progress: Progress
) -> tuple[Branches, list[int], list[int]]:
    """Give up classes that show the same as another, among some by their numbers.

    What images lose without a class (:func:`without_needless`) does not tell: of a large molecule two maps may share
    out the views, so that each is needed for its own.

    Returns
    -------
    tuple
        What is left; which were given up, one after the other, by the numbers that they had then; and the numbers,
        among what is left, of those that stand for what was there twice.
    """
    numbers, apart, twice = list(range(branches.n_classes)), set[tuple[int, int]](), set[int]()
    left, given_up = branches, list[int]()
    while pairs := _next_pairs(left, numbers, among) - apart:
        pair = min(pairs)
        if not _show_the_same(tasks, left, [numbers.index(n) for n in pair], generator=generator, progress=progress):
            apart.add(pair)
            continue
        kept, gone = sorted(pair, key=lambda number: -float(left.maps.share[numbers.index(number)]))
        given_up.append(numbers.index(gone))
        left = left.only(all_but(left, numbers.index(gone)))
        numbers.remove(gone)
        twice = (twice - {gone}) | {kept}
    if given_up:
        left = polished(tasks, left.maps, left.maps.radius, generator=generator, progress=progress)
    return left, given_up, [numbers.index(number) for number in twice]


def _next_pairs(branches: Branches, numbers: list[int], among: list[int]) -> set[tuple[int, int]]:
    """Return classes, by their ``numbers``, each with the next likeliest of most of its images, among some."""
    there = [k for k, number in enumerate(numbers) if number in among]
    if len(there) < 2:
        return set()
    of_these = branches.only(there)
    nearest = ((k, next_likeliest_class(of_these, k)) for k in range(len(there)))
    named = ([numbers[there[k]], numbers[there[other]]] for k, other in nearest if other is not None)
    return {(min(pair), max(pair)) for pair in named}


def _show_the_same(
    tasks: LeftOut, branches: Branches, pair: list[int], *, generator: torch.Generator, progress: Progress
) -> bool:
    """Say whether one map, made of the images of two classes, is as good as both.

    The one has as many slices as the two together: twice as many rotations alone are worth 3 nat an image of rhodopsin
    at SNR 0.1, which two maps of one molecule have by standing differently.
    """
    two = branches.maps.only(pair)
    box_size = tasks.made_from.observations.box_size
    extent = max(extent_of_map(volume, tasks.space, box_size) for volume in two.volumes)
    of_both = tasks.of_classes(branches, *pair).within(extent)
    both = polished(of_both, two, two.radius, generator=generator, progress=progress)
    alone = (
        polished(of_both, two.only([k]), two.radius, generator=generator, progress=progress, finer=2) for k in (0, 1)
    )
    return any(not Comparison.of(both.log_evidence, one.log_evidence).is_better for one in alone)


def uncounted_classes(branches: Branches) -> list[int]:
    """Return the classes that do not count: junk, and what another class shows as well.

    Most of their images, of those left out, are about as likely noise, a stray field or another class.

    The images must have been asked whether they show a particle at all (:func:`with_rivals`).
    """
    return [number for number in range(branches.n_classes) if typical_need_of_class(branches, number) < SURELY_NEEDED]


def _started(task: SearchTask, n_classes: int, *, generator: torch.Generator, progress: Progress) -> Mixture:
    """Anneal maps from random poses and classes."""
    maps = random_mixture(task, n_classes, START_STAGES[0], generator=generator)
    for number, stage in enumerate(START_STAGES):
        if number > 0 and task.space.shift_range > 0:
            found = ask(task, START_STAGES[0], maps, generator=generator)
            maps = replace(maps, shift=found.shift, shift_width=found.shift_width)
        maps = run_mixture(task, stage, maps, generator=generator, progress=progress)
    return maps
