"""The first phase of a run with several classes: they branch, one try a step; a run can be resumed after each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.reconstruction.classes.branching import (
    BRANCHES,
    Comparison,
    begun_again,
    branched,
    first_class,
    uncounted_classes,
    with_branch,
    without_doubles,
    without_needless,
)
from resmfn.reconstruction.classes.competition import Branches, LeftOut, with_rivals
from resmfn.reconstruction.classes.mixture import Mixture
from resmfn.reconstruction.config import CLASSES_OF_AUTO
from resmfn.reconstruction.phases.annealing import SearchTask
from resmfn.reconstruction.run.context import RunContext

STILL_BEGUN = 0.01
"""Share of the phases that is stated while classes branch: too little for a time left, as nobody knows how many tries
there will be."""
CHANCES = 2
"""Divisions in a row that may leave no more classes than there were, junk and classes that are there twice not counted.
One species of two (open and aurora kinase, seed 4) came twice, and either half could be divided again seven times."""
N_MADE_FROM = 4000
"""Images that classes are made from at most; the rest join them afterwards."""
N_LEFT_OUT, SHARE_LEFT_OUT = 1000, 0.2
"""Images that decide how many classes there are: at most, and of small sets."""


def branch_step(run: RunContext) -> bool:
    """Make one class of all images, or try one class as several; say whether nothing is left to try."""
    state, tasks = run.state, left_out_and_rest(run)
    generator = spawn(run.config.seed, "branch", state.step)

    def told(what: str, value: float) -> None:
        run.tell("classes", f"{what}, log-likelihood {value:.2f}")

    if state.step == 0:
        branches = first_class(tasks, generator=generator, progress=told)
        asked = with_rivals(tasks, branches)
        untried, table = {0: CHANCES}, [_row(branches, None)]
        message = f"one class, log-likelihood {table[0]['log_likelihood']:.2f} of images left out"
    else:
        branches, untried, table = _stored(state.branching, run.device)
        asked = with_rivals(tasks, branches)
        number = _largest(branches, untried)
        chances = untried.pop(number)
        n_maps = BRANCHES[branches.n_classes > 1]
        found = branched(tasks, branches, number, n_maps, generator=generator, progress=told)
        message = f"class {number + 1} of {branches.n_classes} has too few images to be divided"
        if found is not None:
            several, comparison = found
            n_maps = len(several.share)
            table.append(_row(branches, comparison) | {"maps": float(n_maps)})
            message = f"class {number + 1} of {branches.n_classes} as {n_maps}: {_words(comparison)}"
            if comparison.is_better:
                most = max(CLASSES_OF_AUTO, run.config.most_classes)  # those of junk counted
                more = with_branch(tasks, branches, number, several, generator=generator, progress=told)
                more, given_up = without_needless(tasks, more, most, generator=generator, progress=told)
                before, asked = asked, with_rivals(tasks, more)
                chances = CHANCES if _n_counted(asked) > _n_counted(before) else chances - 1
                untried = _renumbered(untried, number, branches.n_classes, n_maps, chances, given_up)
                branches = more
                table.append(_row(branches, None))
                message += f"; {branches.n_classes} classes now"
    if _is_enough(run, asked, untried):
        fresh = spawn(run.config.seed, "doubles", state.step)
        of_particles = _of_particles(branches, asked)
        branches, given_up, twice = without_doubles(tasks, branches, of_particles, generator=fresh, progress=told)
        if given_up:
            untried = {k: left for k, left in _without(untried, given_up).items() if k not in twice}
            asked = with_rivals(tasks, branches)
            table.append(_row(branches, None))
            message += f", {len(given_up)} of them showed the same as another and joined it"
    n_others = len(uncounted_classes(asked))
    message += f", {n_others} of them of junk or there twice" if n_others else ""
    is_last = _is_enough(run, asked, untried)
    if is_last and branches.n_classes > 1:
        branches, _ = without_needless(tasks, asked, run.config.most_classes, generator=generator, progress=told)
        branches = begun_again(tasks, branches, generator=generator, progress=told)
        table.append(_row(branches, None))
        message += f"; {branches.n_classes} kept"
    state.branching = _to_store(branches, untried, table)
    state.step += 1
    values = {"classes": float(branches.n_classes), "log_likelihood": float(branches.log_evidence.mean())}
    run.tell("classes", message, STILL_BEGUN, values)
    return is_last


def left_out_and_rest(run: RunContext) -> LeftOut:
    """Return the images that classes are made from, and those that decide how many there are."""
    rows = run.first_row
    order = torch.randperm(len(rows), generator=spawn(run.config.seed, "left out")).to(run.device)
    n_left_out = min(N_LEFT_OUT, int(SHARE_LEFT_OUT * len(rows)))
    left_out, rest = rows[order[:n_left_out]], rows[order[n_left_out:][:N_MADE_FROM]]
    made_from, asked = (SearchTask(run.observations, part.sort().values, run.space) for part in (rest, left_out))
    return LeftOut(made_from, asked)


def stored_branches(run: RunContext) -> Branches:
    """Return the classes that this phase has found."""
    return _stored(run.state.branching, run.device)[0]


def _n_counted(asked: Branches) -> int:
    """Return how many classes images surely need; they must have been asked whether they show a particle."""
    return asked.n_classes - len(uncounted_classes(asked))


def _is_enough(run: RunContext, asked: Branches, untried: dict[int, int]) -> bool:
    """Say whether no class is left to try, or as many count as may."""
    return not untried or _n_counted(asked) >= run.config.most_classes


def _of_particles(branches: Branches, asked: Branches) -> list[int]:
    """Return the classes that show a particle: all but those that images need by the maps, though not beside junk."""
    junk = set(uncounted_classes(asked)) - set(uncounted_classes(branches))
    return [number for number in range(branches.n_classes) if number not in junk]


def _renumbered(
    untried: dict[int, int], divided: int, n_classes: int, n_maps: int, chances: int, given_up: list[int]
) -> dict[int, int]:
    """Return the classes yet to be tried, with their chances, after one of ``n_classes`` was divided.

    Parameters
    ----------
    untried
        Of the classes before, by number, without the one that was divided.
    divided, n_classes, n_maps
        Its number; how many classes there were; in how many it was divided. These come last.
    chances
        Of the new ones; at 0 they are not tried.
    given_up
        Classes that were given up since, one after the other, by the numbers that they had then.
    """
    after = {number - (number > divided): left for number, left in untried.items()}
    if chances > 0:
        after |= dict.fromkeys(range(n_classes - 1, n_classes - 1 + n_maps), chances)
    return _without(after, given_up)


def _without(untried: dict[int, int], given_up: list[int]) -> dict[int, int]:
    """Return the classes yet to be tried after some were given up, one after the other, by the numbers they had."""
    for gone in given_up:
        untried = {number - (number > gone): left for number, left in untried.items() if number != gone}
    return untried


def _largest(branches: Branches, untried: dict[int, int]) -> int:
    return max(untried, key=lambda number: float(branches.maps.share[number]))


def _words(comparison: Comparison) -> str:
    better = "likelier" if comparison.is_better else "no likelier"
    return f"images left out are {better} ({comparison.gain:+.2f} ± {comparison.error:.2f} nat)"


def _row(branches: Branches, comparison: Comparison | None) -> dict[str, float]:
    row = {"classes": float(branches.n_classes), "log_likelihood": float(branches.log_evidence.mean())}
    return row if comparison is None else row | {"gain": comparison.gain, "error": comparison.error}


def _to_store(branches: Branches, untried: dict[int, int], table: list[dict[str, float]]) -> dict[str, Any]:
    """Return plain values and tensors."""
    return {"maps": asdict(branches.maps), "asked": asdict(branches.asked), "untried": untried, "table": table}


def _stored(stored: dict[str, Any], device: torch.device) -> tuple[Branches, dict[int, int], list[dict[str, float]]]:
    def there(values: dict[str, Any]) -> Mixture:
        moved: dict[str, Any] = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
        return Mixture(**moved)

    branches = Branches(there(stored["maps"]), there(stored["asked"]))
    return branches, dict(stored["untried"]), list(stored["table"])
