"""Images of a structure as several states: what both halves find, and what each half says of the other's.

Each half is divided by itself. The images of the other half, of which its maps know nothing, say whether they are
likelier under several states than under the common map, and the differences that both halves have found must agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.evaluation import align_both_hands, aligned_poses
from resmfn.reconstruction.classes.branching import Comparison
from resmfn.reconstruction.classes.states import HalfStates, divided, log_likelihood
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses
from resmfn.reconstruction.run.context import HALVES, RunContext
from resmfn.rotations import geodesic_degrees

LEAST_GAIN = 0.1
"""Nat an image, by which images of the other half must prefer states to the common map: of one structure 0.0002."""
LEAST_NEED, SHARE_STEPS = 0.3, 30
"""Nat an image of a state that images left out lose without it; steps in which shares of the states settle."""
LEAST_AGREEMENT = 0.3
"""Correlation of the differences that both halves have found: of one structure up to 0.14 (in the finest band of three,
where images gained 0.10 nat), of those 13 residues 0.48 and more."""
TURNED = 20.0
"""Degrees, by which two states are turned against each other if they may be one structure at two poses: 180 in four
halves of a dimer, of whose images 28 to 35 % were on the wrong side; two structures, or one map twice: at most 1."""


@dataclass(frozen=True)
class Division:
    """Both halves as some number of states, under the same numbers."""

    halves: tuple[HalfStates, HalfStates]
    comparison: Comparison
    """What the images of each half say of the states of the other."""
    needs: tuple[Comparison, ...]
    """Of each state: what they say of all states against all but this one."""
    agreement: float
    """Least correlation of a state's differences in the two halves."""
    log_likelihood: float
    """Of an image, in the mean, under the common map of the other half."""

    @property
    def n_states(self) -> int:
        """How many."""
        return len(self.halves[0].share)

    @property
    def larger(self) -> int:
        """The state of most images."""
        return int((self.halves[0].share + self.halves[1].share).argmax())

    @property
    def is_likelier(self) -> bool:
        """Whether images left out prefer the states to the common map, beyond chance."""
        return self.comparison.is_more_than(LEAST_GAIN)

    @property
    def are_needed(self) -> bool:
        """Whether images left out are less likely without any one of the states."""
        share = self.halves[0].share.tolist()
        return all(need.is_more_than(LEAST_NEED * its) for need, its in zip(self.needs, share, strict=True))

    @property
    def is_believed(self) -> bool:
        """Whether there are as many states, by images left out and by both halves."""
        return self.is_likelier and self.are_needed and self.agreement > LEAST_AGREEMENT


def divide(run: RunContext, n_states: int, radius: float) -> Division:
    """Divide both halves, number the states of the second as those of the first, and ask each half of the other."""
    posed = [run.half(name) for name in HALVES]
    first, second = (
        divided(run, images, radius, n_states, generator=spawn(run.config.seed, "states", n_states, name))
        for images, name in zip(posed, HALVES, strict=True)
    )
    alike = _normalized(first.differences) @ _normalized(second.differences).T
    rows, columns = linear_sum_assignment(-alike.cpu().numpy())
    second = second.in_order(columns.tolist())
    gains, lost, likelihoods = [], [], []
    for states, images in zip((first, second), reversed(posed), strict=True):
        one, several = states.log_likelihoods_of_all(run, _good_ones(images))
        found = several - one[:, None]
        of_all = mixed(found)
        gains.append(of_all)
        lost.append(torch.stack([of_all - mixed(_all_but(found, k)) for k in range(n_states)], dim=1))
        likelihoods.append(one)
    gain, likelihood = torch.cat(gains), torch.cat(likelihoods)
    nothing = torch.zeros_like(gain)
    return Division(
        (first, second),
        Comparison.of(gain, nothing),
        tuple(Comparison.of(of_state, nothing) for of_state in torch.cat(lost).unbind(dim=1)),
        float(alike[rows, columns].min()),
        float(likelihood.mean()),
    )


def turned(run: RunContext, division: Division) -> list[PosedImages] | None:
    """Return both halves with images turned to one pose where two states are one structure at two poses, else None.

    A dimer looks much the same from both sides: images that began on the wrong one make a map of both, which keeps them
    there. Images of the smaller state are then likelier under the map of the larger when they are turned to it.
    """
    if division.n_states != 2:
        return None
    found = []
    for states, name in zip(division.halves, HALVES, strict=True):
        of_half = _turned_half(run, run.half(name), states, division.larger)
        if of_half is None:
            return None
        found.append(of_half)
    return found


def _turned_half(run: RunContext, posed: PosedImages, states: HalfStates, larger: int) -> PosedImages | None:
    volume, other = (states.common + states.differences[number] for number in (larger, 1 - larger))
    hands = align_both_hands(other, volume, run.box_size * run.pixel_size / states.grid.size)
    onto = next(found for found in hands if found.hand == 1)
    if geodesic_degrees(onto.rotation, run.full.group.to(onto.rotation)).min() < TURNED:
        return None
    before = posed.poses
    rotation = aligned_poses(before.rotation, onto.rotation, onto.hand).to(before.rotation)
    shift = before.shift - (before.rotation @ onto.shift.to(before.rotation))[:, :2]
    is_other = states.probability[:, larger] < 0.5
    after = Poses(
        torch.where(is_other[:, None, None], rotation, before.rotation),
        torch.where(is_other[:, None], shift, before.shift),
    )
    likelihoods = [
        log_likelihood(
            run, _good_ones(replace(posed, poses=poses).select(is_other)), volume, states.grid, states.radius
        )
        for poses in (after, before)
    ]
    return replace(posed, poses=after) if Comparison.of(*likelihoods).is_more_than(LEAST_GAIN) else None


def mixed(found: Tensor) -> Tensor:
    """Return the log-likelihood (m,) of images that show any of some states, by those under each (m, K).

    Shares of the states are those that make the images likeliest: what is there twice is then worth no more.
    """
    share = found.new_full((found.shape[1],), 1 / found.shape[1])
    for _ in range(SHARE_STEPS):
        share = torch.softmax(found + share.log(), dim=1).mean(dim=0).clamp_min(1e-6)
    return torch.logsumexp(found + (share / share.sum()).log(), dim=1)


def _all_but(found: Tensor, number: int) -> Tensor:
    return torch.cat((found[:, :number], found[:, number + 1 :]), dim=1)


def _good_ones(posed: PosedImages) -> PosedImages:
    """Return the images that show a particle; all if none is known to."""
    if posed.particle_probability is None:
        return posed
    return posed.select((posed.particle_probability >= 0.5).nonzero()[:, 0])


def _normalized(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
