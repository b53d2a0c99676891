"""From coarse maps of a part of the images to the poses of all images in every class."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.reconstruction.classes.branch_step import left_out_and_rest, stored_branches
from resmfn.reconstruction.classes.competition import Branches, competition, extent_of_map, members
from resmfn.reconstruction.classes.mixture import Mixture, ask, run_mixture
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import (
    FOCUS_STAGE,
    START_STAGES,
    SearchStage,
    SearchTask,
    cycles_of_radius,
    rotated_grid,
    shared_slices,
    sums_of,
)
from resmfn.reconstruction.phases.control import N_HELD_OUT, NoiseControl, held_out_control
from resmfn.reconstruction.phases.soft import SOFT_ENTROPY
from resmfn.reconstruction.poses.candidates import N_LISTED, distinct_candidates
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.search_space import neighbor_offsets, shift_spread
from resmfn.reconstruction.run.context import HALVES, RunContext
from resmfn.reconstruction.run.state import RunState

LEAST_ASKED = 10
"""Images left out of a class that say whether it is structure; fewer cannot: such a class is of 50 images or less."""


def class_focus_step(run: RunContext) -> bool:
    """Sharpen the maps of all classes with all images; give each class the state that a run has at this point."""
    branches, generator = _by_size(stored_branches(run)), spawn(run.config.seed, "class focus")
    task = SearchTask(run.observations, run.index, run.space)

    def told(what: str, value: float) -> None:
        run.tell("focus", f"{what}, log-likelihood {value:.2f}")

    maps = ask(task, START_STAGES[0], branches.maps, generator=generator)
    coarse = competition(task, maps, maps.radius).once()
    maps = run_mixture(task, coarse, maps, generator=generator, progress=told, with_rivals=True)
    maps = run_mixture(task, _focus_stage(task, maps), maps, generator=generator, progress=told, with_rivals=True)
    good = maps.good[:, None] * maps.posterior
    run.state.classes = [
        _state_of_class(run, maps, number, good[:, number], generator) for number in range(len(maps.share))
    ]
    for number, state in enumerate(run.state.classes):
        state.control = _control(run, branches, number)
    run.state.control = max((state.control for state in run.state.classes), key=lambda control: control["gain"])
    run.state.radius = run.state.split_radius = maps.radius
    run.tell("focus", f"{len(maps.share)} classes to {run.resolution(maps.radius):.1f} Å", 0.3)
    return True


def _focus_stage(task: SearchTask, maps: Mixture) -> SearchStage:
    """Return the focus of a single map, its cycles over the diameter of the largest; no coarser than the maps are."""
    extent = max(extent_of_map(volume, task) for volume in maps.volumes)
    diameters = task.space.mask_radius / extent
    in_use = cycles_of_radius(maps.radius, task.observations, task.space.mask_radius)
    return replace(FOCUS_STAGE, cycles=max(FOCUS_STAGE.cycles * diameters, in_use))


def _by_size(branches: Branches) -> Branches:
    """Return the classes with the largest first."""
    order = branches.maps.share.argsort(descending=True).tolist()
    return branches.only(order)


def _control(run: RunContext, branches: Branches, number: int) -> dict[str, float | bool]:
    """Ask the images left out that are likeliest of a class whether its map is more than noise."""
    index = left_out_and_rest(run).left_out.index[members(branches.asked, number)][:N_HELD_OUT]
    if len(index) < LEAST_ASKED:
        return NoiseControl(len(index), 0.0, 0.0, 0.0, 0.0).as_dict()
    return held_out_control(run, branches.maps.volumes[number], index).as_dict()


def _state_of_class(run: RunContext, maps: Mixture, number: int, good: Tensor, generator: torch.Generator) -> RunState:
    """Score all images against one class; return what a run of this class alone would know."""
    observations, radius = run.observations, maps.radius
    grid = MapGrid(run.box_size, maps.volumes.shape[-1], run.config.symmetry)
    rotations = rotated_grid(FOCUS_STAGE.n_rotations, grid, generator=generator, device=run.device)
    slices = shared_slices(observations, grid, maps.volumes[number], rotations, radius)
    offsets, spread = neighbor_offsets(observations, radius, run.space), shift_spread(maps.shift, run.space)
    poses = PoseGrid(rotations, offsets, spread, run.space.precision)
    posterior = grid_posterior(observations, run.index, slices, poses, maps.shift, n_top=N_LISTED, weight=good)
    equations = MapEquations(sums_of(posterior, rotations, grid, observations))
    volume = resized(
        equations.solve(sphere_on(grid, run.space.mask_radius, run.device), maps.priors[number]), run.map_size
    )
    rotation, shift = distinct_candidates(posterior, rotations)
    # Poses of a small class are less fine than the grid: its images spread over more points, and know their pose alike.
    extent = extent_of_map(maps.volumes[number], SearchTask(observations, run.index, run.space))
    cycles = min(FOCUS_STAGE.cycles, cycles_of_radius(radius, observations, extent))
    entropy = posterior.entropy[good >= 0.5] - 3 * math.log(FOCUS_STAGE.cycles / cycles)
    return RunState(
        phase="halves",
        radius=radius,
        split_radius=radius,
        rotation=rotation[:, 0],
        shift=shift[:, 0],
        candidate_rotation=rotation,
        candidate_shift=shift,
        max_probability=posterior.max_probability,
        pose_entropy=posterior.entropy,
        good=good,
        soft=len(entropy) > 0 and float(entropy.median()) > SOFT_ENTROPY,
        references=dict.fromkeys((*HALVES, "joint"), volume),
        coarse=maps.volumes[number],
    )
