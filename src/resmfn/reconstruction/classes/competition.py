"""All classes so far compete for all images, and images that were left out say what each is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.reconstruction.classes.mixture import Mixture, ask, image_powers, run_mixture
from resmfn.reconstruction.phases.annealing import START_STAGES, Progress, SearchStage, SearchTask, cycles_of_radius
from resmfn.reconstruction.poses.search_space import SearchSpace, extent_of_map

POLISH_STEPS = 2, 6
"""Steps in which all classes compete for all images; their maps are cold."""
MOST_ROTATIONS = 9216
"""Of the steps in which classes compete."""


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

    def of_classes(self, branches: Branches, *numbers: int) -> LeftOut:
        """Return the images that some classes are the likeliest of."""
        mine, others = members(branches.maps, *numbers), members(branches.asked, *numbers)
        return LeftOut(
            replace(self.made_from, index=self.made_from.index[mine]),
            replace(self.left_out, index=self.left_out.index[others]),
        )


def members(maps: Mixture, *numbers: int) -> Tensor:
    """Return the images, int64 (m,), that some classes are the likeliest of."""
    likeliest = maps.posterior.argmax(dim=1)
    return torch.isin(likeliest, torch.tensor(numbers, device=likeliest.device)).nonzero()[:, 0]


def next_likeliest_class(branches: Branches, number: int) -> int | None:
    """Return the class that most of a class's images left out are likeliest of without it; None if it has none."""
    others = all_but(branches, number)
    without = branches.asked.only(others).posterior.argmax(dim=1)[members(branches.asked, number)]
    return others[int(torch.bincount(without, minlength=len(others)).argmax())] if len(without) else None


def all_but(branches: Branches, number: int) -> list[int]:
    """Return the numbers of the other classes."""
    return [k for k in range(branches.n_classes) if k != number]


def need_of_class(branches: Branches, number: int) -> float:
    """Return what the images left out that are likeliest of a class lose without it, nat in the mean; 0 if none is."""
    lost = _lost_without(branches, number)
    return float(lost.mean()) if len(lost) else 0.0


def typical_need_of_class(branches: Branches, number: int) -> float:
    """Return the same in the median: what most of the images lose, whatever a few among them show."""
    lost = _lost_without(branches, number)
    return float(lost.median()) if len(lost) else 0.0


def _lost_without(branches: Branches, number: int) -> Tensor:
    without = branches.asked.only(all_but(branches, number))
    return (branches.log_evidence - without.log_evidence)[members(branches.asked, number)]


def with_rivals(tasks: LeftOut, branches: Branches) -> Branches:
    """Ask the images left out whether they show a particle at all."""
    return replace(branches, asked=branches.asked.with_rival(image_powers(tasks.left_out, branches.asked.radius)))


def polished(
    tasks: LeftOut,
    maps: Mixture,
    radius: float = 0.0,
    *,
    generator: torch.Generator,
    progress: Progress,
    rivals: bool = False,
    finer: float = 1.0,
) -> Branches:
    """Let maps compete for all images, whose shifts are searched anew; ask those that are left out.

    The band is that of a start, or one beyond it; ``finer`` is a factor on the number of rotations.
    """
    stage = competition(tasks.made_from, maps, radius, finer)
    asked = ask(tasks.made_from, START_STAGES[0], maps, generator=generator)
    maps = run_mixture(tasks.made_from, stage, asked, generator=generator, progress=progress, with_rivals=rivals)
    branches = Branches(maps, asked_in_band(tasks.left_out, maps, finer, generator=generator))
    return with_rivals(tasks, branches) if rivals else branches


def asked_in_band(task: SearchTask, maps: Mixture, finer: float = 1.0, *, generator: torch.Generator) -> Mixture:
    """Ask images for shifts in a coarse band, then for all in the band of the maps around these shifts."""
    coarse = ask(task, START_STAGES[0], maps, generator=generator)
    return ask(task, competition(task, maps, maps.radius, finer), maps, coarse.shift, generator=generator)


def competition(task: SearchTask, maps: Mixture, radius: float, finer: float = 1.0) -> SearchStage:
    """Return the stage in which maps compete: up to a radius, with the rotations that the largest of them needs.

    ``finer`` is a factor on their number.
    """
    last, space = START_STAGES[-1], task.space
    cycles = max(last.cycles, cycles_of_radius(radius, task.observations, space.mask_radius))
    extent = (
        max(extent_of_map(volume, space, task.observations.box_size) for volume in maps.volumes) / space.mask_radius
    )
    # From the first stage of a start to the last the number of rotations grows as the square, nearly.
    needed = last.n_rotations * (max(last.cycles, cycles * extent) / last.cycles) ** 2
    return replace(
        last,
        cycles=cycles,
        n_rotations=round(finer * min(MOST_ROTATIONS, round(needed))),
        temperature=1.0,
        coolest=1.0,
        n_steps=POLISH_STEPS,
        patience=1,
    )
