"""Classes whose images look from few sides, asked whether a search from random poses finds a likelier map.

What a class begins with are poses that fitted another map: of the class that it was divided from, or of a coarse one
that it shared. Images of another structure may all be turned to the few sides from which that looks like theirs, and
the map that they then make keeps them there: both halves agree on it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.evaluation import view_coverage
from resmfn.evaluation.views import symmetric_copies, view_density, view_directions
from resmfn.reconstruction.classes.branching import Comparison
from resmfn.reconstruction.classes.focus import state_of_start
from resmfn.reconstruction.classes.membership import members_of_classes
from resmfn.reconstruction.phases.annealing import (
    FOCUS_STAGE,
    JOINT_STEPS,
    N_SEARCH,
    START_STAGES,
    SearchResult,
    SearchTask,
    centered,
    random_start,
    run_stage,
    sharpened,
    some_of,
    stage_radius,
)
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.reconstruction.run.preflight import LEAST_PARTICLES
from resmfn.reconstruction.run.state import RunState

ONE_VIEW = 4.0
"""Density of a class's commonest views, in multiples of an even one, that raises a question where all classes together
are half as uneven; not compared with other values."""
LIKELIER = 1.0
"""Nat an image, by which a start must beat the map at hand beyond what uneven views explain. Of eight species the
closed kinase, 75 degrees off and of density 9.6, is beaten by 4.1, of which views explain 1.8; of four right maps one
loses 0.4 and the others more."""
LAST = START_STAGES[-1]


def few_views(run: RunContext, members: list[Tensor]) -> dict[int, float]:
    """Return the density of the commonest views of classes that look from one side, where others do not.

    Parameters
    ----------
    run
        The run.
    members
        Of each class its images, int64 (m,).
    """
    densities = []
    for state, mine in zip(run.state.classes, members, strict=True):
        views = _views(run, already_set(state.poses.best).rotation[mine])
        densities.append(view_coverage(views).largest if len(views) else 1.0)
    usual = sorted(densities)[(len(densities) - 1) // 2]
    return {n: density for n, density in enumerate(densities) if density > ONE_VIEW and density > 2 * usual}


def _views(run: RunContext, rotation: Tensor) -> Tensor:
    return symmetric_copies(rotation.double().cpu(), run.full.group.cpu())


def begin_again(run: RunContext) -> list[int]:
    """Begin classes of few views again where a start from random poses is likelier; return their numbers.

    Each is asked once, and again only after classes have been divided.
    """
    state = run.state
    if state.branching.get("views asked", False):
        return []
    state.branching["views asked"] = True
    members, begun = members_of_classes(run), list[int]()
    for number, density in few_views(run, members).items():
        alone = run.of_class(number, members[number])
        if min(len(half) for half in alone.half_index) < LEAST_PARTICLES or alone.state.soft.are_on:
            continue
        best, gained = _start_and_its_gain(alone, number)
        # Every view is as likely before an image is seen: a map that looks right from few sides pays for that.
        explained = _mean_log_density(_views(run, alone.poses().rotation[members[number]]))
        is_likelier = replace(gained, gain=gained.gain - explained).is_more_than(LIKELIER)
        run.tell(
            "classes",
            f"class {number + 1} lives on few views ({density:.1f} times an even distribution): from random poses on, "
            f"images of the other half gain {gained.gain:+.2f} ± {gained.error:.2f} nat, of which views explain "
            f"{explained:.2f}" + ("; begun again" if is_likelier else ""),
        )
        if is_likelier:
            state.classes[number] = _begun(run, best, number)
            begun.append(number)
    return begun


def _mean_log_density(views: Tensor) -> float:
    return float(view_density(views, view_directions(views)).log().mean())


def _start_and_its_gain(run: RunContext, number: int) -> tuple[SearchResult, Comparison]:
    """Return a start of the first half of a class from random poses, and what images of the second say of it.

    They compare it with the map at hand of the first half, in the band of the focus and both of the same images.
    """
    seed = run.config.seed
    first, second = (
        SearchTask(run.observations, some_of(half, N_SEARCH, spawn(seed, "begin again", number, name)), run.space)
        for name, half in zip(HALVES, run.half_index, strict=True)
    )
    generator, n_starts = spawn(seed, "begin again", number), run.config.n_starts
    starts = [
        random_start(first, seed=seed, start=n_starts * (number + 1) + start, progress=_untold)
        for start in range(n_starts)
    ]
    best = max(starts, key=lambda start: start.log_evidence)
    begun = centered(first, LAST, _from_unknown_shifts(best, first), generator=generator)
    begun = sharpened(first, FOCUS_STAGE, begun, generator=generator, progress=_untold)
    radius, shift = stage_radius(FOCUS_STAGE, run.observations, run.space), run.poses().shift[first.index]
    at_hand = SearchResult.from_map(run.state.maps.references[HALVES[0]], radius, shift)
    of_begun, of_map_at_hand = (
        _log_evidence(second, _last_steps(first, found, generator), spawn(seed, "begin again", number, "left out"))
        for found in (begun, at_hand)
    )
    return best, Comparison.of(of_begun, of_map_at_hand)


def _last_steps(task: SearchTask, found: SearchResult, generator: torch.Generator) -> SearchResult:
    """Return a map as its images make it in the band of the focus; they score poses jointly, as those of a start do."""
    stage = replace(FOCUS_STAGE.once(), n_steps=(JOINT_STEPS, JOINT_STEPS))
    return run_stage(task, stage, found, generator=generator, progress=_untold, jointly=True)


def _log_evidence(task: SearchTask, found: SearchResult, generator: torch.Generator) -> Tensor:
    """Return the log-likelihood (n,) under a map of images of which nothing is known."""
    start = centered(task, LAST, _from_unknown_shifts(found, task), generator=generator)
    asked = run_stage(task, FOCUS_STAGE.once(), start, generator=generator, progress=_untold, jointly=True)
    return asked.posterior.log_evidence


def _from_unknown_shifts(found: SearchResult, task: SearchTask) -> SearchResult:
    unknown = torch.zeros(len(task.index), 2, device=task.index.device)
    return SearchResult.from_map(found.volume, found.radius, unknown)


def _begun(run: RunContext, best: SearchResult, number: int) -> RunState:
    """Return what a class knows of its own start; its images remain its own until the rounds ask again."""
    before, generator = run.state.classes[number], spawn(run.config.seed, "begun again", number)
    everyone = SearchTask(run.observations, run.index, run.of_class(number).space)
    start = centered(everyone, LAST, _from_unknown_shifts(best, everyone), generator=generator)
    good, name = already_set(before.qualities.good), f"class {number + 1}"
    state = state_of_start(run, start, good, name, generator=generator)
    state.qualities, state.tests, state.map_size = before.qualities, before.tests, before.map_size
    return state


def _untold(what: str, value: float) -> None:
    """Tell nothing of single steps: these searches are short."""
