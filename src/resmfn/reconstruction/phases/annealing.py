"""A coarse map from images of unknown pose: annealed expectation maximization on grids over SO(3).

Each step turns the grid of rotations as a whole by a random rotation, scores every image against every slice, and
solves the map for the softly assigned images. High temperatures keep the first steps from converging to the nearest
minimum; starts that still do are recognized by their likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.fourier import resize_map
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.priors import carried_prior, posterior_prior, power_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.poses.factored_posterior import ShiftBelief, factored_posterior
from resmfn.reconstruction.poses.grid_posterior import GridPosterior, PoseGrid, grid_posterior
from resmfn.reconstruction.poses.search_space import (
    FINER,
    SearchSpace,
    fine_offsets,
    first_offsets,
    neighbor_offsets,
    shift_spread,
    shift_step,
)
from resmfn.rotations import asymmetric_unit, random_rotations, super_fibonacci


@dataclass(frozen=True)
class SearchStage:
    """Steps at one radius."""

    cycles: float
    """Radius of the band, in cycles over the diameter of the mask: it fixes how fine rotations must be sampled."""
    n_rotations: int
    temperature: float
    """At the first step."""
    cooling: float
    """Factor on the temperature at each step, down to ``coolest``."""
    coolest: float
    n_steps: tuple[int, int]
    """Fewest and most; in between a stage ends when the likelihood stops rising."""
    patience: int = 1
    """Last steps that must have raised it by less than ``SETTLED`` together."""

    def temperature_at(self, step: int) -> float:
        """Return the temperature of a step, counted from 0."""
        return max(self.coolest, self.temperature * self.cooling**step)

    def is_over(self, log_evidence: list[float]) -> bool:
        """Say whether the stage ends after steps of some mean log-likelihoods of an image."""
        n = len(log_evidence)
        if n <= self.patience or n < self.n_steps[0] or self.temperature_at(n - 1) > self.coolest:
            return False
        return log_evidence[-1] - log_evidence[-1 - self.patience] < SETTLED

    def patiently(self) -> SearchStage:
        """Return the stage that waits for what comes slowly, as small molecules do (see ``START_STAGES``)."""
        return replace(self, n_steps=(self.n_steps[0], PATIENT_STEPS), patience=PATIENCE)

    def once(self) -> SearchStage:
        """Return a single step of this stage, without annealing."""
        return replace(self, temperature=1.0, coolest=1.0, n_steps=(1, 1))


PATIENCE, PATIENT_STEPS = 3, 40
"""Last steps that must be in vain, and most steps, of stages that wait."""
# Radii, grids and temperatures of the starts: no comparison with others is recorded.
START_STAGES = (
    SearchStage(3.4, 2304, 8.0, 0.82, 2.0, (8, 14)),
    SearchStage(5.1, 4608, 4.0, 0.76, 1.0, (8, PATIENT_STEPS), PATIENCE),
)
"""Small molecules begin as what they and their mirror image share, and leave it slowly: by 0.07 to 0.15 nat a step for
six steps (closed adenylate kinase, 800 images, a fifth of them other things). Ended at the first of these, no start of
five found the molecule; ended after three that gain less than that together, three of three did."""


FOCUS_STAGE = SearchStage(7.6, 9216, 1.0, 1.0, 1.0, (2, 5))  # no comparison recorded

MOST_PENALTY = 1e3
"""Of a shell over the least of all shells, where a map that a search starts from has next to no power."""
N_SEARCH = 1000
"""Images that starts, and what must be waited for, use; other numbers were not compared."""
N_SHARPEN = 10_000
"""Where there are more than twice as many images, so many settle the map first. Other numbers were not compared."""
JOINT_STEPS = 2
"""Last steps of a start that score rotations and shifts together."""
SETTLED = 0.15
"""A stage ends when its last steps raise the mean log-likelihood of an image by less. No comparison recorded."""


@dataclass(frozen=True)
class SearchResult:
    """A coarse map with the poses and likelihood of the images."""

    volume: Tensor
    """(M, M, M): on the grid that its radius needs."""
    radius: float
    """Fourier pixels."""
    posterior: GridPosterior
    rotations: Tensor
    """(G, 3, 3): those that the posterior's indices mean."""
    shift: Tensor
    """(n, 2): posterior mean, Å."""
    log_evidence: float
    """Mean over the images."""
    shift_width: Tensor | None = None
    """(n,): posterior standard deviation along an axis, Å; None before anything is known of the shifts."""
    prior: Tensor | None = None
    """(shells,): penalty that the next map on this grid is solved with; None is what the map's own power says."""

    @classmethod
    def from_map(cls, volume: Tensor, radius: float, shift: Tensor) -> SearchResult:
        """Return a start from a map and the shifts of the images, nothing assigned yet."""
        return cls(volume, radius, _EMPTY, volume.new_empty(0, 3, 3), shift, float("-inf"))

    def of(self, rows: Tensor) -> SearchResult:
        """Return a start of some of the images, by their rows (m,)."""
        width = None if self.shift_width is None else self.shift_width[rows]
        return replace(self, shift=self.shift[rows], shift_width=width)


Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class SearchTask:
    """Which images are searched, and through what."""

    observations: Observations
    index: Tensor
    """int64 (n,): the images."""
    space: SearchSpace


def stage_radius(stage: SearchStage, observations: Observations, space: SearchSpace) -> float:
    """Return the radius of a stage's band in Fourier pixels."""
    return radius_of_cycles(stage.cycles, observations, space)


def radius_of_cycles(cycles: float, observations: Observations, space: SearchSpace) -> float:
    """Return the radius in Fourier pixels of so many cycles over the mask's diameter, at most that of the images."""
    return min(cycles * observations.box_size / (2 * space.mask_radius), observations.radius_max)


def cycles_of_radius(radius: float, observations: Observations, mask_radius: float) -> float:
    """Return a radius in Fourier pixels as cycles over the diameter of a sphere, whose radius is in pixels."""
    return radius * 2 * mask_radius / observations.box_size


def random_start(
    task: SearchTask, *, seed: int, start: int, progress: Progress, stages: Sequence[SearchStage] = START_STAGES
) -> SearchResult:
    """Run one annealed start from images at random poses."""
    observations, space = task.observations, task.space
    generator = spawn(seed, "start", start)
    radius = stage_radius(stages[0], observations, space)
    rotation = random_rotations(len(task.index), generator=generator).to(observations.device)
    volume, prior = map_at_poses(task, rotation, radius)
    still = torch.zeros(len(task.index), 2, device=observations.device)
    result = replace(SearchResult.from_map(volume, radius, still), prior=prior)
    for number, stage in enumerate(stages):
        if number > 0:
            result = centered(task, stages[number - 1], result, generator=generator)
        result = run_stage(task, stage, result, generator=generator, progress=progress)
    if space.shift_range == 0:
        return result
    # What is believed apart has a lower bound for its likelihood, and a map not quite at rest: neither picks a start.
    last = replace(stages[-1].once(), n_steps=(JOINT_STEPS, JOINT_STEPS))
    return run_stage(task, last, result, generator=generator, progress=progress, jointly=True)


def map_at_poses(task: SearchTask, rotation: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return a first map (M, M, M) of images at some rotations (n, 3, 3), and the prior (shells,) of the next."""
    observations, index, space = task.observations, task.index, task.space
    grid = MapGrid.for_radius(observations.box_size, radius, space.symmetry)
    mask = sphere_on(grid, space.mask_radius, observations.device)
    n_pixels = observations.n_pixels(radius)
    sums = SliceSums(grid, observations.device)

    def inserted(rows: Tensor) -> SliceSums:
        values, ctf = observations.batch(index[rows], n_pixels)
        frames = observations.magnification.frames(index[rows], rotation[rows])
        return SliceSums.of(grid, values * ctf, ctf.square(), frames, observations.pixels[:n_pixels])

    for _, part in observations.in_chunks("inserting images", index, len(index), inserted):
        sums += part
    observations.team.sum_(sums.values, sums.weights)
    equations = MapEquations(sums)
    prior = 3 * equations.shell_weights()[: int(radius) + 1]
    volume = equations.solve(mask, prior, iterations=4)
    return volume, posterior_prior(equations, volume, mask, prior)


def centered(task: SearchTask, stage: SearchStage, start: SearchResult, *, generator: torch.Generator) -> SearchResult:
    """Find every image's shift over the whole range, together with its rotation, in the band of a stage.

    Steps believe both apart, from what they believed before, which may be far off. The map stays what it is.
    """
    observations, space = task.observations, task.space
    if space.shift_range == 0:
        return start
    radius = stage_radius(stage, observations, space)
    grid = MapGrid.for_radius(observations.box_size, radius, space.symmetry)
    mask = sphere_on(grid, space.mask_radius, observations.device)
    rotations = rotated_grid(stage.n_rotations, grid, generator=generator, device=observations.device)
    slices = shared_slices(observations, grid, resize_map(start.volume, grid.size) * mask, rotations, radius)
    spread = shift_spread(start.shift, space)
    poses = PoseGrid(rotations, first_offsets(observations, radius, space), spread, space.precision)
    found = grid_posterior(observations, task.index, slices, poses, torch.zeros_like(start.shift))
    return replace(start, shift=found.shift, shift_width=found.shift_width)


def run_stage(
    task: SearchTask,
    stage: SearchStage,
    start: SearchResult,
    *,
    generator: torch.Generator,
    progress: Progress,
    n_top: int = 1,
    jointly: bool = False,
) -> SearchResult:
    """Iterate at one radius until the likelihood converges.

    Parameters
    ----------
    task
        The images, and what is searched.
    stage
        Radius, grid and temperatures.
    start
        Map and shifts to start from; the map on any grid.
    generator
        Draws the rotation of the grid at each step.
    progress
        Told the stage and the likelihood at each step.
    n_top
        How many of the best poses of each image to list at the last step; more than one where scored jointly alone.
    jointly
        Score each rotation with each of the near shifts, which takes five times as long, instead of both apart.
    """
    observations, space = task.observations, task.space
    radius = stage_radius(stage, observations, space)
    grid = MapGrid.for_radius(observations.box_size, radius, space.symmetry)
    mask = sphere_on(grid, space.mask_radius, observations.device)
    volume = resize_map(start.volume, grid.size) * mask
    jointly = jointly or space.shift_range == 0
    result, likelihoods = replace(start, volume=volume, radius=radius), list[float]()
    prior = _first_prior(start, grid, mask, int(radius) + 1)
    for step in range(stage.n_steps[1]):
        temperature = stage.temperature_at(step)
        rotations = rotated_grid(stage.n_rotations, grid, generator=generator, device=observations.device)
        slices = shared_slices(observations, grid, result.volume, rotations, radius)
        if jointly:
            posterior = _scored_jointly(task, slices, result, temperature=temperature, n_top=n_top)
        else:
            posterior = _scored_apart(task, slices, result, temperature=temperature)
        log_evidence = float(posterior.log_evidence.mean())
        equations = MapEquations(sums_of(posterior, rotations, grid, observations))
        volume = equations.solve(mask, prior, start=result.volume, iterations=4)
        prior = posterior_prior(equations, volume, mask, prior)
        result = SearchResult(
            volume, radius, posterior, rotations, posterior.shift, log_evidence, posterior.shift_width, prior
        )
        progress(f"radius {radius:.1f}", log_evidence)
        likelihoods.append(log_evidence)
        if stage.is_over(likelihoods):
            break
    return result


def sharpened(
    task: SearchTask,
    stage: SearchStage,
    start: SearchResult,
    *,
    generator: torch.Generator,
    progress: Progress,
    n_top: int = 1,
) -> SearchResult:
    """Iterate as :func:`run_stage`: patiently, for which ``N_SEARCH`` images are enough, ``N_SHARPEN``, then all."""
    n = len(task.index)
    if n <= N_SEARCH:
        return run_stage(task, stage.patiently(), start, generator=generator, progress=progress, n_top=n_top)
    before = _of_some(task, stage.patiently(), start, N_SEARCH, generator, progress)
    if n > 2 * N_SHARPEN:
        before = _of_some(task, stage, before, N_SHARPEN, generator, progress)
    return run_stage(task, stage, before, generator=generator, progress=progress, n_top=n_top)


def _of_some(
    task: SearchTask, stage: SearchStage, start: SearchResult, n: int, generator: torch.Generator, progress: Progress
) -> SearchResult:
    """Run a stage on some of the images; return a start of all from the map that they gave."""
    rows = some_of(torch.arange(len(task.index), device=task.index.device), n, generator)
    few = replace(task, index=task.index[rows])
    found = run_stage(few, stage, start.of(rows), generator=generator, progress=progress)
    return replace(start, volume=found.volume, prior=found.prior, radius=found.radius)


def some_of(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return some of the rows (n,), growing; all if they are not too many."""
    if len(rows) <= most:
        return rows
    order = torch.randperm(len(rows), generator=generator)[:most].to(rows.device)
    return rows[order].sort().values


def _scored_jointly(
    task: SearchTask, slices: Tensor, before: SearchResult, *, temperature: float, n_top: int
) -> GridPosterior:
    """Score all images of a task against slices (G, P), at the shifts near those that the step before left."""
    near = near_shifts(task, before.radius, before.shift)
    return grid_posterior(
        task.observations, task.index, slices, near, before.shift, temperature=temperature, n_top=n_top
    )


def _scored_apart(task: SearchTask, slices: Tensor, before: SearchResult, *, temperature: float) -> GridPosterior:
    """Score all images of a task against slices (G, P) and shifts apart, from what the step before left."""
    return factored_posterior(
        task.observations,
        task.index,
        slices,
        belief_of_shifts(task, before.radius, before.shift, before.shift_width),
        precision=task.space.precision,
        temperature=temperature,
    )


def near_shifts(task: SearchTask, radius: float, shift: Tensor, log_share: Tensor | None = None) -> PoseGrid:
    """Return the grid of the shifts near those of the images (n, 2); the rotations are those of the slices."""
    offsets, spread = neighbor_offsets(task.observations, radius, task.space), shift_spread(shift, task.space)
    return PoseGrid(shift.new_empty(0), offsets, spread, task.space.precision, log_share)


def belief_of_shifts(
    task: SearchTask, radius: float, shift: Tensor, width: Tensor | None, log_share: Tensor | None = None
) -> ShiftBelief:
    """Return what a step left of the images' shifts (n, 2) and their widths (n,), at the radius of the next.

    Of shifts without a width nothing is known yet.
    """
    observations, space = task.observations, task.space
    spread = shift_spread(shift, space) or 0.5 * space.shift_range  # of shifts evenly over the disc
    step = shift_step(observations, radius) / FINER
    width = torch.full_like(shift[:, 0], spread) if width is None else width.clamp_min(step)
    return ShiftBelief(shift, width, fine_offsets(observations, radius, space), step, spread, log_share)


def _first_prior(start: SearchResult, grid: MapGrid, mask: Tensor, n_shells: int) -> Tensor:
    """Return the prior of a stage's first map: that of the stage before, or what the map it starts from says."""
    prior, size = start.prior, start.volume.shape[0]
    if prior is None:
        known = power_prior(resize_map(start.volume, grid.size) * mask, mask, min(n_shells, int(start.radius) + 1))
        prior, size = known.clamp_max(MOST_PENALTY * known.min()), grid.size
    return carried_prior(prior, n_shells, size, grid.size)


def rotated_grid(n: int, grid: MapGrid, *, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return n rotations spread evenly over SO(3), rotated together at random; one of each set of symmetric copies."""
    rotations = super_fibonacci(n, device=device) @ random_rotations(1, generator=generator)[0].to(device)
    return rotations[asymmetric_unit(rotations, grid.group)]


def shared_slices(
    observations: Observations, grid: MapGrid, volume: Tensor, rotations: Tensor, radius: float
) -> Tensor:
    """Return slices (G, P) of a map on a grid at rotations (G, 3, 3), to a radius, as all images may show them."""
    pixels = observations.pixels[: observations.n_pixels(radius)]
    return grid.slices(grid.transform(volume), observations.magnification.shared_frames(rotations), pixels)


def sums_of(
    posterior: GridPosterior, rotations: Tensor, grid: MapGrid, observations: Observations, number: int = 0
) -> SliceSums:
    """Return the sums of softly assigned images, where there are several maps those of one, counted from 0.

    Each process inserts its share of the rotations.
    """
    team, first = observations.team, number * len(rotations)
    share = team.share_of(len(rotations))
    mine, rows = slice(share.start, share.stop), slice(first + share.start, first + share.stop)
    frames = observations.magnification.shared_frames(rotations[mine])
    values, weights = posterior.values[rows], posterior.weights[rows]
    sums = SliceSums.of(grid, values, weights, frames, observations.pixels[: values.shape[1]])
    team.sum_(sums.values, sums.weights)
    return sums


_EMPTY = GridPosterior(*(torch.empty(0) for _ in range(10)))
