"""The last phase of all images together: one coarse map, and a few candidates for the pose of each image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.reconstruction.images.image_quality import probability_of_particle
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import (
    FOCUS_STAGE,
    START_STAGES,
    SearchResult,
    SearchStage,
    SearchTask,
    centered,
    run_stage,
    stage_radius,
    sums_of,
)
from resmfn.reconstruction.phases.coarse_maps import Focus, equations_at_poses
from resmfn.reconstruction.phases.copies import ask_early, break_symmetry
from resmfn.reconstruction.phases.soft import SOFT_ENTROPY
from resmfn.reconstruction.poses.candidates import N_LISTED, distinct_candidates
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.rotations import exp_so3

FORGOTTEN = 2.0
"""Radians of phase, at the rim of the mask and at the last radius that halves share, by which poses of the input are
turned about each axis at random (standard deviation). Poses fitted to 400 images of pure noise left both halves an FSC
of 0.16, 0.11 and 0.09 in the shells beyond that radius; turned by so much, of 0.03, 0.07 and 0.05."""


def focus_step(run: RunContext) -> bool:
    """Make one map of all images at the last radius that they share: both halves begin from it."""
    find = _focus_on_search if run.config.poses == "unknown" else _focus_on_input
    equations, prior, mask, radius = find(run)

    volume = resized(equations.solve(mask, prior), run.map_size)
    if run.relaxed_group is not None:
        volume = break_symmetry(run, volume)
    elif len(run.full.group) > 1:
        ask_early(run, volume)
    run.state.references = dict.fromkeys((*HALVES, "joint"), volume)
    state = run.state
    state.radius = state.split_radius = radius
    resolution = run.resolution(radius)
    run.tell("focus", f"common map to {resolution:.1f} Å", 0.3, {"resolution": resolution})
    return True


def _focus_on_search(run: RunContext) -> Focus:
    state, generator = run.state, spawn(run.config.seed, "focus")
    shift = torch.zeros(len(run.index), 2, device=run.device)
    start = SearchResult.from_map(already_set(state.coarse), state.radius, shift)
    task = SearchTask(run.observations, run.index, run.space)

    def steps(stage: SearchStage, before: SearchResult, *, jointly: bool = False) -> SearchResult:
        return run_stage(
            task,
            stage,
            before,
            generator=generator,
            progress=lambda what, value: run.tell("focus", f"{what}, log-likelihood {value:.2f}"),
            n_top=N_LISTED if jointly else 1,
            jointly=jointly,
        )

    if run.moves_shift:
        start = steps(START_STAGES[-1].once(), centered(task, START_STAGES[-1], start, generator=generator))
        result = steps(FOCUS_STAGE.once(), steps(FOCUS_STAGE, start), jointly=True)
    else:
        result = steps(FOCUS_STAGE, start, jointly=True)
    state.candidate_rotation, state.candidate_shift = distinct_candidates(result.posterior, result.rotations)
    state.rotation, state.shift = state.candidate_rotation[:, 0], state.candidate_shift[:, 0]
    state.max_probability = result.posterior.max_probability
    state.pose_entropy = result.posterior.entropy
    state.good = probability_of_particle(result.posterior.log_evidence)
    state.soft = float(result.posterior.entropy.median()) > SOFT_ENTROPY
    grid = MapGrid(run.box_size, result.volume.shape[0], run.space.symmetry)
    equations = MapEquations(sums_of(result.posterior, result.rotations, grid, run.observations))
    mask = sphere_on(grid, run.space.mask_radius, run.device)
    return equations, already_set(result.prior), mask, result.radius


def _focus_on_input(run: RunContext) -> Focus:
    """Make a map at the poses of the input; what they know beyond it, which both halves would share, is forgotten."""
    radius = stage_radius(FOCUS_STAGE, run.observations, run.space)
    equations = equations_at_poses(run, run.index, radius)
    if run.moves_poses:
        run.state.rotation = _turned(run, already_set(run.state.rotation), radius)
    return equations


def _turned(run: RunContext, rotation: Tensor, radius: float) -> Tensor:
    """Return rotations turned at random, as little as finer shells than a radius need to lose them."""
    angle = FORGOTTEN * run.box_size / (2 * math.pi * radius * run.space.mask_radius)
    generator = spawn(run.config.seed, "forget")
    turn = angle * torch.randn(len(run.first_row), 3, generator=generator)
    return exp_so3(turn.to(rotation)[run.image_of]) @ rotation
