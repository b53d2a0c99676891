"""The first phase: annealed starts from random poses, ranked by likelihood, divided among processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.phases.annealing import (
    N_SEARCH,
    START_STAGES,
    SearchStage,
    SearchTask,
    random_start,
    some_of,
    stage_radius,
)
from resmfn.reconstruction.poses.search_space import SearchSpace
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.reconstruction.run.held_out import N_HELD_OUT
from resmfn.reconstruction.run.records import Starts

WEAK_STAGES = (replace(START_STAGES[-1], temperature=1.0, n_steps=(8, 60), patience=20),)
"""Of images that do not tell their rotation: heat takes away the little that they say of it, and leaves a ball; and
they raise the likelihood slowly. 2,700 images of a receptor of 300 kDa at SNR 0.01, nat an image at 5.1 cycles, where
the true map gains 2.98 and that map averaged over all directions 1.16: with both stages' heat 1.11, from a temperature
of 1.5 2.69 to 2.74, from 1 2.97 to 3.00; the same ended after 3 steps in vain 1.36 to 1.66."""
TELLS_ITS_ROTATION = math.log(START_STAGES[0].n_rotations)
"""Nat, 7.7: an image that gains less over noise does not choose among the first stage's rotations by itself. The
stronger sets of docs/real-data.md gain 12 and more; 300 kDa at SNR 0.01 gained 0.99, which is what a ball gains."""
MOST_IN_WEAK_STARTS = 10 * N_SEARCH
"""The more images, the nearer a start comes to what the true map gains: 2.1 of 3.0 nat with 1,000, 2.98 with 2,700."""
LOOSE = 0.8
"""Radius of the particle over that of the mask, below which starts are made again in the particle's own bands: halfway,
nearly, from one stage of a start to the next."""


def search_step(run: RunContext) -> bool:
    """Run one annealed start, or as many as there are processes; keep what is likeliest so far. Say whether all ran.

    Where no start gains what an image needs to tell its rotation, all are made again, with more images and without
    heat (``WEAK_STAGES``). The bands of a start are cycles over the diameter of what is searched. Where the map of the
    likeliest one is much smaller than the mask, all are made again for what is as large as that map.
    """
    state, team = run.state, run.observations.team
    space, index = run.space, search_index(run)
    radius = stage_radius(START_STAGES[-1], run.observations, space)
    search, stages = _gather_search(run.observations, index, space, radius), stages_of(run)

    def start(number: int, crew: Team) -> tuple[Tensor, float, float]:
        result = random_start(
            search(crew),
            seed=run.config.seed,
            start=number,
            stages=stages,
            progress=lambda what, value: run.tell(_name(run, number), f"{what}, log-likelihood {value:.2f}"),
        )
        return result.volume.cpu(), result.radius, result.log_evidence

    numbers = range(state.step, min(state.step + team.size, _n_starts(run)))
    for number, found in zip(numbers, team.divide([partial(start, number) for number in numbers]), strict=True):
        _keep_start(run, number, *found)
    if state.step == _n_starts(run):
        _begin_again(run)
    return state.step == _n_starts(run)


def _n_starts(run: RunContext) -> int:
    """Return how many starts there are in all, those that are made again included."""
    starts = run.state.starts
    return run.config.n_starts * (1 + (starts.n_images > 0) + (starts.mask_radius > 0))


def stages_of(run: RunContext) -> Sequence[SearchStage]:
    """Return the stages of the starts."""
    return WEAK_STAGES if run.state.starts.n_images > 0 else START_STAGES


def _begin_again(run: RunContext) -> None:
    """Begin the starts again where images are too weak for so few, or the likeliest map is much smaller than the mask.

    Each for once.
    """
    starts = run.state.starts
    if starts.n_images == 0 and max(starts.log_likelihoods) < TELLS_ITS_ROTATION:
        n_more = max(len(search_index(run)), min(MOST_IN_WEAK_STARTS, len(run.first_row) - N_HELD_OUT))
        run.state.starts = Starts(mask_radius=starts.mask_radius, n_images=n_more)
        run.tell("search", f"images are weak; starts again with {n_more} of them, not annealed", 0.1)
        return
    radius = run.space.around(already_set(starts.best), run.box_size).mask_radius
    if starts.mask_radius == 0 and radius < LOOSE * run.mask_radius:
        run.state.starts = Starts(mask_radius=radius, n_images=starts.n_images)
        diameter = 2 * radius * run.pixel_size
        run.tell("search", f"the particle is smaller than the mask; starts again within {diameter:.0f} Å", 0.1)


def _keep_start(run: RunContext, number: int, volume: Tensor, radius: float, log_evidence: float) -> None:
    state = run.state
    state.starts = state.starts.with_start(volume.to(run.device), radius, log_evidence)
    state.step += 1
    values = {"start": state.step, "log_likelihood": log_evidence}
    message = f"{_name(run, number)}: log-likelihood {log_evidence:.2f}"
    run.tell("search", message, 0.2 * state.step / _n_starts(run), values)


def _name(run: RunContext, number: int) -> str:
    again = "" if number < run.config.n_starts else " again"
    return f"start {number % run.config.n_starts + 1} of {run.config.n_starts}{again}"


def most_in_starts(run: RunContext) -> int:
    """Return the most images that a start uses."""
    return run.state.starts.n_images or N_SEARCH


def search_index(run: RunContext) -> Tensor:
    """Return the images that the starts use, int64: a row of each."""
    return some_of(run.first_row, most_in_starts(run), spawn(run.config.seed, "search")).sort().values


def _gather_search(
    observations: Observations, index: Tensor, space: SearchSpace, radius: float
) -> Callable[[Team], SearchTask]:
    """Return what gives a crew the task of searching some images, each process of it its block of them.

    Parameters
    ----------
    observations
        All images; they stay where they are if there is one process.
    index
        int64 (n,): those that are searched.
    space
        Where.
    radius
        Frequencies that the search may use, Fourier pixels: what lies beyond does not travel.
    """
    team = observations.team
    if team.size == 1:
        return lambda _: SearchTask(observations, index, space)
    n_pixels = observations.n_pixels(radius + 1)  # the band is cut at the radius, not at the last pixel within it
    values = torch.zeros(len(index), n_pixels, dtype=torch.complex64, device=observations.device)
    ctf = torch.zeros(len(index), n_pixels, device=observations.device)
    chunks = observations.in_chunks(
        "bringing images together", index, len(index), lambda rows: observations.batch(index[rows], n_pixels)
    )
    for rows, (mine, its_ctf) in chunks:
        values[rows], ctf[rows] = mine, its_ctf
    team.sum_(values, ctf)

    def task(crew: Team) -> SearchTask:
        block = crew.share_of(len(index))
        held = slice(block.start, block.stop)
        few = Observations(
            values[held],
            ctf[held],
            observations.pixels[:n_pixels],
            box_size=observations.box_size,
            pixel_size=observations.pixel_size,
            noise_level=observations.noise_level[index],
            team=crew,
        )
        few.magnification = observations.magnification.select(index)
        return SearchTask(few, torch.arange(len(index), device=observations.device), space)

    return task
