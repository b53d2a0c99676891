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

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.fourier import radius_grid
from resmfn.reconstruction.classes.mixture import Mixture, ask, image_powers, on_stage, random_mixture, run_mixture
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.phases.annealing import START_STAGES, Progress, SearchStage, SearchTask
from resmfn.reconstruction.phases.starts import N_SEARCH
from resmfn.reconstruction.poses.search_space import SearchSpace

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
SURELY_NEEDED = 3.0
"""Nat: what images of a class lose at least, in the mean, where no other class shows the same. Of a class that is there
twice they lose some tenths, as the other map was made of other images; of junk, beside a stray field, 2.3; open and
closed adenylate kinase lose 6."""
WITHIN_EXTENT = 0.98
"""Share of the power of a map's positive density within its extent. Of three kinases at 24 Å in a mask of 130 Å that
makes spheres of 40 to 44 Å; they are told apart within 38 and within 45 Å, within 65 Å they are not."""
POLISH_STEPS = 2, 6
"""Steps in which all classes compete for all images; their maps are cold."""
WITHOUT_STEPS = 1, 3
"""The same where a class was given up: the maps of the others hardly change."""
MOST_ROTATIONS = 9216
"""Of the steps in which classes compete."""


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
    def knows_rivals(self) -> bool:
        """Whether the images left out were asked if they show a particle at all."""
        return bool((self.asked.rival > -torch.inf).any())

    def only(self, kept: list[int]) -> Branches:
        """Return some of the classes, the others' images left as they are."""
        return Branches(self.maps.only(kept), self.asked.only(kept))

    @property
    def log_evidence(self) -> Tensor:
        """Of the images left out (m,)."""
        return self.asked.log_evidence


@dataclass(frozen=True)
class LeftOut:
    """Images that maps are made from, and images that are left out."""

    made_from: SearchTask
    left_out: SearchTask

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return self.made_from.space

    def within(self, mask_radius: float) -> LeftOut:
        """Return the same images, searched for something smaller."""
        space = replace(self.space, mask_radius=mask_radius)
        return LeftOut(replace(self.made_from, space=space), replace(self.left_out, space=space))

    def of_class(self, branches: Branches, number: int) -> LeftOut:
        """Return the images that a class is the likeliest of."""
        mine, others = members(branches.maps, number), members(branches.asked, number)
        return LeftOut(
            replace(self.made_from, index=self.made_from.index[mine]),
            replace(self.left_out, index=self.left_out.index[others]),
        )


def first_class(tasks: LeftOut, *, generator: torch.Generator, progress: Progress) -> Branches:
    """Return one class of all images."""
    few = replace(tasks.made_from, index=_some(tasks.made_from.index, N_SEARCH, generator))
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
    of_class = tasks.of_class(branches, number)
    n_images = len(of_class.made_from.index)
    if min(n_images, 4 * len(of_class.left_out.index)) < LEAST_MEMBERS:
        return None
    of_class = of_class.within(extent_of_map(branches.maps.volumes[number], tasks.made_from))
    n_maps = min(n_maps, max(2, n_images // LEAST_OF_A_MAP))
    found = _tried(of_class, branches.maps.only([number]), n_maps, generator=generator, progress=progress)
    if n_maps == 2 or found[1].is_better:
        return found
    again = _tried(of_class, branches.maps.only([number]), 2, generator=generator, progress=progress)
    return again if again[1].is_better else found


def _tried(
    of_class: LeftOut, one: Mixture, n_maps: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Mixture, Comparison]:
    """Make several maps of the images of a class, and compare them with its one map in the same band."""
    few = replace(of_class.made_from, index=_some(of_class.made_from.index, n_maps * N_SEARCH, generator))
    several = _started(few, n_maps, generator=generator, progress=progress)
    alone = polished(of_class, one, several.radius, generator=generator, progress=progress)
    more = _asked(of_class.left_out, several, generator=generator)  # maps of a start have a center of their own
    return several, Comparison.of(more.log_evidence, alone.log_evidence)


def with_branch(
    tasks: LeftOut, branches: Branches, number: int, several: Mixture, *, generator: torch.Generator, progress: Progress
) -> Branches:
    """Put several maps in the place of one, and let all compete for all images, in the finest band of any."""
    kept = _all_but(branches, number)
    radius = max(branches.maps.radius, several.radius)
    before, added = (
        on_stage(tasks.made_from, competition(tasks.made_from, maps, radius), maps) for maps in (branches.maps, several)
    )
    together = replace(
        before,
        volumes=torch.cat((before.volumes[kept], added.volumes)),
        priors=torch.cat((before.priors[kept], added.priors)),
        share=torch.cat((before.share[kept], before.share[number] * added.share)),
    )
    return polished(tasks, together, radius, generator=generator, progress=progress)


def without_needless(
    tasks: LeftOut, branches: Branches, most: int, *, generator: torch.Generator, progress: Progress
) -> tuple[Branches, list[int]]:
    """Give up classes without which the images left out are as likely, one after the other, and those beyond ``most``.

    Where it has been asked whether images show a particle at all (:func:`with_rivals`), junk is needless too.

    Returns
    -------
    tuple
        What is left, and which were given up, by the numbers that they had when it was asked.
    """
    given_up, settled = [], True

    def compete(maps: Mixture) -> Branches:
        return polished(tasks, maps, maps.radius, generator=generator, progress=progress, rivals=branches.knows_rivals)

    while branches.n_classes > 1:
        need = [need_of_class(branches, k) for k in range(branches.n_classes)]
        number = min(range(branches.n_classes), key=need.__getitem__)
        rest = _all_but(branches, number)
        if branches.n_classes > most or need[number] < LEAST_GAIN:
            branches, settled = branches.only(rest), False
        elif not settled:
            branches, settled = compete(branches.maps), True
            continue
        elif need[number] > SURELY_NEEDED:
            break
        else:
            fewer = compete(branches.maps.only(rest))
            if Comparison.of(branches.log_evidence, fewer.log_evidence).is_better:
                break
            branches = fewer
        given_up.append(number)
    return branches if settled else compete(branches.maps), given_up


def with_rivals(tasks: LeftOut, branches: Branches) -> Branches:
    """Ask the images left out whether they show a particle at all."""
    return replace(branches, asked=branches.asked.with_rival(image_powers(tasks.left_out, branches.asked.radius)))


def junk_classes(tasks: LeftOut, branches: Branches) -> list[int]:
    """Return the classes whose images, of those left out, are about as likely noise or a stray field as their map."""
    asked = with_rivals(tasks, branches)
    return [number for number in range(asked.n_classes) if need_of_class(asked, number) < SURELY_NEEDED]


def extent_of_map(volume: Tensor, task: SearchTask) -> float:
    """Return the radius, in pixels of the images, of a sphere around the center that holds the density of a map."""
    grid = MapGrid(task.observations.box_size, volume.shape[0])
    distance, order = radius_grid(grid.size, 3, volume.device).flatten().sort()
    power = volume.flatten()[order].clamp_min(0).square().cumsum(0)
    holds = distance[int(torch.searchsorted(power, WITHIN_EXTENT * power[-1]))]
    return min(task.space.mask_radius, (float(holds) + 1) * grid.box_size / grid.size)


def members(maps: Mixture, number: int) -> Tensor:
    """Return the images, int64 (m,), that a class is the likeliest of."""
    return (maps.posterior.argmax(dim=1) == number).nonzero()[:, 0]


def need_of_class(branches: Branches, number: int) -> float:
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


def polished(
    tasks: LeftOut,
    maps: Mixture,
    radius: float = 0.0,
    *,
    generator: torch.Generator,
    progress: Progress,
    rivals: bool = False,
    n_steps: tuple[int, int] = POLISH_STEPS,
) -> Branches:
    """Let maps compete for all images, whose shifts are searched anew; ask those that are left out.

    The band is that of a start, or one beyond it.
    """
    stage = replace(competition(tasks.made_from, maps, radius), n_steps=n_steps)
    asked = ask(tasks.made_from, START_STAGES[0], maps, generator=generator)
    maps = run_mixture(tasks.made_from, stage, asked, generator=generator, progress=progress, with_rivals=rivals)
    branches = Branches(maps, _asked(tasks.left_out, maps, generator=generator))
    return with_rivals(tasks, branches) if rivals else branches


def _asked(task: SearchTask, maps: Mixture, *, generator: torch.Generator) -> Mixture:
    """Ask images for shifts in a coarse band, then for all in the band of the maps around these shifts."""
    coarse = ask(task, START_STAGES[0], maps, generator=generator)
    return ask(task, competition(task, maps, maps.radius), maps, coarse.shift, generator=generator)


def competition(task: SearchTask, maps: Mixture, radius: float) -> SearchStage:
    """Return the stage in which maps compete: up to a radius, with the rotations that the largest of them needs."""
    last, space = START_STAGES[-1], task.space
    per_cycle = task.observations.box_size / (2 * space.mask_radius)
    cycles = max(last.cycles, radius / per_cycle)
    extent = max(extent_of_map(volume, task) for volume in maps.volumes) / space.mask_radius
    # From the first stage of a start to the last the number of rotations grows as the square, nearly.
    needed = last.n_rotations * (max(last.cycles, cycles * extent) / last.cycles) ** 2
    return replace(
        last,
        cycles=cycles,
        n_rotations=min(MOST_ROTATIONS, round(needed)),
        temperature=1.0,
        coolest=1.0,
        n_steps=POLISH_STEPS,
    )
