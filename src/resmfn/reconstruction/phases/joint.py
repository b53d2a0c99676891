"""The last rounds: one network, and the poses, of all images."""

from __future__ import annotations

from functools import partial

from resmfn.reconstruction.phases.halves import FIXED_JOINT_ROUNDS, JOINT_ROUNDS
from resmfn.reconstruction.phases.rounds import fit_network, plan_round, refine_against, solve_map, tell_round
from resmfn.reconstruction.poses.posed_images import insert_images
from resmfn.reconstruction.run.context import RunContext


def joint_step(run: RunContext) -> bool:
    """Do one round of all images together; say whether it was the last."""
    state = run.state
    n_rounds = JOINT_ROUNDS if run.moves_poses else FIXED_JOINT_ROUNDS
    is_last = state.step == n_rounds - 1
    # The poses came from the halves: the map of all first has to learn what they know.
    moves = run.moves_poses and state.step > 0
    plan = plan_round(run, state.radius, moves=moves)
    grid = run.grid(state.radius)
    everyone = run.posed(run.index)
    report = refine_against(run, everyone, "joint", plan)
    if report.images is not None:
        run.judge(everyone, report.images)
    mask = run.mask_on(grid)
    sums = insert_images(run.observations, everyone, grid, state.radius)
    fits = None
    if is_last:
        fits = run.fit_networks({"joint": partial(fit_network, run, "joint", sums, mask, plan, halves_in=2)})
    else:
        (volume,) = run.observations.team.divide([partial(solve_map, run, sums, mask, plan, halves_in=2)])
        state.references["joint"] = volume.to(run.device)
    run.keep_poses([everyone])
    state.step += 1
    tell_round(run, "joint", 0.8 + 0.19 * state.step / n_rounds, [report], fits)
    return is_last
