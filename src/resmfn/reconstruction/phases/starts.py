"""The first phase: annealed starts from random poses, told apart by their likelihood."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.reconstruction.phases.annealing import (
    START_STAGES,
    random_start,
    stage_radius,
)
from resmfn.reconstruction.phases.gathered import gather_search
from resmfn.reconstruction.run.context import RunContext

N_SEARCH = 1000
"""Images that the annealed starts use; more do not make a coarse map better."""


def search_step(run: RunContext) -> bool:
    """Run one annealed start, or as many as there are processes; keep what is likeliest so far. Say whether all ran."""
    state, team, n_starts = run.state, run.observations.team, run.config.n_starts
    space, index = run.space, search_index(run)
    radius = stage_radius(START_STAGES[-1], run.observations, space)
    search = gather_search(run.observations, index, space, radius)

    def start(number: int, crew: Team) -> tuple[Tensor, float, float]:
        result = random_start(
            search(crew),
            seed=run.config.seed,
            start=number,
            progress=lambda what, value: run.tell(_name(run, number), f"{what}, log-likelihood {value:.2f}"),
        )
        return result.volume.cpu(), result.radius, result.log_evidence

    numbers = range(state.step, min(state.step + team.size, n_starts))
    for number, found in zip(numbers, team.divide([partial(start, number) for number in numbers]), strict=True):
        _keep_start(run, number, *found)
    return state.step == n_starts


def _keep_start(run: RunContext, number: int, volume: Tensor, radius: float, log_evidence: float) -> None:
    state, n_starts = run.state, run.config.n_starts
    volume = volume.to(run.device)
    if log_evidence > max(state.log_likelihoods, default=float("-inf")):
        state.coarse, state.radius = volume, radius
    state.start_maps.append(volume)
    state.log_likelihoods.append(log_evidence)
    state.step += 1
    values = {"start": state.step, "log_likelihood": log_evidence}
    message = f"{_name(run, number)}: log-likelihood {log_evidence:.2f}"
    run.tell("search", message, 0.2 * state.step / n_starts, values)


def _name(run: RunContext, number: int) -> str:
    return f"start {number + 1} of {run.config.n_starts}"


def search_index(run: RunContext) -> Tensor:
    """Return the images that the annealed starts use, int64."""
    if len(run.index) <= N_SEARCH:
        return run.index
    order = torch.randperm(len(run.index), generator=spawn(run.config.seed, "search"))
    return order[:N_SEARCH].sort().values.to(run.device)
