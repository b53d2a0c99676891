"""States that differ locally: images of one structure, divided at the poses that its refinement has found.

Poses are kept, and one half is divided by itself. The map of each state is the common map of the half plus a
difference, whose prior is learned: where states do not differ it vanishes, so that a state is not made of the noise of
its own images. From random memberships likelihoods are first scaled to a given spread, so that the largest part by
which images differ stands out, as in power iteration; then they are taken as they are.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.priors import posterior_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.reconstruction.run.context import RunContext

SPREADS = tuple(0.7 * 1.2 ** max(0, step - 4) for step in range(16))
"""Standard deviation, nat, that likelihoods are scaled to in the first steps: from nearly even memberships to nearly
sure ones. Left at 0.7 the learned prior of a difference takes even memberships for a small difference, and the smaller
state starves; of 200 images a half (SNR 0.4, a fifth of the molecule missing in 40 % of them) 62 % came right then, and
87 to 90 % so."""
COLD_STEPS = 8
"""Steps with likelihoods as they are."""
DIFFERENCE_STEPS = 6
"""Conjugate gradient steps of a difference, each from the one before."""
COMMON_PENALTY, COMMON_STEPS = 0.01, 20
"""Of the common map, over the weight of the images: next to nothing, for its noise is in all states alike, while a map
that is too faint favors the state that has more density. Conjugate gradient steps, which must converge."""
FIRST_PENALTY = 0.3
"""Of a difference, over the weight of the images."""


@dataclass(frozen=True)
class HalfStates:
    """What the images of one half say of their states."""

    grid: MapGrid
    radius: float
    """Fourier pixels."""
    common: Tensor
    """(M, M, M): the map of all."""
    differences: Tensor
    """(K, M, M, M): of each state from the common map; their mean by share is 0."""
    share: Tensor
    """(K,): of the images."""
    probability: Tensor
    """(m, K): of each state for each image of the half."""

    def log_likelihoods(self, run: RunContext, posed: PosedImages) -> Tensor:
        """Return the log-likelihood (n, K) of some images under each state, over that under the common map."""
        maps = (self.common, *(self.common + self.differences))
        one, *several = (log_likelihood(run, posed, volume, self.grid, self.radius) for volume in maps)
        return torch.stack(several, dim=1) - one[:, None]

    def in_order(self, order: list[int]) -> HalfStates:
        """Return the same states under other numbers."""
        return HalfStates(
            self.grid,
            self.radius,
            self.common,
            self.differences[order],
            self.share[order],
            self.probability[:, order],
        )


def divided(
    run: RunContext, posed: PosedImages, radius: float, n_states: int, *, generator: torch.Generator
) -> HalfStates:
    """Divide the images of one half by how they differ from their common map, up to a radius.

    Parameters
    ----------
    run
        Whose images; its mask, and the FSC of its half maps.
    posed
        The images of the half, at their poses.
    radius
        Fourier pixels.
    n_states
        How many.
    generator
        Draws the memberships that it begins with.
    """
    grid, n_shells = run.grid(radius), int(radius) + 1
    mask = run.mask_on(grid)
    good = posed.particle_probability
    good = torch.ones(len(posed.index), device=run.device) if good is None else good

    def equations(weight: Tensor) -> MapEquations:
        weighted = PosedImages(posed.index, posed.poses, weight)
        return MapEquations(insert_images(run.observations, weighted, grid, radius), mask)

    of_all = equations(good)
    common = of_all.solve(mask, COMMON_PENALTY * of_all.shell_weights()[:n_shells], iterations=COMMON_STEPS)
    left = of_all.rhs - mask * of_all.apply(common)  # what the prior keeps of the common map: no state's own
    one = log_likelihood(run, posed, common, grid, radius)
    drawn = torch.randn(len(good), n_states, generator=generator).to(good)
    probability, differences = torch.softmax(drawn, dim=1), torch.zeros(n_states, *common.shape, device=run.device)
    priors: list[Tensor | None] = [None] * n_states
    share = _shares(good, probability)
    for step in range(len(SPREADS) + COLD_STEPS):
        share = _shares(good, probability)
        for number in range(n_states):
            its = copy(equations(good * probability[:, number]))
            its.rhs = its.rhs - mask * its.apply(common) - share[number] * left
            known = priors[number]
            known = FIRST_PENALTY * its.shell_weights()[:n_shells] if known is None else known
            differences[number] = its.solve(mask, known, start=differences[number], iterations=DIFFERENCE_STEPS)
            priors[number] = posterior_prior(its, differences[number], mask, known)
        differences = differences - torch.einsum("k,kxyz->xyz", share, differences)
        gains = torch.stack([log_likelihood(run, posed, common + d, grid, radius) - one for d in differences], dim=1)
        if step < len(SPREADS):  # no state takes all, none vanishes
            centered = gains - (good @ gains) / good.sum()
            spread = (centered - centered.mean(dim=1, keepdim=True)).std().clamp_min(1e-6)
            probability = torch.softmax(centered * SPREADS[step] / spread, dim=1)
        else:
            probability = torch.softmax(gains + share.log(), dim=1)
    return HalfStates(grid, radius, common, differences, share, probability)


def log_likelihood(run: RunContext, posed: PosedImages, volume: Tensor, grid: MapGrid, radius: float) -> Tensor:
    """Return the log-likelihood (n,) of images at their poses under a map (M, M, M), over that under noise."""
    model = PoseModel(grid, grid.transform(volume), radius, moves_shift=False)
    fits = refine_poses(run.observations, posed.index, posed.poses, model, iterations=0).images
    return 2 * fits.overlap.sum(dim=1) - fits.power.sum(dim=1)


def _shares(good: Tensor, probability: Tensor) -> Tensor:
    """Return the share (K,) of each state, of images that count by how good they are (n,)."""
    share = (good @ probability / good.sum()).clamp_min(1e-4)
    return share / share.sum()
