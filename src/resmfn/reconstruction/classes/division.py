"""Images of a structure as several states: what both halves find, and what each half says of the other's.

Each half is divided by itself. The images of the other half, of which its maps know nothing, say whether they are
likelier under several states than under the common map, and the differences that both halves have found must agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.reconstruction.classes.branching import Comparison
from resmfn.reconstruction.classes.states import HalfStates, divided
from resmfn.reconstruction.poses.posed_images import PosedImages
from resmfn.reconstruction.run.context import HALVES, RunContext

LEAST_GAIN = 0.1
"""Nat an image, by which images of the other half must prefer states to the common map: of one structure 0.0002."""
LEAST_NEED, SHARE_STEPS = 0.3, 30
"""Nat an image of a state that images left out lose without it; steps in which shares of the states settle."""
LEAST_AGREEMENT = 0.3
"""Correlation of the differences that both halves have found: of one structure up to 0.14 (in the finest band of three,
where images gained 0.10 nat), of those 13 residues 0.48 and more."""


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
