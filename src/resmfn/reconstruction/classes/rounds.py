"""Rounds of several classes: each is refined as a run of its own; between moving and solving, all share the images."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from resmfn.reconstruction.classes.membership import candidates_of_class, class_probabilities, judge_classes
from resmfn.reconstruction.maps.network_map import NetworkMap
from resmfn.reconstruction.phases.halves import (
    MOST_ROUNDS,
    HalvesRound,
    begin_round,
    end_round,
    images_of_groups,
    mean_by_images,
    mean_residual,
    round_radius,
    share_done,
    update_noise,
    validate_step,
)
from resmfn.reconstruction.phases.joint import JointRound, begin_joint, end_joint, ends_joint_rounds, has_all_rounds
from resmfn.reconstruction.phases.rounds import RECHECK_ROUND, fit_scales
from resmfn.reconstruction.poses.posed_images import insert_images
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set

SETTLED_CLASSES = 0.01
"""Share of the images that may still change class when joint rounds end early. No comparison recorded."""


def class_halves_step(run: RunContext) -> bool:
    """Do one round of both halves of every class; say whether it was the last."""
    state = run.state
    run.hold(max(round_radius(run.of_class(number)) for number in range(len(state.classes))))
    anew = state.step in (0, RECHECK_ROUND)  # poses are searched further away then
    runs, before = _runs(run, "halves", anew=anew), class_probabilities(run).argmax(dim=0)
    rounds = [begin_round(of_class) for of_class in runs]
    if state.step >= RECHECK_ROUND:
        _update_noise(run, runs, rounds)
    for number, name in enumerate(HALVES):
        found = [(its.halves[name], already_set(its.reports[number].images)) for its in rounds]
        judge_classes(run, runs, run.half_index[number], found)
    at_rest = [end_round(*pair) for pair in zip(runs, rounds, strict=True)]
    state.step += 1
    _tell(run, before)
    return all(at_rest) or state.step == MOST_ROUNDS


def class_validate_step(run: RunContext) -> bool:
    """Solve both halves of every class once more; no map of the halves changes after this."""
    for of_class in _runs(run, "validate"):
        validate_step(of_class)
    return True


def class_joint_step(run: RunContext) -> bool:
    """Do one round of all images of every class; say whether it was the last."""
    runs, before = _runs(run, "joint"), class_probabilities(run).argmax(dim=0)
    rounds = [begin_joint(of_class) for of_class in runs]
    if all(its.report.images is not None for its in rounds):
        found = [(its.everyone, already_set(its.report.images)) for its in rounds]
        judge_classes(run, runs, run.index, found)
    moved = float((class_probabilities(run).argmax(dim=0) != before).float().mean())
    at_rest = moved < SETTLED_CLASSES and all(ends_joint_rounds(*pair) for pair in zip(runs, rounds, strict=True))
    is_last = at_rest or has_all_rounds(runs[0])
    n_shared = 0
    if run.config.local_states and is_last:
        n_shared = _share_coarse_scales(runs, rounds)
    for pair in zip(runs, rounds, strict=True):
        end_joint(*pair, is_last=is_last, n_shared=n_shared)
    run.state.step += 1
    return is_last


def _share_coarse_scales(runs: list[RunContext], rounds: list[JointRound]) -> int:
    """Fit the coarse scales of one network to the images of all states, and return how many they are.

    The networks of the states begin with these, so it holds the finest of their bands.
    """
    run, radii = runs[0], [its.plan.radius for its in rounds]
    network = run.network("joint", max(radii))
    coarse = range(1, min(network.scale_for(radius) for radius in radii))
    if coarse:
        _fit_coarse_scales(run, network, coarse, rounds)
    for of_class in runs:
        maps = of_class.state.maps
        of_class.state.maps = replace(maps, networks={**maps.networks, "joint": network.state()})
    return len(coarse)


def _fit_coarse_scales(run: RunContext, network: NetworkMap, coarse: range, rounds: list[JointRound]) -> None:
    radius = network.network.half_width(coarse[-1])
    grid = run.grid(radius)
    sums = insert_images(run.observations, rounds[0].everyone, grid, radius)
    for its in rounds[1:]:
        sums += insert_images(run.observations, its.everyone, grid, radius)
    team = run.observations.team
    fit_scales(run, network, coarse, sums, run.mask_on(grid), rounds[0].plan.radius, team, halves_in=2)


def _tell(run: RunContext, before: Tensor) -> None:
    """Report a round of all classes: how far the half maps of each agree, and how many images changed class."""
    states, after = run.state.classes, class_probabilities(run).argmax(dim=0)
    changed = int((after != before).sum())
    n_classes = len(states)
    flow = torch.bincount(n_classes * before + after, minlength=n_classes**2).reshape(n_classes, n_classes)
    run.state.branching.setdefault("flow", []).append(flow.tolist())
    agreements = [state.agreement.last_resolution for state in states]
    resolutions = ", ".join(f"{found:.2f}" if math.isfinite(found) else "-" for found in agreements)
    message = f"round {run.state.step}: half maps agree to {resolutions} Å, {changed} images changed class"
    run.tell("classes", message, share_done(run.state.step), {"changed_class": float(changed)})


def _runs(run: RunContext, phase: str, *, anew: bool = False) -> list[RunContext]:
    """Return every class as a run of its own, in a phase, with the images that may show it."""
    runs = []
    for number, state in enumerate(run.state.classes):
        if state.phase != phase:
            state.phase, state.step = phase, 0
        runs.append(run.of_class(number, run.index if anew else candidates_of_class(run, number)))
    return runs


def _update_noise(run: RunContext, runs: list[RunContext], rounds: list[HalvesRound]) -> None:
    """Correct the noise spectrum by what the maps of all classes leave unexplained."""
    if any(its.soft_sums is not None for its in rounds):
        return
    n_images = images_of_groups(run)
    of_classes = [mean_residual(its.reports, n_images) for its in rounds]
    n_known = min(min(residual.shape[1] for residual in of_classes), *(int(its.state.band.radius) + 1 for its in runs))
    residuals = torch.stack([residual[:, :n_known] for residual in of_classes])
    groups = [run.observations.noise_group == number for number in range(run.observations.n_groups)]
    good = [already_set(of_class.state.qualities.good) for of_class in runs]
    weights = torch.stack([torch.stack([of_class[group].sum() for group in groups]) for of_class in good])
    residual = mean_by_images(residuals, weights)
    run.state.band = replace(run.state.band, radius=min(of_class.state.band.radius for of_class in runs))
    update_noise(run, residual)
    for of_class in runs:
        of_class.state.qualities = replace(of_class.state.qualities, noise_power=run.state.qualities.noise_power)
