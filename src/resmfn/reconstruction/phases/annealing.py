"""A coarse map from images of unknown pose: annealed expectation maximization on grids over SO(3).

Each step turns the grid of rotations as a whole by a random rotation, scores every image against every slice, and
solves the map for the softly assigned images. High temperatures keep the first steps from settling in the nearest
minimum; what settles all the same is told by its likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.fourier import radius_grid, resize_map, shell_average, soft_sphere
from resmfn.fourier.transforms import fftn_centered
from resmfn.inverse.normal_equations import MapGrid, NormalEquations, SliceSums
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.grid_posterior import GridPosterior, PoseGrid, grid_posterior
from resmfn.reconstruction.poses.score_products import ScorePrecision
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

    def once(self) -> SearchStage:
        """Return a single step of this stage, without annealing."""
        return replace(self, temperature=1.0, coolest=1.0, n_steps=(1, 1))


START_STAGES = (
    SearchStage(3.4, 2304, 8.0, 0.82, 2.0, (8, 14)),
    SearchStage(5.1, 4608, 4.0, 0.76, 1.0, (8, 16)),
)
FOCUS_STAGE = SearchStage(7.6, 9216, 1.0, 1.0, 1.0, (2, 5))
SETTLED = 0.15
"""A stage has settled when a step raises the mean log-likelihood of an image by less than this."""
STEP_SHARE = 0.19
"""Spacing of the shift grid, as a share of the shortest wavelength in the band."""


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, beside rotations."""

    mask_radius: float
    """Pixels."""
    shift_range: float
    """Å; 0 keeps images centered."""
    symmetry: str = "C1"
    """Point group of the map."""
    precision: ScorePrecision = "full"
    """Of the scores that rank poses."""


@dataclass(frozen=True)
class SearchResult:
    """A coarse map and what the images say of it."""

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

    @classmethod
    def from_map(cls, volume: Tensor, radius: float, shift: Tensor) -> SearchResult:
        """Return a start from a map and the shifts of the images, nothing assigned yet."""
        return cls(volume, radius, _EMPTY, volume.new_empty(0, 3, 3), shift, float("-inf"))


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
    radius = stage.cycles * observations.box_size / (2 * space.mask_radius)
    return min(radius, observations.radius_max)


def random_start(task: SearchTask, *, seed: int, start: int, progress: Progress) -> SearchResult:
    """Run one annealed start from images at random poses."""
    observations, index, space = task.observations, task.index, task.space
    generator = spawn(seed, "start", start)
    stage = START_STAGES[0]
    radius = stage_radius(stage, observations, space)
    grid = MapGrid.for_radius(observations.box_size, radius, space.symmetry)
    mask = sphere_on(grid, space, observations.device)
    sums = SliceSums(grid, observations.device)
    rotation = random_rotations(len(index), generator=generator).to(observations.device)
    n_pixels = observations.n_pixels(radius)

    def inserted(rows: Tensor) -> SliceSums:
        values, ctf = observations.batch(index[rows], n_pixels)
        return SliceSums.of(grid, values * ctf, ctf.square(), rotation[rows], observations.pixels[:n_pixels])

    for _, part in observations.in_chunks("inserting images", index, len(index), inserted):
        sums += part
    observations.team.sum_(sums.values, sums.weights)
    equations = NormalEquations(sums)
    prior = 3 * equations.shell_weights()[: int(radius) + 1]
    still = torch.zeros(len(index), 2, device=observations.device)
    result = SearchResult.from_map(equations.solve(mask, prior, iterations=4), radius, still)
    for number, stage in enumerate(START_STAGES):
        offsets = first_offsets(observations, radius, space) if number == 0 else None
        result = run_stage(task, stage, result, generator=generator, offsets=offsets, progress=progress)
    return result


def run_stage(
    task: SearchTask,
    stage: SearchStage,
    start: SearchResult,
    *,
    generator: torch.Generator,
    progress: Progress,
    offsets: Tensor | None = None,
    n_top: int = 1,
) -> SearchResult:
    """Iterate at one radius until the likelihood settles.

    Parameters
    ----------
    task
        The images, and what is searched.
    stage
        Radius, grid and temperatures.
    start
        Map and shifts to start from; the map on any grid.
    generator
        Draws the turn of the grid at each step.
    progress
        Told the stage and the likelihood at each step.
    offsets
        (T, 2) shifts to try around each image's, Å; by default the neighbors on the shift grid.
    n_top
        How many of the best poses of each image to list at the last step.
    """
    observations, index, space = task.observations, task.index, task.space
    radius = stage_radius(stage, observations, space)
    grid = MapGrid.for_radius(observations.box_size, radius, space.symmetry)
    mask = sphere_on(grid, space, observations.device)
    pixels = observations.pixels[: observations.n_pixels(radius)]
    base = super_fibonacci(stage.n_rotations, device=observations.device)
    if offsets is None:
        offsets = neighbor_offsets(observations, radius, space)
    volume = resize_map(start.volume, grid.size) * mask
    result, previous = replace(start, volume=volume, radius=radius), float("-inf")
    for step in range(stage.n_steps[1]):
        temperature = max(stage.coolest, stage.temperature * stage.cooling**step)
        turn = random_rotations(1, generator=generator)[0].to(base)
        rotations = base @ turn
        rotations = rotations[asymmetric_unit(rotations, grid.group)]
        slices = grid.slices(grid.transform(result.volume), rotations, pixels)
        poses = PoseGrid(rotations, offsets, _shift_spread(result.shift, space), space.precision)
        posterior = grid_posterior(
            observations, index, slices, poses, result.shift, temperature=temperature, n_top=n_top
        )
        log_evidence = float(posterior.log_evidence.mean())
        equations = equations_of(posterior, rotations, pixels, grid, observations.team)
        prior = equations.limited_prior(power_prior(result.volume, mask, int(radius) + 1))
        volume = equations.solve(mask, prior, start=result.volume, iterations=4)
        result = SearchResult(volume, radius, posterior, rotations, posterior.shift, log_evidence)
        progress(f"radius {radius:.1f}", log_evidence)
        settled = temperature == stage.coolest and log_evidence - previous < SETTLED
        if step + 1 >= stage.n_steps[0] and settled:
            break
        previous = log_evidence
    return result


def equations_of(
    posterior: GridPosterior, rotations: Tensor, pixels: Tensor, grid: MapGrid, team: Team
) -> NormalEquations:
    """Return the normal equations of softly assigned images; each process inserts its share of the rotations."""
    share = team.share_of(len(rotations))
    rows = slice(share.start, share.stop)
    sums = SliceSums.of(grid, posterior.values[rows], posterior.weights[rows], rotations[rows], pixels)
    team.sum_(sums.values, sums.weights)
    return NormalEquations(sums)


def power_prior(volume: Tensor, mask: Tensor, n_shells: int) -> Tensor:
    """Return the penalty of each shell that a map's own power implies.

    Voxels inside the mask of a map with power p in a shell have variance ``s^2 = p / (share of the mask * M^3)``
    there; the penalty is ``1 / (2 s^2)``.
    """
    size = volume.shape[0]
    power = shell_average(fftn_centered(volume).abs().square(), size)
    share = float(mask.square().mean())
    penalty = share * size**3 / (2 * power.clamp_min(1e-9 * power.max()))
    return penalty[:n_shells]


def sphere_on(grid: MapGrid, space: SearchSpace, device: torch.device) -> Tensor:
    """Return the spherical mask on a coarse grid."""
    ratio = grid.size / grid.box_size
    edge = 0.06 * grid.size
    return soft_sphere(grid.size, space.mask_radius * ratio, edge, device=device)


def first_offsets(observations: Observations, radius: float, space: SearchSpace) -> Tensor:
    """Return the shifts (T, 2) in Å that fill the range at the spacing that a radius needs."""
    return _disc(space.shift_range, _shift_step(observations, radius), observations.device)


def neighbor_offsets(observations: Observations, radius: float, space: SearchSpace) -> Tensor:
    """Return 0 and its four neighbors on the shift grid of a radius, in Å; 0 alone if images are centered."""
    step = _shift_step(observations, radius)
    return _disc(step if space.shift_range > 0 else 0.0, step, observations.device)


def _shift_step(observations: Observations, radius: float) -> float:
    return STEP_SHARE * observations.box_size * observations.pixel_size / radius


def _disc(reach: float, step: float, device: torch.device) -> Tensor:
    n = int(reach / step)
    side = 2 * n + 1
    points = (radius_grid(side, 2, device) <= reach / step + 1e-6).nonzero() - n
    return points.flip(1).float() * step


def _shift_spread(shift: Tensor, space: SearchSpace) -> float | None:
    """Return the spread of the shifts found so far, never narrower than a tenth of the range; None at first."""
    if space.shift_range == 0 or not bool(shift.any()):
        return None
    return max(float(shift.square().mean().sqrt()), 0.1 * space.shift_range)


_EMPTY = GridPosterior(*(torch.empty(0) for _ in range(8)))
