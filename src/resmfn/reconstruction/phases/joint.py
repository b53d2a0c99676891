"""The last rounds: one map and the poses of all images, and the network fitted to the map."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from resmfn.reconstruction.maps.slice_sums import SliceSums
from resmfn.reconstruction.phases.halves import FIXED_JOINT_ROUNDS, JOINT_ROUNDS
from resmfn.reconstruction.phases.rounds import UNMOVED, fit_network, plan_round, refine_against, solve_map, tell_round
from resmfn.reconstruction.phases.soft import soft_pass, solve_softly
from resmfn.reconstruction.poses.posed_images import insert_images
from resmfn.reconstruction.run.context import HALVES, RunContext, required


def joint_step(run: RunContext) -> bool:
    """Do one round of all images together; return whether it was the last."""
    state = run.state
    n_rounds = JOINT_ROUNDS if run.moves_poses else FIXED_JOINT_ROUNDS
    is_last = state.step == n_rounds - 1
    # The poses come from the half sets: the common map is solved at them first.
    moves = run.moves_poses and state.step > 0
    plan = plan_round(run, state.radius, moves=moves)
    everyone = run.posed(run.index)
    if state.soft and state.step > 0:
        sums, evidence, _ = soft_pass(run, everyone, "joint", state.radius)
        report = replace(UNMOVED, log_likelihood=evidence)
    elif state.soft:
        sums, report = _of_both_halves(run), UNMOVED
    else:
        report = refine_against(run, everyone, "joint", plan)
        if report.images is not None:
            run.judge(everyone, report.images)
        sums = insert_images(run.observations, everyone, run.grid(state.radius), state.radius)
    mask = run.mask_on(sums.grid)
    fits = None
    if is_last:
        fits = run.fit_networks({"joint": partial(fit_network, run, "joint", sums, mask, plan, halves_in=2)})
    elif state.soft:
        solve_softly(run, {"joint": sums}, mask)
    else:
        (volume,) = run.observations.team.divide([partial(solve_map, run, sums, mask, plan, halves_in=2)])
        state.references["joint"] = volume.to(run.device)
    if state.soft and is_last:  # the map is summed over all poses; files want the best one of each image
        report = refine_against(run, everyone, "joint", plan_round(run, state.radius, moves=True))
        run.judge(everyone, required(report.images))
    run.keep_poses([everyone])
    state.step += 1
    tell_round(run, "joint", 0.8 + 0.19 * state.step / n_rounds, [report], fits)
    return is_last


def _of_both_halves(run: RunContext) -> SliceSums:
    """Return the sums of all images, each half's over the poses that its own map gives."""
    first, second = (soft_pass(run, run.half(name), name, run.state.radius)[0] for name in HALVES)
    return first + second
