"""The phases that divide what has been refined, at the poses that its rounds have found, into several states.

"states" divides the one structure of a run with local states. "class states" follows the rounds of several classes: a
class may hold structures that the band of the search could not tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import torch

from resmfn.reconstruction.classes.branch_step import STILL_BEGUN
from resmfn.reconstruction.classes.division import Division, divide, turned
from resmfn.reconstruction.classes.membership import candidates_of_class
from resmfn.reconstruction.classes.new_starts import begin_again
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.phases.rounds import RECHECK_ROUND
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.reconstruction.run.preflight import LEAST_PARTICLES
from resmfn.reconstruction.run.records import Maps
from resmfn.reconstruction.run.state import RunState

SHARES_OF_BAND = 0.35, 0.5, 0.75
"""Of the radius of the last round, in which images are divided, one after the other until both halves find the same: in
fine shells a half may find another way in which images differ, as errors of their poses. 13 residues of 214 that one
state lacks, two sets: with 0.35 differences correlate 0.86 and 0.83, with 0.75 0.48 and 0.07."""
SHARES_OF_CLASS = 0.35, 0.5
"""The same of a class; the second where images are likelier in the first, but the states not needed or not alike: those
of three kinases in one class are needed from 0.5 on only. Also where halves agree and images gain too little: those of
two of eight species gain 0.11 nat in the first, 0.25 in the second."""
DIVIDED_AGREEMENT, NAMED_AGREEMENT = 0.85, 0.75
"""Correlation of the differences that both halves have found in a class, from which on it is divided, and named: 0.92
to 0.99 in five classes of two or three species of 16, 0.81 where three small kinases share one; up to 0.65 in 22
classes of one structure, and 0.74 in another, where images gained 0.67 nat. Nobody asked for states here, so this is
stricter than what is asked of local states."""


def state_step(run: RunContext) -> bool:
    """Divide the images of a refined structure into states; one class is left where they tell no more.

    Say whether that is done: images of one structure at two poses are turned, and go back to the rounds.
    """
    table, found = list[dict[str, float]](), None
    for n_states, share in product(range(run.config.most_classes, 1, -1), SHARES_OF_BAND):
        division = divide(run, n_states, share * run.state.band.radius)
        table.append(_row(division) | {"log_likelihood": division.log_likelihood})
        run.tell("classes", _words(run, division), STILL_BEGUN)
        if division.is_believed:
            found = division
            break
    if _turned(run, [] if found is None else [(run, found)]):
        run.state.phase, run.state.step = "halves", RECHECK_ROUND + 1
        run.state.agreement = run.state.agreement.resting(False)
        return False
    if found is not None:
        likelihood = found.log_likelihood + found.comparison.gain
        table.append({"classes": float(found.n_states), "log_likelihood": likelihood})
    kept = 1 if found is None else found.n_states
    run.state.branching = {"table": table}
    run.state.classes = [_state_of_class(run, found, number) for number in _by_size(found)]
    words = "one state" if found is None else f"{kept} states of one structure"
    run.tell("classes", words, STILL_BEGUN, {"classes": float(kept)})
    return True


def class_state_step(run: RunContext) -> bool:
    """Divide classes that hold two structures, and go back to the rounds; say whether there was none.

    A class is divided in two; what comes of it is asked again after more rounds. Classes that may hold two structures
    and cannot be divided, as there are no more to be or as the halves agree too little on how, are noted.
    """
    state = run.state
    if run.config.local_states:  # divided before
        return True
    if begun := begin_again(run):
        return _back_to_the_rounds(run, begun)
    asked, n_left = state.branching.get("asked once more", []), run.config.most_classes - len(state.classes)
    divisions = {n: None if n in asked else _two_in(run, n) for n in range(len(state.classes))}
    divided = ((_alone(run, number), found) for number, found in divisions.items() if found is not None)
    if _turned(run, divided):
        state.branching["asked once more"] = [number for number, found in divisions.items() if found is None]
        return _back_to_the_rounds(run, all_ask=False)
    parts, mixed = list[tuple[RunState, int, bool]](), list[int]()  # each with its class and whether it was asked
    for number, found in divisions.items():
        of_class = state.classes[number]
        if found is None or not n_left or found.agreement < DIVIDED_AGREEMENT:
            parts.append((of_class, number, found is None))
            mixed += [] if found is None else [number]
        else:
            alone = _alone(run, number)
            parts += [(_state_of_class(alone, found, part), number, False) for part in range(found.n_states)]
            n_left -= 1
    if len(parts) == len(state.classes):
        state.branching["mixed"] = mixed
        return True
    parts.sort(key=lambda part: -float(already_set(part[0].qualities.good).sum()))
    run.tell("classes", f"{len(parts)} classes now", values={"classes": float(len(parts))})
    state.branching["asked once more"] = [number for number, (*_, was_asked) in enumerate(parts) if was_asked]
    state.branching.setdefault("parents", []).append([number for _, number, _ in parts])
    state.classes = [of_class for of_class, *_ in parts]
    state.branching["views asked"] = state.branching["turns asked"] = False
    return _back_to_the_rounds(run)


def _turned(run: RunContext, divisions: Iterable[tuple[RunContext, Division]]) -> bool:
    """Turn images of structures that are divided as they stand at two poses; say whether there was one. Asked once."""
    if run.state.branching.get("turns asked", False):
        return False
    run.state.branching["turns asked"], found_one = True, False
    for alone, division in divisions:
        halves = turned(alone, division)
        if halves is None:
            continue
        alone.keep_poses(halves)
        alone.state.maps = _maps_of_state(alone, division, division.larger)
        share = 1 - float(sum(states.share[division.larger] for states in division.halves)) / len(HALVES)
        words = f"much the same from another side: {share:.0%} of its images turned to the map of the others"
        alone.tell("classes", f"one structure, which looks {words}")
        found_one = True
    return found_one


def _back_to_the_rounds(run: RunContext, begun: Sequence[int] = (), *, all_ask: bool = True) -> bool:
    """Let the rounds go on, those of classes that have begun again from the first; return False, as more is to come.

    Images of all others have been compared with views from everywhere. In the first round all images are compared with
    all classes, unless they need not ask.
    """
    for number, of_class in enumerate(run.state.classes):
        of_class.step = 0 if number in begun else RECHECK_ROUND + 1
        of_class.agreement = of_class.agreement.resting(False)
    run.state.phase, run.state.step = "class halves", 0 if all_ask else RECHECK_ROUND + 1
    return False


def _alone(run: RunContext, number: int) -> RunContext:
    return run.of_class(number, candidates_of_class(run, number))


def _two_in(run: RunContext, number: int) -> Division | None:
    """Return a class as two, in the coarsest band in which it may be divided, else named; None where it is one."""
    alone, state = _alone(run, number), run.state.classes[number]
    shown = [int((already_set(state.qualities.good)[half] >= 0.5).sum()) for half in alone.half_index]
    # At one pose an image, and of noise, nothing can be told; and each of the two has to have its half maps.
    if min(shown) < LEAST_PARTICLES or state.soft.are_on or not already_set(state.tests.structure).is_structure:
        return None
    named = None
    for share in SHARES_OF_CLASS:
        found = divide(alone, 2, share * state.band.radius)
        run.state.branching["table"].append(_row(found, len(run.state.classes)))
        run.tell("classes", f"class {number + 1} of {len(run.state.classes)} as {_words(alone, found)}")
        smaller = min(float(states.share.min()) * n for states, n in zip(found.halves, shown, strict=True))
        if found.is_believed and found.agreement > NAMED_AGREEMENT and 2 * smaller >= LEAST_PARTICLES:
            named = found
        elif not found.is_likelier:  # what came out in the coarser band has no detail: as junk among the images
            named = None
        if named is found and found.agreement > DIVIDED_AGREEMENT:
            break
        if not found.is_likelier and found.agreement <= NAMED_AGREEMENT:  # a finer band would show no more
            break
    return named


def _by_size(found: Division | None) -> list[int]:
    """Return the states, the largest first."""
    if found is None:
        return [0]
    return (found.halves[0].share + found.halves[1].share).argsort(descending=True).tolist()


def _state_of_class(run: RunContext, found: Division | None, number: int) -> RunState:
    """Return what a run of this state alone would know: the poses of all, its own maps and images."""
    state = run.state
    good = state.qualities.good
    good = torch.ones(len(run.particles), device=run.device) if good is None else good.clone()
    if found is not None:
        for index, states in zip(run.half_index, found.halves, strict=True):
            good[index] = good[index] * states.probability[:, number]
    return RunState(
        phase="halves",
        step=RECHECK_ROUND + 1,  # every image has been compared with views from everywhere
        map_size=state.map_size,
        starts=state.starts,
        poses=state.poses,
        qualities=replace(state.qualities, good=good),
        band=state.band,
        maps=state.maps if found is None else _maps_of_state(run, found, number),
        agreement=state.agreement.resting(rests=False),
        soft=state.soft,
        tests=state.tests,
    )


def _maps_of_state(run: RunContext, found: Division, number: int) -> Maps:
    """Return the maps of a structure with the references of one of its states."""
    maps = run.state.maps
    return maps.with_references(
        {
            name: maps.references[name] + resized(states.differences[number], run.map_size)
            for name, states in zip(HALVES, found.halves, strict=True)
        }
    )


def _row(division: Division, n_classes: int = 1) -> dict[str, float]:
    return {
        "classes": float(n_classes),
        "gain": division.comparison.gain,
        "error": division.comparison.error,
        "maps": float(division.n_states),
        "agreement": division.agreement,
    }


def _words(run: RunContext, division: Division) -> str:
    comparison, resolution = division.comparison, run.resolution(division.halves[0].radius)
    better = "likelier" if division.is_likelier else "no likelier"
    spare = "" if division.are_needed or not division.is_likelier else ", but as likely without one of these"
    return (
        f"{division.n_states} states by what is seen to {resolution:.1f} Å: images of the other half are {better} "
        f"({comparison.gain:+.2f} ± {comparison.error:.2f} nat){spare}; the halves' differences correlate "
        f"{division.agreement:.2f}"
    )
