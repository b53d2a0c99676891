"""From coarse maps of a part of the images to the poses of all images in every class."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.reconstruction.classes.branch_step import left_out_and_rest, stored_branches
from resmfn.reconstruction.classes.competition import Branches, competition, members
from resmfn.reconstruction.classes.mixture import Mixture, ask, run_mixture
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import (
    FOCUS_STAGE,
    START_STAGES,
    SearchResult,
    SearchStage,
    SearchTask,
    cycles_of_radius,
    rotated_grid,
    shared_slices,
    sharpened,
    sums_of,
)
from resmfn.reconstruction.phases.control import held_out_control
from resmfn.reconstruction.phases.soft import SOFT_ENTROPY
from resmfn.reconstruction.poses.candidates import N_LISTED, distinct_candidates
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.search_space import SearchSpace, extent_of_map, neighbor_offsets, shift_spread
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.reconstruction.run.held_out import N_HELD_OUT, HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import Band, ImageQualities, Maps, PoseEstimates, SoftRounds, Starts
from resmfn.reconstruction.run.state import RunState

LEAST_ASKED = 10
"""Held-out images of a class that say whether it is structure; fewer cannot: of 50 images or less."""


def class_focus_step(run: RunContext) -> bool:
    """Sharpen the maps of all classes with all images; give each class the state that a run has at this point."""
    branches, generator = _by_size(stored_branches(run)), spawn(run.config.seed, "class focus")
    task = SearchTask(run.observations, run.index, run.space)

    def told(what: str, value: float) -> None:
        run.tell("focus", f"{what}, log-likelihood {value:.2f}")

    maps = ask(task, START_STAGES[0], branches.maps, generator=generator)
    coarse = competition(task, maps, maps.radius).once()
    maps = run_mixture(task, coarse, maps, generator=generator, progress=told, with_rivals=True)
    extent = max(extent_of_map(volume, run.space, run.box_size) for volume in maps.volumes)
    stage = _focus_stage(task, maps.radius, FOCUS_STAGE.cycles * run.space.mask_radius / extent)
    maps = run_mixture(task, stage, maps, generator=generator, progress=told, with_rivals=True)
    good = maps.good[:, None] * maps.posterior
    starts = [_start_of(maps, number) for number in range(len(maps.share))]
    run.state.classes = [
        state_of_start(run, start, good[:, number], f"class {number + 1}", generator=generator)
        for number, start in enumerate(starts)
    ]
    for number, state in enumerate(run.state.classes):
        state.tests = HeldOutTests(structure=_control(run, branches, maps, number))
    controls = [already_set(state.tests.structure) for state in run.state.classes]
    run.state.tests = HeldOutTests(structure=max(controls, key=lambda control: control.gain))
    run.state.band = Band(maps.radius, split=maps.radius)
    run.tell("focus", f"{len(maps.share)} classes to {run.resolution(maps.radius):.1f} Å", 0.3)
    return True


def _focus_stage(task: SearchTask, radius: float, cycles: float = FOCUS_STAGE.cycles) -> SearchStage:
    """Return the focus of a single map, of so many cycles over what is searched; no coarser than its radius."""
    in_use = cycles_of_radius(radius, task.observations, task.space.mask_radius)
    return replace(FOCUS_STAGE, cycles=max(cycles, in_use))


def _start_of(maps: Mixture, number: int) -> SearchResult:
    start = SearchResult.from_map(maps.volumes[number], maps.radius, maps.shift)
    return replace(start, prior=maps.priors[number])


def _by_size(branches: Branches) -> Branches:
    """Return the classes with the largest first."""
    order = branches.maps.share.argsort(descending=True).tolist()
    return branches.only(order)


def _control(run: RunContext, branches: Branches, maps: Mixture, number: int) -> NoiseControl:
    """Ask held-out images that are likeliest of a class whether its map is more than noise."""
    tasks = left_out_and_rest(run)
    left_out = tasks.left_out.index[members(branches.asked, number)]
    rows = run.first_row
    index = held_out_of_class(left_out, members(maps, number), rows[~torch.isin(rows, tasks.made_from.index)])
    if len(index) < LEAST_ASKED:
        return NoiseControl(len(index), 0.0, 0.0, 0.0, 0.0)
    return held_out_control(run, branches.maps.volumes[number], index)


def held_out_of_class(left_out: Tensor, of_class: Tensor, in_no_map: Tensor) -> Tensor:
    """Return the images, int64 (m,), that are asked about a class.

    Of a large set most images are in no map of the branches, so that they are held out as well: a rare class, of which
    few are among those that decided how many classes there are, is asked by these.

    Parameters
    ----------
    left_out
        Images of the class among those that decided how many classes there are.
    of_class
        All images that are likeliest of it.
    in_no_map
        All images that no map of the branches was made from.
    """
    if len(left_out) < LEAST_ASKED:
        others = of_class[torch.isin(of_class, in_no_map) & ~torch.isin(of_class, left_out)]
        left_out = torch.cat((left_out, others))
    return left_out[:N_HELD_OUT]


def state_of_start(
    run: RunContext, start: SearchResult, good: Tensor, name: str, *, generator: torch.Generator
) -> RunState:
    """Sharpen a map by its own images, and score all against it: what a run of this structure would know.

    Parameters
    ----------
    run
        All images, and where their poses are searched.
    start
        The map, and the shifts of all images.
    good
        (n,): probability of each image to show it.
    name
        Of the class, for progress.
    generator
        Draws the rotations of the grids.
    """
    space = run.space.around(start.volume, run.box_size)
    own = _focused(run, space, start, good, name, generator)
    observations, radius = run.observations, own.radius
    grid = MapGrid(run.box_size, own.volume.shape[-1], run.config.symmetry)
    rotations = rotated_grid(FOCUS_STAGE.n_rotations, grid, generator=generator, device=run.device)
    slices = shared_slices(observations, grid, own.volume, rotations, radius)
    offsets, spread = neighbor_offsets(observations, radius, space), shift_spread(start.shift, space)
    poses = PoseGrid(rotations, offsets, spread, space.precision)
    posterior = grid_posterior(observations, run.index, slices, poses, own.shift, n_top=N_LISTED, weight=good)
    equations = MapEquations(sums_of(posterior, rotations, grid, observations))
    sphere = sphere_on(grid, space.mask_radius, run.device)
    volume = resized(equations.solve(sphere, already_set(own.prior)), run.map_size)
    candidates = distinct_candidates(posterior, rotations)
    entropy = posterior.entropy[good >= 0.5]
    return RunState(
        phase="halves",
        starts=Starts(best=start.volume, radius=start.radius, mask_radius=space.mask_radius),
        poses=PoseEstimates(candidates.first, candidates, posterior.max_probability, posterior.entropy),
        qualities=ImageQualities(good=good),
        band=Band(radius, split=radius),
        maps=Maps(references=dict.fromkeys((*HALVES, "joint"), volume)),
        soft=SoftRounds(len(entropy) > 0 and float(entropy.median()) > SOFT_ENTROPY),
    )


def _focused(
    run: RunContext, space: SearchSpace, start: SearchResult, good: Tensor, name: str, generator: torch.Generator
) -> SearchResult:
    """Return the map of a class in the band of its own focus, as classes differ in size; shifts are of all images."""
    mine = (good >= 0.5).nonzero()[:, 0]
    if len(mine) == 0:
        return start
    task = SearchTask(run.observations, run.index[mine], space)
    found = sharpened(
        task,
        _focus_stage(task, start.radius),
        start.of(mine),
        generator=generator,
        progress=lambda what, value: run.tell("focus", f"{name}, {what}, log-likelihood {value:.2f}"),
    )
    shift = start.shift.clone()
    shift[mine] = found.shift
    return replace(found, shift=shift)
