"""Does a molecule have the point group that its map was given? And its map without it, where it has it only nearly.

The halves of a symmetrized run agree whether or not the molecule has the symmetry. Its images know: where it has not, a
map that differs from copy to copy explains images that it was not made from better than the symmetric one does.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.fourier import resize_map
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.priors import carried_prior, posterior_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import FOCUS_STAGE, START_STAGES, radius_of_cycles
from resmfn.reconstruction.phases.control import mean_and_error, random_map
from resmfn.reconstruction.poses.copies import CopySearch, copy_likelihoods, difference_pass
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import PosedImages
from resmfn.reconstruction.poses.search_space import shift_spread
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.reconstruction.run.held_out import CopyTest
from resmfn.rotations import point_group

STAGES = (
    (START_STAGES[0].cycles, 8, 4.0),
    (START_STAGES[1].cycles, 6, 2.0),
    (FOCUS_STAGE.cycles, 6, 1.0),
)
"""Cycles over the mask's diameter, steps, and the temperature of the first: coarse to fine, as in a start."""
COOLING = 0.75
N_STARTS = 2
"""From images at copies drawn at random; the likelier is kept."""
MOST_COPIES = 40_000
"""Images times copies that a difference is first sought with: a minute for the largest groups."""
MOST_ASKED = 1000
"""Images left out that are asked about it."""
LEAST_ASKED = 10
"""Images of a half below which a class's group is not asked about. No comparison recorded."""
POSE_STEPS = 4
"""Gauss-Newton steps of poses from a grid before copies are compared."""
N_DECOYS = 2


def words_of_test(test: CopyTest) -> str:
    """Say what images left out say of a map's symmetry."""
    text = f"images left out fit a map without {test.group} better than with it by {test.gain:.2g} ± "
    text += f"{test.gain_error:.1g} nat, down to {test.resolution:.1f} Å: "
    return text + ("its copies differ" if test.are_told_apart else "no difference between its copies is seen")


def break_symmetry(run: RunContext, volume: Tensor) -> Tensor:
    """Return a symmetric map (N, N, N) plus what all images say of the difference between its copies.

    First one half of the images is asked about the difference that the other half sees: noise alone can be sorted into
    copies, too. Where images left out do not tell them apart, the map stays symmetric.
    """
    posed, told = ask_early(run, volume)
    if not told:
        return volume
    group = already_set(run.relaxed_group)
    return volume + resized(find_difference(run, posed, volume, group, name="relax"), run.map_size)


def ask_early(run: RunContext, volume: Tensor) -> tuple[PosedImages, bool]:
    """Ask half 2 about the difference that half 1 sees beyond the common map (N, N, N); images, and the answer.

    Rounds with a group that is nearly right take what it leaves unexplained for noise, and then see less of it.
    """
    name, posed = run.config.search_symmetry, _refined(run, volume)
    first, second = (posed.select(index) for index in run.half_index)
    difference = find_difference(run, first, volume, point_group(name), name="test")
    test = _ask(run, name, volume, difference, second)
    _keep(run, "focus", test)
    return posed, test.are_told_apart


def judge_group(run: RunContext) -> None:
    """Ask half 2 whether the map of half 1 differs from copy to copy, unless that is known, or there is no group.

    The map without the symmetry is made of half 1 alone: the halves' own maps have it.
    """
    name = run.config.symmetry
    too_few = min(map(len, run.half_index)) < LEAST_ASKED
    if len(point_group(name)) == 1 or run.state.tests.tell_copies_apart or too_few:
        return
    symmetric = run.state.maps.references["half1"]
    difference = find_difference(run, run.half("half1"), symmetric, point_group(name), name="test")
    _keep(run, "validate", _ask(run, name, symmetric, difference, run.half("half2")))


def _keep(run: RunContext, stage: str, test: CopyTest) -> None:
    run.state.tests = replace(run.state.tests, copies=test)
    done = 0.3 if stage == "focus" else 0.8
    run.tell(stage, words_of_test(test), done, {"copy_gain": test.gain, "copy_gain_error": test.gain_error})


def _refined(run: RunContext, volume: Tensor) -> PosedImages:
    """Return all images at the poses that a coarse map refines theirs to, unless they are fixed.

    Errors of grids look like differences.
    """
    posed, radius = run.posed(run.index), _radius(run)
    if not run.moves_poses:
        return posed
    grid = MapGrid.for_radius(run.box_size, radius, run.space.symmetry)
    transform = grid.transform(resize_map(volume.to(run.device), grid.size))
    model = PoseModel(grid, transform, radius, run.moves_shift, shift_spread(posed.poses.shift, run.space))
    posed.poses = refine_poses(run.observations, posed.index, posed.poses, model, POSE_STEPS).poses
    return posed


def _radius(run: RunContext) -> float:
    return radius_of_cycles(FOCUS_STAGE.cycles, run.observations, run.space)


def find_difference(run: RunContext, posed: PosedImages, symmetric: Tensor, group: Tensor, *, name: str) -> Tensor:
    """Return what a map has beyond a symmetric one, (M, M, M), from images whose copies are unknown.

    Parameters
    ----------
    run
        Whose images.
    posed
        Some of them with their poses, up to the group.
    symmetric
        (N, N, N): their symmetric map.
    group
        (m, 3, 3).
    name
        Of the random numbers.
    """
    few = _thinned(run, posed, MOST_COPIES // len(group), name)
    starts = [
        _climb(run, few, symmetric, group, generator=spawn(run.config.seed, "copies", name, start))
        for start in range(N_STARTS)
    ]
    difference, prior, _ = max(starts, key=lambda found: found[2])
    if len(few.index) == len(posed.index):
        return difference
    return _climb(run, posed, symmetric, group, STAGES[-1:], start=(difference, prior))[0]


def _climb(
    run: RunContext,
    posed: PosedImages,
    symmetric: Tensor,
    group: Tensor,
    stages: tuple[tuple[float, int, float], ...] = STAGES,
    *,
    start: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Return a difference (M, M, M), the prior (shells,) of the next, and the mean gain of an image."""
    observations, space, gain, labels = run.observations, run.space, -math.inf, None
    if start is None:
        labels = torch.randint(len(group), (len(posed.index),), generator=generator).to(run.device)
    difference, prior = (None, None) if start is None else start
    for cycles, n_steps, hottest in stages:
        radius = radius_of_cycles(cycles, observations, space)
        grid = MapGrid.for_radius(run.box_size, radius)
        mask, n_shells = sphere_on(grid, space.mask_radius, run.device), int(radius) + 1
        base = resize_map(symmetric.to(run.device), grid.size)
        if difference is not None and prior is not None:
            prior = carried_prior(prior, n_shells, difference.shape[0], grid.size)
            difference = resize_map(difference, grid.size) * mask
        for step in range(n_steps):
            found = difference_pass(
                observations, posed, CopySearch(group, grid, radius), base, difference,
                temperature=max(1.0, hottest * COOLING**step), labels=labels,
            )  # fmt: skip
            labels, gain = None, float(found.gain.mean())
            equations = MapEquations(found.sums)
            if prior is None:
                prior = 3 * equations.shell_weights()[:n_shells]
            difference = equations.solve(mask, prior, start=difference, iterations=4)
            prior = posterior_prior(equations, difference, mask, prior)
    return already_set(difference), already_set(prior), gain


def _ask(run: RunContext, name: str, symmetric: Tensor, difference: Tensor, others: PosedImages) -> CopyTest:
    """Compare a map and its symmetric part on images that it was not made from, at the copies of their poses."""
    observations, group, radius = run.observations, point_group(name), _radius(run)
    grid = MapGrid.for_radius(run.box_size, radius)
    posed = _thinned(run, others, MOST_ASKED, "asked")
    search, base = CopySearch(group, grid, radius), resize_map(symmetric.to(run.device), grid.size)
    difference = resize_map(difference.to(run.device), grid.size)
    mask = sphere_on(grid, run.space.mask_radius, run.device)
    generator = spawn(run.config.seed, "copies", "decoys")

    def gain_of(beyond: Tensor) -> Tensor:
        return copy_likelihoods(observations, posed.index, posed.poses, search, base + beyond).gain()

    gain = gain_of(difference)
    decoys = [gain_of(random_map(difference, mask, generator=generator)) for _ in range(N_DECOYS)]
    lead = gain - torch.stack(decoys).mean(dim=0)
    return CopyTest(name, len(gain), *mean_and_error(gain), *mean_and_error(lead), run.resolution(radius))


def _thinned(run: RunContext, posed: PosedImages, most: int, name: str) -> PosedImages:
    """Return at most so many of some images, drawn at random."""
    n = len(posed.index)
    order = torch.randperm(n, generator=spawn(run.config.seed, "copies", name))
    return posed if n <= most else posed.select(order[:most].sort().values.to(run.device))
