"""The last phase of all images together: one coarse map, and a few candidates for the pose of each image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
    sharpened,
    stage_radius,
    sums_of,
)
from resmfn.reconstruction.phases.coarse_maps import CoarseEquations, equations_at_poses
from resmfn.reconstruction.phases.copies import ask_early, break_symmetry
from resmfn.reconstruction.phases.soft import SOFT_ENTROPY
from resmfn.reconstruction.poses.candidates import N_LISTED, distinct_candidates
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.reconstruction.run.records import Band, Maps, PoseEstimates, SoftRounds
from resmfn.rotations import exp_so3

FORGOTTEN = 2.0
"""Radians of phase, at the rim of the mask and at the last radius that halves share, by which poses of the input are
turned about each axis at random (standard deviation). Poses fitted to 400 images of pure noise left both halves an FSC
of 0.16, 0.11 and 0.09 in the shells beyond that radius; turned by so much, of 0.03, 0.07 and 0.05."""


@dataclass(frozen=True)
class Focus:
    """What the last step of all images together has found."""

    coarse: CoarseEquations
    """Of the common map."""
    poses: PoseEstimates
    good: Tensor | None = None
    """(n,): probability of each image to show the molecule; None where poses were given."""
    is_soft: bool = False
    """Whether the images do not determine their poses."""


def focus_step(run: RunContext) -> bool:
    """Make one map of all images at the last radius that they share: both halves begin from it."""
    state, found = run.state, (_focus_on_search if run.config.poses == "unknown" else _focus_on_input)(run)
    state.poses, state.soft = found.poses, SoftRounds(found.is_soft)
    state.qualities = replace(state.qualities, good=found.good)

    volume = resized(found.coarse.solve(), run.map_size)
    if run.relaxed_group is not None:
        volume = break_symmetry(run, volume)
    elif len(run.full.group) > 1:
        ask_early(run, volume)
    state.maps = Maps(references=dict.fromkeys((*HALVES, "joint"), volume))
    state.band = Band(found.coarse.radius, split=found.coarse.radius)
    resolution = run.resolution(state.band.radius)
    run.tell("focus", f"common map to {resolution:.1f} Å", 0.3, {"resolution": resolution})
    return True


def _focus_on_search(run: RunContext) -> Focus:
    coarse, generator = run.state.starts, spawn(run.config.seed, "focus")
    shift = torch.zeros(len(run.index), 2, device=run.device)
    start = SearchResult.from_map(already_set(coarse.best), coarse.radius, shift)
    task = SearchTask(run.observations, run.index, run.space)

    def told(what: str, value: float) -> None:
        run.tell("focus", f"{what}, log-likelihood {value:.2f}")

    def steps(stage: SearchStage, before: SearchResult, *, jointly: bool = False) -> SearchResult:
        n_top = N_LISTED if jointly else 1
        return run_stage(task, stage, before, generator=generator, progress=told, n_top=n_top, jointly=jointly)

    if run.moves_shift:
        start = steps(START_STAGES[-1].once(), centered(task, START_STAGES[-1], start, generator=generator))
    result = sharpened(task, FOCUS_STAGE, start, generator=generator, progress=told, n_top=N_LISTED)
    if run.moves_shift:
        result = steps(FOCUS_STAGE.once(), result, jointly=True)
    posterior, candidates = result.posterior, distinct_candidates(result.posterior, result.rotations)
    grid = MapGrid(run.box_size, result.volume.shape[0], run.space.symmetry)
    equations = MapEquations(sums_of(posterior, result.rotations, grid, run.observations))
    mask = sphere_on(grid, run.space.mask_radius, run.device)
    return Focus(
        CoarseEquations(equations, already_set(result.prior), mask, result.radius),
        PoseEstimates(candidates.first, candidates, posterior.max_probability, posterior.entropy),
        probability_of_particle(posterior.log_evidence),
        float(posterior.entropy.median()) > SOFT_ENTROPY,
    )


def _focus_on_input(run: RunContext) -> Focus:
    """Make a map at the poses of the input; what they know beyond it, which both halves would share, is forgotten."""
    radius = stage_radius(FOCUS_STAGE, run.observations, run.space)
    coarse, poses, given = equations_at_poses(run, run.index, radius), run.state.poses, run.poses()
    if run.moves_poses:
        poses = replace(poses, best=replace(given, rotation=_turned(run, given.rotation, radius)))
    return Focus(coarse, poses)


def _turned(run: RunContext, rotation: Tensor, radius: float) -> Tensor:
    """Return rotations turned at random, as little as finer shells than a radius need to lose them."""
    angle = FORGOTTEN * run.box_size / (2 * math.pi * radius * run.space.mask_radius)
    generator = spawn(run.config.seed, "forget")
    turn = angle * torch.randn(len(run.first_row), 3, generator=generator)
    return exp_so3(turn.to(rotation)[run.image_of]) @ rotation
