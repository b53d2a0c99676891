"""The first phases: annealed starts, then one coarse map of all images that every network begins from."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.fourier import low_pass, resize_map
from resmfn.inverse.normal_equations import MapGrid, NormalEquations
from resmfn.reconstruction.images.image_quality import probably_good
from resmfn.reconstruction.phases.annealing import (
    FOCUS_STAGE,
    START_STAGES,
    SearchResult,
    SearchTask,
    equations_of,
    first_offsets,
    power_prior,
    random_start,
    run_stage,
    sphere_on,
    stage_radius,
)
from resmfn.reconstruction.phases.gathered import gather_search
from resmfn.reconstruction.phases.refinement import Branch, insert_images
from resmfn.reconstruction.poses.candidates import N_LISTED, distinct_candidates
from resmfn.reconstruction.run.context import HALVES, FittedNetwork, RunContext, required
from resmfn.rotations import super_fibonacci

N_SEARCH = 1000
"""Images that the annealed starts use; more do not make a coarse map better."""
COARSE_STEPS = 100


def enter_first_phase(run: RunContext) -> None:
    """Go to the first phase that the settings need."""
    state = run.state
    if run.config.poses != "unknown":
        rotation, shift = run.particles.require_poses()
        state.rotation, state.shift = rotation.float().to(run.device), shift.float().to(run.device)
        state.max_probability = torch.ones(len(run.particles), device=run.device)
        state.pose_entropy = torch.zeros(len(run.particles), device=run.device)
        state.phase = "control"
    elif run.config.reference is not None:
        state.coarse, state.radius = _read_reference(run)
        state.phase = "control"


def search_step(run: RunContext) -> None:
    """Run one annealed start, or as many as there are processes; keep what is likeliest so far."""
    state, team, n_starts = run.state, run.observations.team, run.config.n_starts
    space, index = run.space, search_index(run)
    radius = stage_radius(START_STAGES[-1], run.observations, space)
    search = gather_search(run.observations, index, space, radius)

    def start(number: int, crew: Team) -> tuple[Tensor, float, float]:
        result = random_start(
            search(crew),
            seed=run.config.seed,
            start=number,
            progress=lambda what, value: run.tell(_name(run, number), f"{what}, log-likelihood {value:.2f}"),
        )
        return result.volume.cpu(), result.radius, result.log_evidence

    numbers = range(state.step, min(state.step + team.size, n_starts))
    for number, found in zip(numbers, team.divide([partial(start, number) for number in numbers]), strict=True):
        _keep_start(run, number, *found)
    if state.step == n_starts:
        state.phase, state.step = "control", 0


def _keep_start(run: RunContext, number: int, volume: Tensor, radius: float, log_evidence: float) -> None:
    state, n_starts = run.state, run.config.n_starts
    volume = volume.to(run.device)
    if log_evidence > max(state.log_likelihoods, default=float("-inf")):
        state.coarse, state.radius = volume, radius
    state.start_maps.append(volume)
    state.log_likelihoods.append(log_evidence)
    state.step += 1
    values = {"start": state.step, "log_likelihood": log_evidence}
    message = f"{_name(run, number)}: log-likelihood {log_evidence:.2f}"
    run.tell("search", message, 0.2 * state.step / n_starts, values)


def _name(run: RunContext, number: int) -> str:
    return f"start {number + 1} of {run.config.n_starts}"


def focus_step(run: RunContext) -> None:
    """Make one map of all images at the last radius that they share, and fit every network to it.

    Each network is drawn for itself: what two of them agree on beyond this radius is in the images.
    """
    find = _focus_on_search if run.config.poses == "unknown" else _focus_on_input
    equations, prior, mask, radius = find(run)

    def fit(name: str, _: Team) -> FittedNetwork:  # coarse networks are so small that sharing one takes longer
        network = run.network(name)
        finest = network.scale_for(radius)
        for scale in range(1, finest + 1):
            reached = network.fit(equations, mask, prior, scale=scale, steps=COARSE_STEPS)
        return FittedNetwork.of(network, equations.grid, finest, mask, reached)

    run.fit_networks({name: partial(fit, name) for name in (*HALVES, "joint")})
    state = run.state
    state.radius = state.split_radius = radius
    state.phase, state.step = "halves", 0
    resolution = run.resolution(radius)
    run.tell("focus", f"common map to {resolution:.1f} Å", 0.3, {"resolution": resolution})


def search_again(run: RunContext, branch: Branch, name: str) -> tuple[Tensor, Tensor]:
    """Return the pose that each image of a half has, and the best ones elsewhere by that half's map."""
    start = SearchResult.from_map(run.state.references[name], run.state.radius, branch.poses.shift)
    result = run_stage(
        SearchTask(run.observations, branch.index, run.space),
        FOCUS_STAGE.once(),
        start,
        generator=spawn(run.config.seed, "recheck", name),
        progress=lambda *_: None,
        n_top=N_LISTED,
    )
    rotation, shift = distinct_candidates(result)
    here = branch.poses
    return torch.cat((here.rotation[:, None], rotation), 1), torch.cat((here.shift[:, None], shift), 1)


Focus = tuple[NormalEquations, Tensor, Tensor, float]
"""Normal equations, prior by shell, mask on their grid, radius."""


def _focus_on_search(run: RunContext) -> Focus:
    state, generator = run.state, spawn(run.config.seed, "focus")
    shift = torch.zeros(len(run.index), 2, device=run.device)
    start = SearchResult.from_map(required(state.coarse), state.radius, shift)
    if run.moves_shift:
        start = _center(run, start, generator)
    result = run_stage(
        SearchTask(run.observations, run.index, run.space),
        FOCUS_STAGE,
        start,
        generator=generator,
        progress=lambda what, value: run.tell("focus", f"{what}, log-likelihood {value:.2f}"),
        n_top=N_LISTED,
    )
    state.candidate_rotation, state.candidate_shift = distinct_candidates(result)
    state.rotation, state.shift = state.candidate_rotation[:, 0], state.candidate_shift[:, 0]
    state.max_probability = result.posterior.max_probability
    state.pose_entropy = result.posterior.entropy
    state.good = probably_good(result.posterior.log_evidence)
    grid = MapGrid(run.box_size, result.volume.shape[0], run.config.symmetry)
    pixels = run.observations.pixels[: run.observations.n_pixels(result.radius)]
    equations = equations_of(result.posterior, result.rotations, pixels, grid, run.observations.team)
    mask = sphere_on(grid, run.space, run.device)
    prior = equations.limited_prior(power_prior(result.volume, mask, int(result.radius) + 1))
    return equations, prior, mask, result.radius


def _center(run: RunContext, start: SearchResult, generator: torch.Generator) -> SearchResult:
    """Find every image's shift, over the whole range, with the map that the starts left."""
    stage = START_STAGES[-1]
    radius = stage_radius(stage, run.observations, run.space)
    return run_stage(
        SearchTask(run.observations, run.index, run.space),
        stage.once(),
        start,
        generator=generator,
        offsets=first_offsets(run.observations, radius, run.space),
        progress=lambda what, value: run.tell("centering", f"{what}, log-likelihood {value:.2f}"),
    )


def _focus_on_input(run: RunContext) -> Focus:
    radius = stage_radius(FOCUS_STAGE, run.observations, run.space)
    return _at_poses(run, run.index, radius)


def coarse_map_of(run: RunContext, index: Tensor) -> Tensor:
    """Return a coarse map (M, M, M) of some images alone, at the poses that they have."""
    radius = stage_radius(START_STAGES[-1], run.observations, run.space)
    equations, prior, mask, _ = _at_poses(run, index, radius)
    return equations.solve(mask, prior)


def _at_poses(run: RunContext, index: Tensor, radius: float) -> Focus:
    """Return what images at their poses say of a map up to a radius."""
    grid = run.grid(radius)
    branch = Branch(index, run.poses().select(index))
    equations = NormalEquations(insert_images(run.observations, branch, grid, radius))
    mask = sphere_on(grid, run.space, run.device)
    weak = 0.3 * equations.shell_weights()[: int(radius) + 1]
    prior = equations.limited_prior(power_prior(equations.solve(mask, weak), mask, int(radius) + 1))
    return equations, prior, mask, radius


def search_index(run: RunContext) -> Tensor:
    """Return the images that the annealed starts use, int64."""
    if len(run.index) <= N_SEARCH:
        return run.index
    order = torch.randperm(len(run.index), generator=spawn(run.config.seed, "search"))
    return order[:N_SEARCH].sort().values.to(run.device)


def _read_reference(run: RunContext) -> tuple[Tensor, float]:
    """Return the reference, low-passed and in the images' grey scale, and the radius it is believed to."""
    volume = run.read_own_map("--reference", run.config.reference)
    radius = min(run.box_size * run.pixel_size / run.config.ini_high, run.observations.radius_max)
    grid = run.grid(radius + 2)
    volume = resize_map(low_pass(volume, radius, 2.0) * run.sphere, grid.size)
    return volume * _reference_gain(run, volume, grid, radius), radius


def _reference_gain(run: RunContext, volume: Tensor, grid: MapGrid, radius: float) -> float:
    """Return the factor that gives slices of a map the power that the images have beyond their noise."""
    observations, index = run.observations, search_index(run)
    n_pixels = observations.n_pixels(radius)
    power, weight = torch.zeros(n_pixels, device=run.device), torch.zeros(n_pixels, device=run.device)

    def powers(rows: Tensor) -> tuple[Tensor, Tensor]:
        values, ctf = observations.batch(index[rows], n_pixels)
        return values.abs().square().sum(dim=0), ctf.square().sum(dim=0)

    for _, (of_values, of_ctf) in observations.in_chunks("measuring the images' power", index, len(index), powers):
        power += of_values
        weight += of_ctf
    observations.team.sum_(power, weight)
    signal = float((power / len(index) - 1).mean().clamp_min(1e-6))
    views = super_fibonacci(200, device=run.device)
    slices = grid.slices(grid.transform(volume), views, observations.pixels[:n_pixels])
    expected = float((weight / len(index) * slices.abs().square().mean(dim=0)).mean())
    if not expected > 0:
        raise InputError(f"--reference {run.config.reference} is empty inside the mask; give another map")
    return float((signal / expected) ** 0.5)
