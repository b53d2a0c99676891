"""What a round is: poses moved against a map, then a map solved at those poses; and the networks at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.reconstruction.images.image_quality import ImageFits
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.network_map import FittedNetwork, NetworkMap
from resmfn.reconstruction.maps.priors import fsc_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.maps.symmetrize import symmetrized
from resmfn.reconstruction.phases.annealing import (
    FOCUS_STAGE,
    SearchResult,
    SearchTask,
    run_stage,
)
from resmfn.reconstruction.poses.candidates import N_LISTED, Candidates, best_of, distinct_candidates
from resmfn.reconstruction.poses.copies import CopySearch, copy_likelihoods, likeliest, nearest_copy
from resmfn.reconstruction.poses.defocus import FIRST_SPREAD, refine_defocus
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import CopyShares, PosedImages
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.reconstruction.run.state import RunState
from resmfn.rotations import geodesic_degrees

MAP_STEPS = 8
"""Conjugate gradient steps of a round's maps; the shells that the images determine have converged by then."""
POSE_STEPS = 3
"""Gauss-Newton steps of the poses in a round. No comparison recorded."""
RECHECK_ROUND = 2
"""In this round every image is once more compared with views from everywhere; from it on the maps are good enough to
tell noise from what they do not explain yet."""


@dataclass(frozen=True)
class RoundPlan:
    """What a round does."""

    radius: float
    """Frequencies used, Fourier pixels."""
    iterations: int
    """Gauss-Newton steps of the poses; 0 keeps them."""
    moves_shift: bool = False
    shift_spread: float | None = None


@dataclass(frozen=True)
class RoundReport:
    """What a round found."""

    pose_change: float
    """Median rotation, degrees."""
    shift_change: float
    """Median, Å."""
    log_likelihood: float
    """Mean of an image, over pure noise."""
    residual_power: Tensor
    """(groups, shells)."""
    images: ImageFits | None = None


UNMOVED = RoundReport(0.0, 0.0, float("nan"), torch.ones(1, 1))


def plan_round(run: RunContext, radius: float, *, moves: bool) -> RoundPlan:
    """Return what a round to a radius does."""
    spread = None
    if run.moves_shift:
        spread = max(float(run.poses().shift.square().mean().sqrt()), 0.5 * run.pixel_size)
    return RoundPlan(radius, POSE_STEPS if moves else 0, run.moves_shift, spread)


def refine_defocus_against(run: RunContext, some: Mapping[str, PosedImages], radius: float) -> None:
    """Find the defocus of images by the map of each name, where the settings ask for it and the maps are good enough.

    Not before the halves are independent and their maps tell views apart, nor where images do not tell their poses.
    """
    state = run.state
    begins = 1 if state.phase == "joint" or not run.moves_poses else RECHECK_ROUND
    if not run.config.refine_defocus or state.soft.are_on or state.step < begins:
        return
    grid, fits = run.grid(radius), {}
    for name, posed in some.items():
        volume = resized(state.maps.references[name], grid.size)
        model = PoseModel(grid, grid.transform(volume), radius, run.moves_shift)
        spread = state.defocus.spread.get(name, max(state.defocus.spread.values(), default=FIRST_SPREAD))
        fits[name] = refine_defocus(
            run.observations, posed.index, posed.poses, model, spread, posed.particle_probability
        )
    run.keep_defocus(fits, some)


def refine_against(run: RunContext, posed: PosedImages, name: str, plan: RoundPlan) -> RoundReport:
    """Move the poses of a posed against its own network's map, in place."""
    if plan.iterations == 0:
        return UNMOVED
    grid = run.grid(plan.radius)
    volume = resized(run.state.maps.references[name], grid.size)
    before = posed.poses
    candidates = _candidates(run, posed, name)
    search = None if run.relaxed_group is None else CopySearch(run.relaxed_group, grid, plan.radius)
    if search is not None and run.state.tests.tell_copies_apart:
        candidates = _likeliest_copies(run, posed.index, candidates or Candidates.of(before), search, volume)
    if candidates is not None:
        model = PoseModel(grid, grid.transform(volume), plan.radius, plan.moves_shift, plan.shift_spread)
        posed.poses = best_of(run.observations, posed.index, candidates, model, plan.iterations)
    report = move_poses(run.observations, posed, volume, plan, run.config.symmetry)
    turned = posed.poses.rotation
    if search is not None:
        posed.copies = CopyShares(search.group, _shares(run, posed, search, volume))
        turned = nearest_copy(turned, before.rotation, search.group)  # another copy is no change of the pose
    angle = geodesic_degrees(turned, before.rotation)
    return replace(report, pose_change=_median(angle))


def _shares(run: RunContext, posed: PosedImages, search: CopySearch, volume: Tensor) -> Tensor:
    """Return how likely images show each copy of their poses, (n, m); all alike where copies are not told apart."""
    n, m = len(posed.index), len(search.group)
    if not run.state.tests.tell_copies_apart:
        return volume.new_full((n, m), 1 / m)
    found = copy_likelihoods(run.observations, posed.index, posed.poses, search, volume)
    return torch.softmax(found.of_copy, dim=1)


def _likeliest_copies(
    run: RunContext, index: Tensor, candidates: Candidates, search: CopySearch, volume: Tensor
) -> Candidates:
    """Return candidates (n, K), each at its likeliest symmetric copy."""
    n, k = candidates.shift.shape[:2]
    poses = candidates.flat
    found = copy_likelihoods(run.observations, index.repeat_interleave(k), poses, search, volume)
    rotation = likeliest(poses.rotation, search.group, found.of_copy).view(n, k, 3, 3)
    return replace(candidates, rotation=rotation)


def _candidates(run: RunContext, posed: PosedImages, name: str) -> Candidates | None:
    """Return poses beyond the nearest peak that this round looks at, if any."""
    state = run.state
    if state.phase != "halves" or run.config.poses != "unknown":
        return None
    if state.step == 0:
        return already_set(state.poses.candidates).select(posed.index)
    return search_again(run, posed, name) if state.step == RECHECK_ROUND else None


def search_again(run: RunContext, posed: PosedImages, name: str) -> Candidates:
    """Return the pose that each image of a half has, and the best ones elsewhere by that half's map."""
    volume = run.state.maps.references[name]
    if run.relaxed_group is not None:  # searched up to the group: the copies are chosen among afterwards
        volume = symmetrized(volume, run.relaxed_group)
    start = SearchResult.from_map(volume, run.state.band.radius, posed.poses.shift)
    result = run_stage(
        SearchTask(run.observations, posed.index, run.space),
        FOCUS_STAGE.once(),
        start,
        generator=spawn(run.config.seed, "recheck", name),
        progress=lambda *_: None,
        n_top=N_LISTED,
        jointly=True,
    )
    return distinct_candidates(result.posterior, result.rotations).after(posed.poses)


def move_poses(
    observations: Observations, posed: PosedImages, volume: Tensor, plan: RoundPlan, symmetry: str = "C1"
) -> RoundReport:
    """Refine the poses of a posed against a map ``(M, M, M)``, in place."""
    grid = MapGrid(observations.box_size, volume.shape[0], symmetry)
    model = PoseModel(grid, grid.transform(volume), plan.radius, plan.moves_shift, plan.shift_spread)
    fit = refine_poses(observations, posed.index, posed.poses, model, plan.iterations, posed.particle_probability)
    angle = geodesic_degrees(fit.poses.rotation, posed.poses.rotation)
    moved = (fit.poses.shift - posed.poses.shift).norm(dim=1)
    posed.poses = fit.poses
    return RoundReport(
        _median(angle),
        _median(moved),
        float(fit.log_likelihood.mean()),
        fit.residual_power,
        fit.images,
    )


def _median(changes: Tensor) -> float:
    """Return the median (n,) of changes; where there are no images, as in half of a class that lost them, none."""
    return float(changes.median()) if len(changes) else 0.0


def solve_map(run: RunContext, equations: MapEquations, mask: Tensor, plan: RoundPlan, *, halves_in: int) -> Tensor:
    """Return the map (N, N, N) within a mask that images at their poses give, by the halves' FSC."""
    prior = fsc_prior(equations, already_set(run.state.agreement.fsc), int(plan.radius) + 1, halves_in=halves_in)
    volume = equations.solve(mask, prior, iterations=MAP_STEPS)
    return resized(symmetrized(volume, equations.grid.group), run.map_size).cpu()


def fit_network(
    run: RunContext,
    name: str,
    sums: SliceSums,
    mask: Tensor,
    plan: RoundPlan,
    team: Team,
    *,
    halves_in: int,
    n_shared: int = 0,
) -> FittedNetwork:
    """Fit a network to the sums of some images, scale by scale, after the ``n_shared`` coarsest, which are fitted."""
    network = run.network(name)
    finest = network.scale_for(plan.radius)
    scales = range(n_shared + 1, finest + 1)
    reached = fit_scales(run, network, scales, sums, mask, plan.radius, team, halves_in=halves_in)
    return FittedNetwork.of(network, sums.grid, run.map_size, finest, mask, reached)


def fit_scales(
    run: RunContext,
    network: NetworkMap,
    scales: Iterable[int],
    sums: SliceSums,
    mask: Tensor,
    radius: float,
    team: Team,
    *,
    halves_in: int,
) -> float:
    """Fit some scales of a network, one after the other, each up to its own band or a radius; as well as the last is.

    ``sums`` and ``mask`` are on the grid of the finest of them.
    """
    fsc, reached = already_set(run.state.agreement.fsc), 0.0
    finest = network.scale_for(radius)
    for scale in scales:
        here = radius if scale == finest else min(radius, network.network.half_width(scale))
        grid = sums.grid if scale == finest else run.grid(here)
        its_mask = mask if grid.size == sums.grid.size else resized(mask, grid.size).clamp(0, 1)
        # Coarse scales are so small that sharing their steps among processes takes longer.
        equations = MapEquations(sums.within(grid), its_mask, team if scale == finest else None)
        prior = fsc_prior(equations, fsc, int(here) + 1, halves_in=halves_in)
        reached = network.fit(equations, its_mask, prior, scale=scale, steps=run.config.network_steps)
    return reached


def _agreement(state: RunState) -> tuple[str, float]:
    """Say how far the half maps agree, in words and Å; of maps that may show noise no resolution is said."""
    structure, resolution = state.tests.structure, state.agreement.last_resolution
    if structure is not None and not structure.is_structure:
        return "no structure found so far", math.nan
    words = f"half maps agree to {resolution:.2f} Å" if math.isfinite(resolution) else "half maps do not agree"
    return words, resolution


def tell_round(
    run: RunContext, stage: str, done: float, reports: list[RoundReport], fits: list[float] | None = None
) -> None:
    """Report a round: its radius, the change of poses, and the agreement of the half maps."""
    state = run.state
    angle = max(report.pose_change for report in reports)
    moves = any(report.images is not None for report in reports)
    agreement, resolution = _agreement(state)
    values = {
        "round": float(state.step),
        "radius": state.band.radius,
        "pose_change": angle if moves else math.nan,
        "shift_change": max(report.shift_change for report in reports) if moves else math.nan,
        "log_likelihood": sum(report.log_likelihood for report in reports) / len(reports),
        "resolution": resolution,
        "network_fit": min(fits or [math.nan]),
    }
    name = "last maps of the halves" if stage == "validate" else f"round {state.step}"
    message = f"{name} to {run.resolution(state.band.radius):.1f} Å, {agreement}"
    if moves:
        message += f", log-likelihood {values['log_likelihood']:.1f}, poses moved {angle:.2f}°"
    defocus = state.defocus
    if defocus.offset is not None and stage != "validate":
        values |= {"defocus_change": defocus.change, "defocus_spread": max(defocus.spread.values())}
        message += f", defocus off by {values['defocus_spread']:.0f} Å"
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    run.tell(stage, message, done, known)
