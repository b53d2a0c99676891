"""Independent rounds of both half sets until they converge; then their final maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.evaluation import HalfMapResult, half_map_resolution
from resmfn.fourier.grids import radius_grid
from resmfn.fourier.transforms import fftn_centered, ifftn_centered
from resmfn.reconstruction.maps.agreement import farthest_next, half_map_fsc, next_radius
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.maps.priors import fsc_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.phases.copies import judge_group
from resmfn.reconstruction.phases.rounds import (
    RECHECK_ROUND,
    UNMOVED,
    RoundPlan,
    RoundReport,
    plan_round,
    refine_against,
    refine_defocus_against,
    solve_map,
    tell_round,
)
from resmfn.reconstruction.phases.soft import SOFT_ENTROPY, soft_pass, soft_radius, solve_softly
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set

MOST_ROUNDS, JOINT_ROUNDS = 12, 4
"""Most rounds of the halves, and of all images together; poses that rest end them earlier. No comparison recorded."""


FIXED_ROUNDS, FIXED_JOINT_ROUNDS = 3, 2  # of given poses; no comparison recorded


SETTLED_ROTATION = 0.3
"""Degrees: a round has converged if poses change less in the median and the resolution does not improve. Images whose
next step would gain next to nothing do not move at all. No comparison recorded."""


DEFOCUS_ROUNDS = 3
"""More rounds of given poses where defocus is refined: it learns from the map, and the map from it."""


SETTLED_DEFOCUS = 10.0
"""Å: median change of the defocus in a round, below which it has converged: 2 degrees of phase at 4 Å and 300 kV."""


UNMASKED_STEPS = 6
"""Conjugate gradient steps of the maps without mask: their preconditioner is nearly the inverse."""


ROUNDS_AT_REST = 2
"""Consecutive converged rounds that end this phase: a new shell takes effect in the round after.
No comparison recorded."""


@dataclass
class HalvesRound:
    """A round of both halves whose poses have moved, and whose maps are not solved yet."""

    plan: RoundPlan
    halves: dict[str, PosedImages]
    reports: list[RoundReport]
    soft_sums: dict[str, SliceSums] | None = None
    """Of images summed over all their poses; None where each is inserted at one."""
    entropy: float = 0.0
    """Of soft rounds: the larger of the halves' median entropies of the posterior, nat."""


def halves_step(run: RunContext) -> bool:
    """Do one round of both halves, each with its own images, poses and map; say whether it was the last."""
    run.hold(round_radius(run))
    found = begin_round(run)
    if run.moves_poses and run.state.step >= RECHECK_ROUND:
        if found.soft_sums is None:
            update_noise(run, mean_residual(found.reports, images_of_groups(run)))
        for posed, report in zip(found.halves.values(), found.reports, strict=True):
            run.judge(posed, already_set(report.images))
    return end_round(run, found)


def share_done(n_rounds: int) -> float:
    """Return the share of a run that is done after some rounds of the halves."""
    return 0.3 + 0.45 * min(1, n_rounds / 9)


def begin_round(run: RunContext) -> HalvesRound:
    """Move the poses of both halves, each against its own map."""
    radius = round_radius(run)
    if run.state.soft.are_on:
        return _begin_softly(run, plan_round(run, min(radius, soft_radius(run)), moves=True))
    plan = plan_round(run, radius, moves=run.moves_poses)
    halves = {name: run.half(name) for name in HALVES}
    refine_defocus_against(run, halves, radius)
    reports = [refine_against(run, posed, name, plan) for name, posed in halves.items()]
    return HalvesRound(plan, halves, reports)


def end_round(run: RunContext, found: HalvesRound) -> bool:
    """Compare and solve both halves' maps; say whether more rounds would change nothing."""
    state, radius = run.state, found.plan.radius
    before, radius_before = state.agreement.last_resolution, state.band.radius
    _solve(run, found)
    run.keep_poses(list(found.halves.values()))
    state.band, state.step = replace(state.band, radius=radius), state.step + 1
    tell_round(run, "halves", share_done(state.step), found.reports)
    if not state.soft.are_on:
        return _halves_are_done(run, max(report.pose_change for report in found.reports))
    grew = radius > 1.02 * radius_before or state.agreement.last_resolution < 0.98 * before
    state.agreement = state.agreement.resting(not grew)
    rests = state.agreement.rounds_at_rest >= ROUNDS_AT_REST or state.step >= MOST_ROUNDS
    if rests and found.entropy < SOFT_ENTROPY:  # the images tell their poses now
        state.soft, state.step = replace(state.soft, are_on=False), RECHECK_ROUND + 1
        state.agreement = state.agreement.resting(False)
        return False
    return rests


def _begin_softly(run: RunContext, plan: RoundPlan) -> HalvesRound:
    """Sum images over all their poses, and find the best pose of each."""
    halves = {name: run.half(name) for name in HALVES}
    passes = {name: soft_pass(run, posed, name, plan.radius) for name, posed in halves.items()}
    reports = [refine_against(run, posed, name, plan) for name, posed in halves.items()]
    sums = {name: of_half for name, (of_half, _, _) in passes.items()}
    return HalvesRound(plan, halves, reports, sums, max(entropy for _, _, entropy in passes.values()))


def _solve(run: RunContext, found: HalvesRound) -> None:
    """Compare what both halves say without a mask, and solve the map of each within the mask by what they agree on.

    Summed over many poses, both halves are blurred alike, and agree better than what they show; at single poses their
    noise is what it is. So images at their best poses are compared in soft rounds too; the maps are of the soft sums.
    """
    plan, grid = found.plan, run.grid(found.plan.radius)
    # Of each half its equations are kept, not its sums, which are twice as large.
    halves = {
        name: MapEquations(insert_images(run.observations, posed, grid, plan.radius))
        for name, posed in found.halves.items()
    }
    mask = _compare_halves(run, plan, halves)
    if found.soft_sums is not None:
        solve_softly(run, found.soft_sums, mask)
        return
    tasks = [partial(_within_mask, run, of_half, mask, plan) for of_half in halves.values()]
    solved = zip(HALVES, run.observations.team.divide(tasks), strict=True)
    run.state.maps = run.state.maps.with_references({name: volume.to(run.device) for name, volume in solved})


def validate_step(run: RunContext) -> bool:
    """Solve both halves once more, at the poses that each half found for itself.

    After this the halves' maps do not change: the joint rounds move the poses of all images by a map of all images.
    So what is told from here on is the verdict.
    """
    radius = run.state.band.radius
    if run.state.soft.are_on:
        found = _begin_softly(run, plan_round(run, radius, moves=True))
        run.keep_poses(list(found.halves.values()))
    else:
        plan = plan_round(run, radius, moves=False)
        found = HalvesRound(plan, {name: run.half(name) for name in HALVES}, [])
    _solve(run, found)
    run.state.agreement = run.state.agreement.corrected(agreement_of_half_maps(run, run.mask_on(run.full)).resolution)
    tell_round(run, "validate", 0.8, [UNMOVED])
    judge_group(run)
    return True


def agreement_of_half_maps(run: RunContext, mask: Tensor) -> HalfMapResult:
    """Compare the half maps as they stand, within the mask (B, B, B) of their own shape.

    Rounds compare within the mask of the maps before. Where a curve is flat, as of a few hundred weak images, two
    masks that differ a little read resolutions a third apart: 7.4 and 9.7 Å.
    """
    first, second = (run.state.maps.unmasked[name].to(run.device) for name in HALVES)
    generator = spawn(run.config.seed, "phases")
    found = half_map_resolution(first, second, mask, run.map_pixel_size, generator=generator)
    if run.boxes.is_limited:  # beyond the last frequency used there is only what the mask smears
        found = replace(found, resolution=max(found.resolution, run.resolution(run.boxes.radius)))
    return found


def _compare_halves(run: RunContext, plan: RoundPlan, halves: dict[str, MapEquations]) -> Tensor:
    """Solve both halves without a mask and note how far they agree within the mask, which is returned."""
    state, grid = run.state, run.grid(plan.radius)
    mask = run.mask_on(grid)
    solve = [partial(_without_mask, of_half, state.agreement.fsc, plan.radius) for of_half in halves.values()]
    first, second = run.observations.team.divide(solve)
    generator = spawn(run.config.seed, "phases")
    fsc = half_map_fsc(first, second, mask, plan.radius, generator=generator).to(run.device)
    state.agreement = state.agreement.after(fsc, run.fsc_resolution(fsc))
    unmasked = {name: resized(volume, run.map_size) for name, volume in zip(HALVES, (first, second), strict=True)}
    state.maps = replace(state.maps, unmasked=unmasked)
    return mask


def _within_mask(run: RunContext, of_half: MapEquations, mask: Tensor, plan: RoundPlan, team: Team) -> Tensor:
    return solve_map(run, of_half.acting_on(mask, team), mask, plan, halves_in=1)


def _without_mask(of_half: MapEquations, fsc: Tensor | None, radius: float, team: Team) -> Tensor:
    """Return the map (M, M, M) that images at their poses give without mask, by the FSC of the round before, if any."""
    equations, n_shells = of_half.shared_by(team), int(radius) + 1
    prior = equations.shell_weights()[:n_shells] if fsc is None else fsc_prior(equations, fsc, n_shells, halves_in=1)
    everywhere = torch.ones_like(equations.rhs)
    volume = equations.solve(everywhere, prior, iterations=UNMASKED_STEPS).cpu()
    # Beyond the radius there are no data, only what gridding leaves: no curve may be made of it. Curves are of shells.
    return ifftn_centered(fftn_centered(volume) * (radius_grid(len(volume), 3).round() <= int(radius))).real


def round_radius(run: RunContext) -> float:
    """Return how far the next round goes, Fourier pixels: :func:`next_radius`, at most as far as the run may."""
    band, fsc, most = run.state.band, run.state.agreement.fsc, float(run.boxes.radius)
    if not run.moves_poses:
        return most
    if fsc is None:
        return min(farthest_next(band.radius), most)
    return max(next_radius(fsc, band.radius, most), band.split)


def _halves_are_done(run: RunContext, angle: float) -> bool:
    """Return whether the rounds have converged: poses and resolution did not change in consecutive rounds."""
    state = run.state
    if not run.moves_poses:
        return state.step == FIXED_ROUNDS + (DEFOCUS_ROUNDS if run.config.refine_defocus else 0)
    rests = round_radius(run) < 1.02 * state.band.radius and angle < SETTLED_ROTATION
    if run.config.refine_defocus:
        rests = rests and state.defocus.change < SETTLED_DEFOCUS
    state.agreement = state.agreement.resting(rests)
    looked_again = run.config.poses != "unknown" or state.step > RECHECK_ROUND
    return state.step == MOST_ROUNDS or (looked_again and state.agreement.rounds_at_rest >= ROUNDS_AT_REST)


def images_of_groups(run: RunContext) -> Tensor:
    """Return how many images of each optics group the halves have (2, groups)."""
    group, n_groups = run.observations.noise_group, run.observations.n_groups
    return torch.stack([torch.bincount(group[index], minlength=n_groups) for index in run.half_index]).float()


def mean_residual(reports: list[RoundReport], n_images: Tensor) -> Tensor:
    """Return the mean residual power (groups, shells) of the halves, by their images (2, groups); 0 of none."""
    return mean_by_images(torch.stack([report.residual_power for report in reports]), n_images)


def mean_by_images(powers: Tensor, n_images: Tensor) -> Tensor:
    """Return the mean residual power (groups, shells) of halves, or classes, (K, groups, shells) by images (K, groups).

    Each group counts by itself: where one has none of its images it has no residual (0), which says nothing.
    """
    known = n_images[:, :, None] * (powers > 0)
    return (known / known.sum(dim=0).clamp_min(1e-6) * powers).sum(dim=0)


def update_noise(run: RunContext, residual: Tensor) -> None:
    """Correct the noise spectrum by what the maps leave unexplained, (groups, shells).

    Only in shells that the references already hold: elsewhere the molecule itself is still unexplained.
    """
    power = run.observations.noise_power.clone()
    n_known = min(residual.shape[1], power.shape[1], int(run.state.band.radius) + 1)
    known = residual[:, :n_known]
    factor = torch.where(known > 0, known, torch.ones_like(known)).clamp(0.5, 2)
    power[:, :n_known] *= factor
    run.observations.set_noise_power(power)
    run.state.qualities = replace(run.state.qualities, noise_power=power)
