"""The last rounds: one map and the poses of all images, and the network fitted to the map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.phases.halves import (
    FIXED_JOINT_ROUNDS,
    JOINT_ROUNDS,
    SETTLED_DEFOCUS,
    SETTLED_ROTATION,
)
from resmfn.reconstruction.phases.rounds import (
    UNMOVED,
    RoundPlan,
    RoundReport,
    fit_network,
    plan_round,
    refine_against,
    refine_defocus_against,
    solve_map,
    tell_round,
)
from resmfn.reconstruction.phases.soft import soft_pass, solve_softly
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.reconstruction.run.context import HALVES, RunContext


@dataclass
class JointRound:
    """A round of all images whose poses have moved, and whose map is not solved yet."""

    plan: RoundPlan
    everyone: PosedImages
    report: RoundReport
    soft_sums: SliceSums | None = None
    """Of images summed over all their poses; None where each is inserted at one."""


def joint_step(run: RunContext) -> bool:
    """Do one round of all images together; say whether it was the last."""
    found = begin_joint(run)
    if found.report.images is not None:
        run.judge(found.everyone, found.report.images)
    is_last = ends_joint_rounds(run, found)
    end_joint(run, found, is_last=is_last)
    return is_last


def begin_joint(run: RunContext) -> JointRound:
    """Move the poses of all images against the map of all."""
    state = run.state
    # The poses came from the halves: the map of all first has to learn what they know.
    moves = run.moves_poses and state.step > 0
    plan = plan_round(run, state.band.radius, moves=moves)
    everyone = run.posed(run.index)
    refine_defocus_against(run, {"joint": everyone}, plan.radius)
    if not state.soft.are_on:
        return JointRound(plan, everyone, refine_against(run, everyone, "joint", plan))
    if state.step == 0:
        return JointRound(plan, everyone, UNMOVED, _of_both_halves(run))
    sums, evidence, _ = soft_pass(run, everyone, "joint", state.band.radius)
    report = replace(UNMOVED, log_likelihood=evidence)
    if has_all_rounds(run):  # the map is summed over all poses; files want the best one of each image
        report = replace(refine_against(run, everyone, "joint", plan), log_likelihood=evidence)
    return JointRound(plan, everyone, report, sums)


def ends_joint_rounds(run: RunContext, found: JointRound) -> bool:
    """Say whether a round whose poses have moved is the last: they have all their rounds, or have settled."""
    settled = found.soft_sums is None and found.plan.iterations > 0 and found.report.pose_change < SETTLED_ROTATION
    if run.config.refine_defocus:
        settled = settled and run.state.defocus.change < SETTLED_DEFOCUS
    return settled or has_all_rounds(run)


def end_joint(run: RunContext, found: JointRound, *, is_last: bool, n_shared: int = 0) -> None:
    """Solve the map of all images; in the last round as a network, whose ``n_shared`` coarse scales are fitted."""
    state, plan, sums = run.state, found.plan, found.soft_sums
    if sums is None:
        sums = insert_images(run.observations, found.everyone, run.grid(plan.radius), plan.radius)
    mask = run.mask_on(sums.grid)
    fits = None
    if is_last:
        fit = partial(fit_network, run, "joint", sums, mask, plan, halves_in=2, n_shared=n_shared)
        fits = run.fit_networks({"joint": fit})
    elif state.soft.are_on:
        solve_softly(run, {"joint": sums}, mask)
    else:
        (volume,) = run.observations.team.divide(
            [lambda team: solve_map(run, MapEquations(sums, mask, team), mask, plan, halves_in=2)]
        )
        state.maps = state.maps.with_references({"joint": volume.to(run.device)})
    run.keep_poses([found.everyone])
    state.step += 1
    tell_round(run, "joint", 0.8 + 0.19 * (1.0 if is_last else state.step / _n_rounds(run)), [found.report], fits)


def has_all_rounds(run: RunContext) -> bool:
    """Say whether the round that is being done is the last that there may be."""
    return run.state.step == _n_rounds(run) - 1


def _n_rounds(run: RunContext) -> int:
    return JOINT_ROUNDS if run.moves_poses else FIXED_JOINT_ROUNDS


def _of_both_halves(run: RunContext) -> SliceSums:
    """Return the sums of all images, each half's over the poses that its own map gives."""
    first, second = (soft_pass(run, run.half(name), name, run.state.band.radius)[0] for name in HALVES)
    return first + second
