"""States that differ locally: images of one structure, divided at the poses that its refinement has found.

Poses are kept, and one half is divided by itself. The map of each state is the common map of the half plus a
difference, whose prior is learned: where states do not differ it vanishes, so that a state is not made of the noise of
its own images. From random memberships likelihoods are first scaled to a given spread, so that the largest part by
which images differ stands out, as in power iteration; then they are taken as they are. The contrast of each image is
integrated out: it would divide images by how well they fit any map.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

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
sure ones. Left at 0.7 the learned prior takes even memberships for a small difference, and the smaller state starves:
of 200 images a half (SNR 0.4, a fifth of the molecule missing in 40 % of them) 81 and 74 % come right then, 90 and 86 %
so."""
COLD_STEPS = 8
"""Steps with likelihoods as they are."""
DIFFERENCE_STEPS = 6
"""Conjugate gradient steps of a difference, each from the one before."""
COMMON_PENALTY, COMMON_STEPS = 0.01, 20
"""Of the common map, over the weight of the images: next to nothing, for its noise is in all states alike, while a map
that is too faint favors the state that has more density. Conjugate gradient steps, which must converge."""
LEAST_SHARE = 1e-4
"""Of a state, so that its logarithm is finite."""
CONTRAST_VARIANCE = 0.25
"""Of the contrast of an image around the one that it is thought to have, when it is asked which state it shows. Open
and closed kinase in one class of eight species (SNR 0.02, poses 3 degrees off, 19 Å): images of the other half gain
0.11 nat with 0.25 and with 2, 0.10 with 0.04, and each state has half of the images; at a contrast of 1 they lose 0.06,
and more steps leave 97 % in one state. One structure of a contrast from 0.5 to 1.5 is two states at a contrast of 1
(4.9 nat), none with 0.25 (0.04). Where images are told apart by mass, and poses are poor, it costs: a fifth of the mass
at poses 15 degrees off in half of the images, 74 % are told apart, 87 % at a contrast of 1."""
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
        one, several = self.log_likelihoods_of_all(run, posed)
        return several - one[:, None]

    def log_likelihoods_of_all(self, run: RunContext, posed: PosedImages) -> tuple[Tensor, Tensor]:
        """Return the log-likelihood of some images over noise: (n,) under the common map, (n, K) under each state."""
        maps = (self.common, *(self.common + self.differences))
        one, *several = (log_likelihood(run, posed, volume, self.grid, self.radius) for volume in maps)
        return one, torch.stack(several, dim=1)

    def in_order(self, order: list[int]) -> HalfStates:
        """Return the same states under other numbers."""
        differences, share, probability = self.differences[order], self.share[order], self.probability[:, order]
        return replace(self, differences=differences, share=share, probability=probability)


@dataclass(frozen=True)
class _Half:
    """The images of one half, what they say of a map up to a radius, and their common map."""

    run: RunContext
    posed: PosedImages
    radius: float
    grid: MapGrid
    mask: Tensor
    good: Tensor
    """(m,): how much each image counts."""

    @classmethod
    def of(cls, run: RunContext, posed: PosedImages, radius: float) -> _Half:
        grid, good = run.grid(radius), posed.particle_probability
        good = torch.ones(len(posed.index), device=run.device) if good is None else good
        return cls(run, posed, radius, grid, run.mask_on(grid), good)

    @property
    def n_shells(self) -> int:
        return int(self.radius) + 1

    def equations(self, probability: Tensor | None = None) -> MapEquations:
        """Return those of all images, or of a state that each shows with some probability (m,)."""
        weighted = self.good if probability is None else self.good * probability
        posed = PosedImages(self.posed.index, self.posed.poses, weighted)
        return MapEquations(insert_images(self.run.observations, posed, self.grid, self.radius), self.mask)

    def log_likelihood(self, volume: Tensor) -> Tensor:
        return log_likelihood(self.run, self.posed, volume, self.grid, self.radius)

    def shares(self, probability: Tensor) -> Tensor:
        """Return the share (K,) of each state."""
        share = (self.good @ probability / self.good.sum()).clamp_min(LEAST_SHARE)
        return share / share.sum()

    def spread_to(self, gains: Tensor, spread: float) -> Tensor:
        """Return probabilities (m, K) by likelihoods scaled to a spread; no state takes all, and none vanishes."""
        centered = gains - (self.good @ gains) / self.good.sum()
        there = (centered - centered.mean(dim=1, keepdim=True)).std().clamp_min(1e-6)
        return torch.softmax(centered * spread / there, dim=1)


def divided(
    run: RunContext, posed: PosedImages, radius: float, n_states: int, *, generator: torch.Generator
) -> HalfStates:
    """Divide the images of one half by how they differ from their common map, up to a radius.

    Parameters
    ----------
    run
        Whose images and mask.
    posed
        The images of the half, at their poses.
    radius
        Fourier pixels.
    n_states
        How many.
    generator
        Draws the memberships that it begins with.
    """
    half = _Half.of(run, posed, radius)
    of_all = half.equations()
    common = of_all.solve(half.mask, COMMON_PENALTY * of_all.shell_weights()[: half.n_shells], iterations=COMMON_STEPS)
    left = of_all.rhs - half.mask * of_all.apply(common)  # what is not in the common map: no state's own
    one = half.log_likelihood(common)
    drawn = torch.randn(len(posed.index), n_states, generator=generator).to(common)
    probability = torch.softmax(drawn, dim=1)
    found = [_Difference(torch.zeros_like(common)) for _ in range(n_states)]
    for step in range(len(SPREADS) + COLD_STEPS):
        share = half.shares(probability)
        found = [
            before.solved_again(half, half.equations(probability[:, k]), common, share[k] * left)
            for k, before in enumerate(found)
        ]
        differences = torch.stack([difference.volume for difference in found])
        # What is along the common map is contrast, by which images at wrong poses would come apart.
        along = torch.einsum("kxyz,xyz->k", differences, common) / common.square().sum()
        differences = differences - along[:, None, None, None] * common
        differences = differences - torch.einsum("k,kxyz->xyz", share, differences)
        found = [replace(its, volume=volume) for its, volume in zip(found, differences, strict=True)]
        gains = torch.stack([half.log_likelihood(common + volume) - one for volume in differences], dim=1)
        if step < len(SPREADS):
            probability = half.spread_to(gains, SPREADS[step])
        else:
            probability = torch.softmax(gains + share.log(), dim=1)
    return HalfStates(half.grid, radius, common, differences, share, probability)


@dataclass(frozen=True)
class _Difference:
    """The difference of a state from the common map, and the prior of the next."""

    volume: Tensor
    prior: Tensor | None = None

    def solved_again(self, half: _Half, equations: MapEquations, common: Tensor, left: Tensor) -> _Difference:
        """Return the difference that the images of the state leave after the common map, and after its share there."""
        its = copy(equations)
        its.rhs = its.rhs - half.mask * its.apply(common) - left
        prior = FIRST_PENALTY * its.shell_weights()[: half.n_shells] if self.prior is None else self.prior
        volume = its.solve(half.mask, prior, start=self.volume, iterations=DIFFERENCE_STEPS)
        return _Difference(volume, posterior_prior(its, volume, half.mask, prior))


def log_likelihood(run: RunContext, posed: PosedImages, volume: Tensor, grid: MapGrid, radius: float) -> Tensor:
    """Return the log-likelihood (n,) of images at their poses under a map (M, M, M), of any contrast, over noise."""
    model = PoseModel(grid, grid.transform(volume), radius, moves_shift=False)
    fits = refine_poses(run.observations, posed.index, posed.poses, model, iterations=0).images
    return of_any_contrast(fits.overlap.sum(dim=1), fits.power.sum(dim=1))


def of_any_contrast(overlap: Tensor, power: Tensor) -> Tensor:
    """Return the log-likelihood (n,) of images under a map whose contrast g in each of them is not known.

    The integral of ``exp(2 g overlap - g^2 power)`` over a Gaussian g of mean 1 and variance CONTRAST_VARIANCE, in
    closed form. At a contrast of 1 the map of less power is the likelier one for every image that fits no map, such as
    one at a wrong pose.
    """
    known = 1 / (2 * CONTRAST_VARIANCE)
    return (overlap + known).square() / (power + known) - known - 0.5 * torch.log1p(power / known)
