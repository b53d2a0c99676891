"""Several coarse maps from images of unknown pose and class: annealed expectation maximization.

As for one map (:mod:`resmfn.reconstruction.phases.annealing`), but every image is scored against the slices of all
maps, and its posterior is over class, rotation and shift together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.fourier import resize_map
from resmfn.reconstruction.images.image_quality import ImageFits, rival_evidence
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.priors import posterior_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import (
    Progress,
    SearchStage,
    SearchTask,
    belief_of_shifts,
    carried_prior,
    map_at_poses,
    near_shifts,
    rotated_grid,
    shared_slices,
    stage_radius,
    sums_of,
)
from resmfn.reconstruction.poses.factored_posterior import factored_posterior
from resmfn.reconstruction.poses.grid_posterior import GridPosterior, PoseGrid, grid_posterior
from resmfn.reconstruction.poses.search_space import first_offsets, neighbor_offsets, shift_spread
from resmfn.rotations import random_rotations

LEAST_SHARE = 0.02
"""Share of the images that a class is given at least before they are asked; not compared with others."""


@dataclass(frozen=True)
class Mixture:
    """Some coarse maps, and what is known of the images that they were made from."""

    volumes: Tensor
    """(K, M, M, M)."""
    priors: Tensor
    """(K, shells): penalties that the next maps on this grid are solved with."""
    share: Tensor
    """(K,): of the images, by class."""
    radius: float
    """Fourier pixels."""
    shift: Tensor
    """(n, 2): posterior mean, Å."""
    shift_width: Tensor | None
    """(n,): posterior standard deviation along an axis, Å; None before anything is known of the shifts."""
    evidence: Tensor
    """(n, K): log likelihood of each image under each map, averaged over poses, over that of noise."""
    rival: Tensor
    """(n,): log likelihood of no particle at all, over the share of those that show one; -inf before it is asked."""

    @property
    def posterior(self) -> Tensor:
        """Probability of each class for each image (n, K), if it shows a particle."""
        return torch.softmax(self.evidence + self.share.log(), dim=1)

    @property
    def log_evidence(self) -> Tensor:
        """Log likelihood (n,) of each image, whatever it shows."""
        return torch.logaddexp(self._of_maps, self.rival)

    @property
    def good(self) -> Tensor:
        """Probability (n,) of each image to show a particle."""
        return torch.sigmoid(self._of_maps - self.rival)

    @property
    def _of_maps(self) -> Tensor:
        return torch.logsumexp(self.evidence + self.share.log(), dim=1)

    def with_rival(self, powers: ImageFits) -> Mixture:
        """Return the same, its images asked whether they show a particle at all, by their power in each shell."""
        return replace(self, rival=rival_evidence(powers, self._of_maps))

    def only(self, kept: list[int]) -> Mixture:
        """Return the mixture of some of the maps."""
        share = self.share[kept]
        return replace(
            self,
            volumes=self.volumes[kept],
            priors=self.priors[kept],
            share=share / share.sum(),
            evidence=self.evidence[:, kept],
        )

    def unasked(self, shift: Tensor, shift_width: Tensor | None) -> Mixture:
        """Return the same maps with other images, of which only the shifts (n, 2) are known, to some widths (n,)."""
        evidence = self.evidence.new_zeros(len(shift), len(self.share))
        rival = evidence.new_full((len(shift),), -torch.inf)
        return replace(self, shift=shift, shift_width=shift_width, evidence=evidence, rival=rival)


def random_mixture(task: SearchTask, n_classes: int, stage: SearchStage, *, generator: torch.Generator) -> Mixture:
    """Return maps of images at random poses in random classes."""
    observations, index = task.observations, task.index
    radius = stage_radius(stage, observations, task.space)
    rotation = random_rotations(len(index), generator=generator).to(observations.device)
    of_class = torch.randint(n_classes, (len(index),), generator=generator).to(observations.device)
    members = [(of_class == number).nonzero()[:, 0] for number in range(n_classes)]
    volumes, priors = zip(
        *(map_at_poses(replace(task, index=index[mine]), rotation[mine], radius) for mine in members), strict=True
    )
    return Mixture(
        torch.stack(volumes),
        torch.stack(priors),
        torch.full((n_classes,), 1 / n_classes, device=observations.device),
        radius,
        torch.zeros(len(index), 2, device=observations.device),
        None,
        torch.zeros(len(index), n_classes, device=observations.device),
        torch.full((len(index),), -torch.inf, device=observations.device),
    )


def run_mixture(
    task: SearchTask,
    stage: SearchStage,
    start: Mixture,
    *,
    generator: torch.Generator,
    progress: Progress,
    with_rivals: bool = False,
) -> Mixture:
    """Iterate at one radius until the likelihood settles; as :func:`annealing.run_stage`, with several maps.

    With rivals, an image counts by its probability to show a particle. Before all classes are found this must not be
    asked: a stray field explains whole species better than the map of another.
    """
    result, likelihoods = on_stage(task, stage, start), list[float]()
    powers = image_powers(task, result.radius) if with_rivals else None
    for step in range(stage.n_steps[1]):
        result = _step(task, stage, result, stage.temperature_at(step), generator=generator)
        if powers is not None:
            result = result.with_rival(powers)
        log_evidence = float(result.log_evidence.mean())
        progress(f"{len(result.share)} classes, radius {result.radius:.1f}", log_evidence)
        likelihoods.append(log_evidence)
        if stage.is_over(likelihoods):
            break
    return result


def on_stage(task: SearchTask, stage: SearchStage, start: Mixture) -> Mixture:
    """Return the maps on the grid of a stage, with priors for its shells."""
    observations, space = task.observations, task.space
    radius = stage_radius(stage, observations, space)
    grid = MapGrid.for_radius(observations.box_size, radius, space.symmetry)
    mask = sphere_on(grid, space.mask_radius, observations.device)
    before = start.volumes.shape[-1]
    return replace(
        start,
        volumes=torch.stack([resize_map(volume, grid.size) * mask for volume in start.volumes]),
        priors=torch.stack([carried_prior(prior, int(radius) + 1, before, grid.size) for prior in start.priors]),
        radius=radius,
    )


def ask(
    task: SearchTask, stage: SearchStage, maps: Mixture, shift: Tensor | None = None, *, generator: torch.Generator
) -> Mixture:
    """Return the same maps with what images say of them in the band of a stage.

    Rotations and shifts are searched together, shifts around those given (n, 2), or everywhere.
    """
    observations, space, there = task.observations, task.space, on_stage(task, stage, maps)
    offsets = (first_offsets if shift is None else neighbor_offsets)(observations, there.radius, space)
    if shift is None:
        shift = torch.zeros(len(task.index), 2, device=observations.device)
    unasked = maps.unasked(shift, None)
    _, rotations, slices = _slices(task, stage, there, generator=generator)
    spread = shift_spread(shift, space)
    poses = PoseGrid(rotations, offsets, spread, space.precision, maps.share.log())
    posterior = grid_posterior(observations, task.index, slices, poses, shift)
    return replace(
        unasked, shift=posterior.shift, shift_width=posterior.shift_width, evidence=posterior.evidence_of_map
    )


def image_powers(task: SearchTask, radius: float) -> ImageFits:
    """Return the power of images, and of their CTFs, by shell up to a radius; no map is compared."""
    observations, index = task.observations, task.index
    n_pixels = observations.n_pixels(radius)
    of_shell = observations.shell_matrix(n_pixels)
    found = torch.zeros(2, len(index), of_shell.shape[1], device=observations.device)

    def powers(rows: Tensor) -> tuple[Tensor, Tensor]:
        values, ctf = observations.batch(index[rows], n_pixels)
        return values.abs().square() @ of_shell, ctf.square() @ of_shell

    for rows, parts in observations.in_chunks("measuring power", index, 1000, powers):
        found[0, rows], found[1, rows] = parts
    observations.team.sum_(found)
    nothing = torch.zeros_like(found[0])
    return ImageFits(nothing, nothing, found[0], found[1], nothing[:, 0], torch.bincount(observations.shell[:n_pixels]))


def _slices(
    task: SearchTask, stage: SearchStage, maps: Mixture, *, generator: torch.Generator
) -> tuple[MapGrid, Tensor, Tensor]:
    """Return the grid, the rotations (G, 3, 3) of a stage, turned by chance, and slices (K G, P) of all maps."""
    observations = task.observations
    grid = MapGrid(observations.box_size, maps.volumes.shape[-1], task.space.symmetry)
    rotations = rotated_grid(stage.n_rotations, grid, generator=generator, device=observations.device)
    slices = [shared_slices(observations, grid, volume, rotations, maps.radius) for volume in maps.volumes]
    return grid, rotations, torch.cat(slices)


def _scored(task: SearchTask, slices: Tensor, maps: Mixture, temperature: float) -> GridPosterior:
    """Score all images of a task against slices (K G, P), from the shifts that the step before left."""
    if task.space.shift_range == 0:
        return grid_posterior(
            task.observations,
            task.index,
            slices,
            near_shifts(task, maps.radius, maps.shift, maps.share.log()),
            maps.shift,
            temperature=temperature,
            weight=maps.good,
        )
    return factored_posterior(
        task.observations,
        task.index,
        slices,
        belief_of_shifts(task, maps.radius, maps.shift, maps.shift_width, maps.share.log()),
        precision=task.space.precision,
        temperature=temperature,
        weight=maps.good,
    )


def _step(
    task: SearchTask, stage: SearchStage, maps: Mixture, temperature: float, *, generator: torch.Generator
) -> Mixture:
    observations = task.observations
    grid, rotations, slices = _slices(task, stage, maps, generator=generator)
    posterior = _scored(task, slices, maps, temperature)
    mask = sphere_on(grid, task.space.mask_radius, observations.device)
    volumes, priors = [], []
    for number, (volume, prior) in enumerate(zip(maps.volumes, maps.priors, strict=True)):
        sums = sums_of(posterior, rotations, grid, observations, number)
        equations = MapEquations(sums)
        volumes.append(equations.solve(mask, prior, start=volume, iterations=4))
        priors.append(posterior_prior(equations, volumes[-1], mask, prior))
    new = Mixture(
        torch.stack(volumes),
        torch.stack(priors),
        maps.share,
        maps.radius,
        posterior.shift,
        posterior.shift_width,
        posterior.evidence_of_map,
        maps.rival,
    )
    if temperature > 1:
        return new
    share = (maps.good @ new.posterior) / maps.good.sum()
    share = share.clamp_min(LEAST_SHARE)
    return replace(new, share=share / share.sum())
