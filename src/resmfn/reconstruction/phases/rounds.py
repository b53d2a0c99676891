"""The later phases: rounds of both halves, each for itself, until they settle; then all images together."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.inverse.normal_equations import MapGrid, NormalEquations, SliceSums
from resmfn.reconstruction.phases.annealing import power_prior
from resmfn.reconstruction.phases.focus import search_again
from resmfn.reconstruction.phases.refinement import (
    Branch,
    RoundPlan,
    RoundReport,
    fsc_prior,
    half_map_fsc,
    insert_images,
    move_poses,
    next_radius,
    resized,
)
from resmfn.reconstruction.poses.candidates import best_of
from resmfn.reconstruction.poses.pose_refinement import PoseModel
from resmfn.reconstruction.run.context import HALVES, FittedNetwork, RunContext, required
from resmfn.rotations import geodesic_degrees

ROUND_STEPS = 40
POSE_STEPS = 3
MOST_ROUNDS, JOINT_ROUNDS = 12, 4
FIXED_ROUNDS, FIXED_JOINT_ROUNDS = 3, 2
RECHECK_ROUND = 2
"""In this round every image is once more compared with views from everywhere; from it on the maps are good enough to
tell noise from what they do not explain yet."""
SETTLED_TURN = 0.3
"""Degrees: a round is at rest if poses move less and the resolution does not grow."""
UNMASKED_STEPS = 6
"""Conjugate gradient steps of the maps without mask: their preconditioner is nearly the inverse."""
ROUNDS_AT_REST = 2
"""Rounds at rest, one after the other, that end the halves: a new shell is learned in the round after it came."""


def halves_step(run: RunContext) -> None:
    """Do one round of both halves, each with its own images, poses and network."""
    state = run.state
    radius = _round_radius(run)
    plan = _plan(run, radius, moves=run.moves_poses, network_steps=ROUND_STEPS)
    grid = run.grid(radius)
    mask = run.mask_on(grid)
    branches = [run.half(name) for name in HALVES]
    reports = [_move(run, branch, name, plan) for name, branch in zip(HALVES, branches, strict=True)]
    if run.moves_poses and state.step >= RECHECK_ROUND:
        _update_noise(run, reports)
        for branch, report in zip(branches, reports, strict=True):
            run.judge(branch, required(report.images))
    fits = _fit_halves(run, branches, grid, mask, plan)
    run.keep_poses(branches)
    state.radius, state.step = radius, state.step + 1
    _tell_round(run, "halves", 0.3 + 0.45 * min(1, state.step / 9), reports, fits)
    if _halves_are_done(run, max(report.pose_change for report in reports)):
        state.phase, state.step = "validate", 0


def validate_step(run: RunContext) -> None:
    """Fit both halves' networks to the end, at the poses that each half found for itself.

    After this the halves' maps do not change: the joint rounds move the poses of all images by a map of all images.
    """
    state = run.state
    plan = _plan(run, state.radius, moves=False, network_steps=run.config.network_steps)
    grid = run.grid(state.radius)
    fits = _fit_halves(run, [run.half(name) for name in HALVES], grid, run.mask_on(grid), plan, are_final=True)
    _tell_round(run, "validate", 0.8, [_UNMOVED], fits)
    state.phase, state.step = "joint", 0


def joint_step(run: RunContext) -> None:
    """Do one round of all images together."""
    state = run.state
    n_rounds = JOINT_ROUNDS if run.moves_poses else FIXED_JOINT_ROUNDS
    is_last = state.step == n_rounds - 1
    # The poses came from the halves: the joint network first has to learn what they know.
    moves = run.moves_poses and state.step > 0
    steps = run.config.network_steps if is_last else 2 * ROUND_STEPS
    plan = _plan(run, state.radius, moves=moves, network_steps=steps)
    grid = run.grid(state.radius)
    everyone = run.branch(run.index)
    report = _move(run, everyone, "joint", plan)
    if report.images is not None:
        run.judge(everyone, report.images)
    mask = run.mask_on(grid)
    sums = insert_images(run.observations, everyone, grid, state.radius)
    fits = run.fit_networks({"joint": partial(_fit, run, "joint", sums, mask, plan, halves_in=2)})
    run.keep_poses([everyone])
    state.step += 1
    _tell_round(run, "joint", 0.8 + 0.19 * state.step / n_rounds, [report], fits)
    if is_last:
        state.phase, state.step = "done", 0


_UNMOVED = RoundReport(0.0, 0.0, float("nan"), torch.ones(1))


def _move(run: RunContext, branch: Branch, name: str, plan: RoundPlan) -> RoundReport:
    """Move the poses of a branch against its own network's map, in place."""
    if plan.iterations == 0:
        return _UNMOVED
    grid = run.grid(plan.radius)
    volume = resized(run.state.references[name], grid.size)
    before = branch.poses
    candidates = _candidates(run, branch, name)
    if candidates is not None:
        model = PoseModel(grid, grid.transform(volume), plan.radius, plan.moves_shift, plan.shift_spread)
        branch.poses = best_of(run.observations, branch.index, *candidates, model, plan.iterations)
    report = move_poses(run.observations, branch, volume, plan)
    turn = geodesic_degrees(branch.poses.rotation, before.rotation)
    return replace(report, pose_change=float(turn.median()))


def _candidates(run: RunContext, branch: Branch, name: str) -> tuple[Tensor, Tensor] | None:
    """Return poses beyond the nearest peak that this round looks at, if any."""
    state = run.state
    if state.phase != "halves" or run.config.poses != "unknown":
        return None
    if state.step == 0:
        rotation, shift = required(state.candidate_rotation), required(state.candidate_shift)
        return rotation[branch.index], shift[branch.index]
    return search_again(run, branch, name) if state.step == RECHECK_ROUND else None


def _fit_halves(
    run: RunContext,
    branches: list[Branch],
    grid: MapGrid,
    mask: Tensor,
    plan: RoundPlan,
    *,
    are_final: bool = False,
) -> list[float]:
    """Fit each half's network to its own images, and compare the two; at last, also solve each half without mask."""
    sums = {
        name: insert_images(run.observations, branch, grid, plan.radius)
        for name, branch in zip(HALVES, branches, strict=True)
    }
    if are_final:
        solve = [partial(_without_mask, run, of_half, plan.radius) for of_half in sums.values()]
        run.state.unmasked = dict(zip(sums, run.observations.team.divide(solve), strict=True))
    fits = run.fit_networks(
        {name: partial(_fit, run, name, of_half, mask, plan, halves_in=1) for name, of_half in sums.items()}
    )
    first, second = (resized(run.state.references[name], grid.size) for name in HALVES)
    run.state.fsc = half_map_fsc(first, second, plan.radius)
    run.state.resolutions.append(run.fsc_resolution(run.state.fsc))
    return fits


def _without_mask(run: RunContext, sums: SliceSums, radius: float, team: Team) -> Tensor:
    """Return the map (N, N, N) that images at their poses give without network and mask, by the halves' FSC."""
    equations = NormalEquations(sums, team=team)
    prior = fsc_prior(equations, required(run.state.fsc), int(radius) + 1, halves_in=1)
    everywhere = torch.ones_like(equations.rhs)
    return resized(equations.solve(everywhere, prior, iterations=UNMASKED_STEPS), run.box_size).cpu()


def _fit(
    run: RunContext, name: str, sums: SliceSums, mask: Tensor, plan: RoundPlan, team: Team, *, halves_in: int
) -> FittedNetwork:
    """Fit a network to the sums of some images."""
    state, equations = run.state, NormalEquations(sums, mask, team)
    n_shells = int(plan.radius) + 1
    if state.fsc is None:
        mean = torch.stack([resized(state.references[half], mask.shape[0]) for half in HALVES]).mean(dim=0)
        prior = equations.limited_prior(power_prior(mean * mask, mask, n_shells))
    else:
        prior = fsc_prior(equations, state.fsc, n_shells, halves_in=halves_in)
    network = run.network(name)
    scale = network.scale_for(plan.radius)
    reached = network.fit(equations, mask, prior, scale=scale, steps=plan.network_steps)
    return FittedNetwork.of(network, equations.grid, scale, mask, reached)


def _plan(run: RunContext, radius: float, *, moves: bool, network_steps: int) -> RoundPlan:
    spread = None
    if run.moves_shift:
        spread = max(float(required(run.state.shift).square().mean().sqrt()), 0.5 * run.pixel_size)
    return RoundPlan(radius, POSE_STEPS if moves else 0, network_steps, run.moves_shift, spread)


def _round_radius(run: RunContext) -> float:
    state, most = run.state, run.observations.radius_max
    if not run.moves_poses:
        return most
    if state.fsc is None:
        return min(1.25 * state.radius + 1, most)
    return max(next_radius(state.fsc, state.radius, most), state.radius)


def _halves_are_done(run: RunContext, turn: float) -> bool:
    """Say whether more rounds would change nothing: poses rest and the resolution does not grow, again and again."""
    state = run.state
    if not run.moves_poses:
        return state.step == FIXED_ROUNDS
    rests = _round_radius(run) < 1.02 * state.radius and turn < SETTLED_TURN
    state.rounds_at_rest = state.rounds_at_rest + 1 if rests else 0
    looked_again = run.config.poses != "unknown" or state.step > RECHECK_ROUND
    return state.step == MOST_ROUNDS or (looked_again and state.rounds_at_rest >= ROUNDS_AT_REST)


def _update_noise(run: RunContext, reports: list[RoundReport]) -> None:
    """Correct the noise spectrum by what the maps leave unexplained.

    Only in shells that the references already hold: elsewhere the molecule itself is still unexplained.
    """
    residual = torch.stack([report.residual_power for report in reports]).mean(dim=0)
    power = run.observations.noise_power.clone()
    n_known = min(len(residual), len(power), int(run.state.radius) + 1)
    known = residual[:n_known]
    factor = torch.where(known > 0, known, torch.ones_like(known)).clamp(0.5, 2)
    power[:n_known] *= factor
    run.observations.set_noise_power(power)
    run.state.noise_power = power


def _tell_round(run: RunContext, stage: str, done: float, reports: list[RoundReport], fits: list[float]) -> None:
    state = run.state
    turn = max(report.pose_change for report in reports)
    values = {
        "round": float(state.step),
        "radius": state.radius,
        "pose_change": turn,
        "shift_change": max(report.shift_change for report in reports),
        "log_likelihood": sum(report.log_likelihood for report in reports) / len(reports),
        "resolution": state.resolutions[-1],
        "network_fit": min(fits),
    }
    name = "last fit of the halves" if stage == "validate" else f"round {state.step}"
    message = f"{name} to {run.resolution(state.radius):.1f} Å, half maps agree to {values['resolution']:.2f} Å"
    if turn > 0:
        message += f", log-likelihood {values['log_likelihood']:.1f}, poses moved {turn:.2f}°"
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    run.tell(stage, message, done, known)
