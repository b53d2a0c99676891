"""Independent rounds of both half sets until they converge; then their final maps."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.fourier.grids import radius_grid
from resmfn.fourier.transforms import fftn_centered, ifftn_centered
from resmfn.reconstruction.maps.agreement import half_map_fsc, next_radius
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.maps.priors import fsc_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.phases.rounds import (
    RECHECK_ROUND,
    UNMOVED,
    RoundPlan,
    RoundReport,
    plan_round,
    refine_against,
    solve_map,
    tell_round,
)
from resmfn.reconstruction.phases.soft import SOFT_ENTROPY, soft_pass, soft_radius, solve_softly
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.reconstruction.run.context import HALVES, RunContext, required

MOST_ROUNDS, JOINT_ROUNDS = 12, 4  # no comparison recorded


FIXED_ROUNDS, FIXED_JOINT_ROUNDS = 3, 2  # of given poses; no comparison recorded


SETTLED_TURN = 0.3
"""Degrees: a round has converged if poses change less and the resolution does not improve. No comparison recorded."""


UNMASKED_STEPS = 6
"""Conjugate gradient steps of the maps without mask: their preconditioner is nearly the inverse."""


ROUNDS_AT_REST = 2
"""Consecutive converged rounds that end this phase: a new shell takes effect in the round after.
No comparison recorded."""


def halves_step(run: RunContext) -> bool:
    """Do one round of both half sets, each with its own images, poses and map; return whether it was the last."""
    return _soft_round(run) if run.state.soft else _round(run)


def _round(run: RunContext) -> bool:
    """Move poses to the nearest peaks of their likelihood, and insert images there."""
    state = run.state
    radius = _round_radius(run)
    plan = plan_round(run, radius, moves=run.moves_poses)
    halves = [run.half(name) for name in HALVES]
    reports = [refine_against(run, posed, name, plan) for name, posed in zip(HALVES, halves, strict=True)]
    if run.moves_poses and state.step >= RECHECK_ROUND:
        _update_noise(run, reports)
        for posed, report in zip(halves, reports, strict=True):
            run.judge(posed, required(report.images))
    _solve_halves(run, plan, _inserted(run, halves, plan))
    run.keep_poses(halves)
    state.radius, state.step = radius, state.step + 1
    tell_round(run, "halves", 0.3 + 0.45 * min(1, state.step / 9), reports)
    return _halves_are_done(run, max(report.pose_change for report in reports))


def _soft_round(run: RunContext) -> bool:
    """Sum images over all their poses; continue with single poses once the images determine them."""
    state, radius = run.state, min(_round_radius(run), soft_radius(run))
    plan = plan_round(run, radius, moves=True)
    before = state.resolutions[-1] if state.resolutions else math.inf
    reports, entropy = _solve_softly(run, plan)
    grew = radius > 1.02 * state.radius or state.resolutions[-1] < 0.98 * before
    state.rounds_at_rest = 0 if grew else state.rounds_at_rest + 1
    state.radius, state.step = radius, state.step + 1
    tell_round(run, "halves", 0.3 + 0.45 * min(1, state.step / 9), reports)
    rests = state.rounds_at_rest >= ROUNDS_AT_REST or state.step >= MOST_ROUNDS
    if rests and entropy < SOFT_ENTROPY:
        state.soft, state.step, state.rounds_at_rest = False, RECHECK_ROUND + 1, 0
        return False
    return rests


def _solve_softly(run: RunContext, plan: RoundPlan) -> tuple[list[RoundReport], float]:
    """Solve both halves' maps from images over all their poses, and compare maps of the images at their best pose.

    Summed over many poses, both halves are blurred alike, and agree better than what they show; at single poses their
    noise is what it is.

    Returns
    -------
    tuple
        How the best poses moved, and the larger of the halves' median entropies of the posterior, nat.
    """
    halves = {name: run.half(name) for name in HALVES}
    found = {name: soft_pass(run, posed, name, plan.radius) for name, posed in halves.items()}
    reports = [refine_against(run, posed, name, plan) for name, posed in halves.items()]
    if run.state.step >= RECHECK_ROUND:
        for posed, report in zip(halves.values(), reports, strict=True):
            run.judge(posed, required(report.images))
    run.keep_poses(list(halves.values()))
    mask = _compare_halves(run, plan, _inserted(run, list(halves.values()), plan))
    solve_softly(run, {name: sums for name, (sums, _, _) in found.items()}, mask)
    return reports, max(entropy for _, _, entropy in found.values())


def validate_step(run: RunContext) -> bool:
    """Solve both halves once more, at the poses that each half found for itself.

    After this the halves' maps do not change: the joint rounds move the poses of all images by a map of all images.
    """
    if run.state.soft:
        _solve_softly(run, plan_round(run, run.state.radius, moves=True))
    else:
        plan = plan_round(run, run.state.radius, moves=False)
        _solve_halves(run, plan, _inserted(run, [run.half(name) for name in HALVES], plan))
    tell_round(run, "validate", 0.8, [UNMOVED])
    return True


def _inserted(run: RunContext, halves: list[PosedImages], plan: RoundPlan) -> dict[str, SliceSums]:
    grid = run.grid(plan.radius)
    return {
        name: insert_images(run.observations, posed, grid, plan.radius)
        for name, posed in zip(HALVES, halves, strict=True)
    }


def _solve_halves(run: RunContext, plan: RoundPlan, sums: dict[str, SliceSums]) -> None:
    """Compare both half maps without mask, and solve each within the mask with the FSC as prior."""
    mask = _compare_halves(run, plan, sums)
    tasks = [partial(solve_map, run, of_half, mask, plan, halves_in=1) for of_half in sums.values()]
    for name, volume in zip(HALVES, run.observations.team.divide(tasks), strict=True):
        run.state.references[name] = volume.to(run.device)


def _compare_halves(run: RunContext, plan: RoundPlan, sums: dict[str, SliceSums]) -> Tensor:
    """Solve both halves without a mask and note how far they agree within the mask, which is returned."""
    state, grid = run.state, run.grid(plan.radius)
    mask = run.mask_on(grid)
    solve = [partial(_without_mask, run, of_half, plan.radius) for of_half in sums.values()]
    first, second = run.observations.team.divide(solve)
    generator = spawn(run.config.seed, "phases")
    state.fsc = half_map_fsc(first, second, mask, plan.radius, generator=generator).to(run.device)
    state.unmasked = {name: resized(volume, run.box_size) for name, volume in zip(HALVES, (first, second), strict=True)}
    state.resolutions.append(run.fsc_resolution(state.fsc))
    return mask


def _without_mask(run: RunContext, sums: SliceSums, radius: float, team: Team) -> Tensor:
    """Return the map (M, M, M) that images at their poses give without mask, by the FSC of the round before."""
    equations, n_shells = MapEquations(sums, crew=team), int(radius) + 1
    if run.state.fsc is None:
        prior = equations.shell_weights()[:n_shells]
    else:
        prior = fsc_prior(equations, run.state.fsc, n_shells, halves_in=1)
    everywhere = torch.ones_like(equations.rhs)
    volume = equations.solve(everywhere, prior, iterations=UNMASKED_STEPS).cpu()
    # Beyond the radius there are no data, only what gridding leaves: no curve may be made of it.
    return ifftn_centered(fftn_centered(volume) * (radius_grid(len(volume), 3) <= radius + 0.5)).real


def _round_radius(run: RunContext) -> float:
    state, most = run.state, run.observations.radius_max
    if not run.moves_poses:
        return most
    if state.fsc is None:
        return min(1.25 * state.radius + 1, most)
    return max(next_radius(state.fsc, state.radius, most), state.split_radius)


def _halves_are_done(run: RunContext, turn: float) -> bool:
    """Return whether the rounds have converged: poses and resolution did not change in consecutive rounds."""
    state = run.state
    if not run.moves_poses:
        return state.step == FIXED_ROUNDS
    rests = _round_radius(run) < 1.02 * state.radius and turn < SETTLED_TURN
    state.rounds_at_rest = state.rounds_at_rest + 1 if rests else 0
    looked_again = run.config.poses != "unknown" or state.step > RECHECK_ROUND
    return state.step == MOST_ROUNDS or (looked_again and state.rounds_at_rest >= ROUNDS_AT_REST)


def _update_noise(run: RunContext, reports: list[RoundReport]) -> None:
    """Correct the noise spectrum by the residuals of the maps.

    Only in shells that the references already hold: elsewhere the molecule itself is still unexplained.
    """
    residual = torch.stack([report.residual_power for report in reports]).mean(dim=0)
    power = run.observations.noise_power.clone()
    n_known = min(residual.shape[1], power.shape[1], int(run.state.radius) + 1)
    known = residual[:, :n_known]
    factor = torch.where(known > 0, known, torch.ones_like(known)).clamp(0.5, 2)
    power[:, :n_known] *= factor
    run.observations.set_noise_power(power)
    run.state.noise_power = power
