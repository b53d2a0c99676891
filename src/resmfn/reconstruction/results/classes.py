"""What a run with several classes leaves: a run folder of each class, and all images with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from resmfn.data import write_particles
from resmfn.data.runs.chimerax import write_chimerax_view
from resmfn.data.runs.file_names import PARTICLES, SUMMARY
from resmfn.data.runs.result_files import recorded_results
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction.classes.membership import LEAST_PROBABILITY, class_probabilities, members_of_classes
from resmfn.reconstruction.results.class_warnings import class_warnings
from resmfn.reconstruction.results.hand import flipped_rotation
from resmfn.reconstruction.results.outputs import half_set_of_image, list_bad_images, run_figures, write_results
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.reconstruction.run.progress_files import PREVIEW

EMPTY: dict[str, object] = {
    "n_particles": 0,
    "resolution_half_0143": None,
    "structure_found": False,
    "resolved": False,
    "verdict": "empty: no image shows this class likelier than the others",
}
"""What is said of a class that has lost its images."""


def write_classes(folder: RunFolder, run: RunContext) -> dict[str, object]:
    """Write a folder of each class, all images with their classes, and the summary, which is returned."""
    run, numbers = by_size(run)
    probability, of_image = class_probabilities(run).max(dim=0)
    members, summaries, rows = members_of_classes(run), [], folder.metrics()
    for number, mine in enumerate(members):
        name = f"class{number + 1}"
        run.tell("results", f"{name}: {len(mine)} images", 0.99)
        if len(mine) == 0:
            summaries.append({"folder": name, "share": 0.0, **EMPTY})
            continue
        settings = replace(
            run.config, out=folder.path / name, n_classes=1, local_states=False, overwrite=True, resume=False
        )
        with RunFolder(settings) as of_class:
            of_class.begin()
            for row in rounds_of_class(rows, run.state.branching.get("parents", []), numbers[number]):
                of_class.record(**{name: value for name, value in row.items() if name != "class"})
            with recorded_results(of_class):
                summary = write_results(of_class, _class_alone(run, number, mine))
        summaries.append({"folder": name, "share": round(len(mine) / len(of_image), 4), **summary})
    bad = (probability < LEAST_PROBABILITY) | (probability_of_structure(run) < LEAST_PROBABILITY)
    _write_all_images(folder, run, of_image, probability, bad)
    summary = _summary(run, summaries, int(bad.sum()))
    summary["warnings"] = [*run.particles.remarks.notes, *class_warnings(run, members)]
    folder.write_json(SUMMARY, summary)
    write_chimerax_view(folder.path)
    (folder.path / PREVIEW).unlink(missing_ok=True)
    return summary


def by_size(run: RunContext) -> tuple[RunContext, list[int]]:
    """Return the run with its largest class first, and the number that each class had in the rounds, from 0."""
    sizes = [len(mine) for mine in members_of_classes(run)]
    order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
    if order == sorted(order):
        return run, order
    run.tell("results", "classes by size now: " + ", ".join(f"{i + 1} was {n + 1}" for i, n in enumerate(order)), 0.99)
    branching, columns = dict(run.state.branching), torch.tensor(order)
    branching["mixed"] = sorted(order.index(number) for number in branching.get("mixed", []))
    branching["flow"] = [
        torch.tensor(flow)[columns][:, columns].tolist() if len(flow) == len(order) else flow
        for flow in branching.get("flow", [])
    ]
    again = copy(run)
    again.state = replace(run.state, classes=[run.state.classes[number] for number in order], branching=branching)
    return again, order


def rounds_of_class(rows: list[dict[str, Any]], parents: Sequence[Sequence[int]], number: int) -> list[dict[str, Any]]:
    """Return the rows of metrics of a class, and before it was divided from another, of that one.

    Parameters
    ----------
    rows
        Of the whole run: those of a class have its number, from 1, in "class"; where classes were divided, a row
        with "classes" stands between.
    parents
        For each division the class, from 0, that each class after it was or was divided from.
    number
        Of the class in the last rounds, from 0.
    """
    parts: list[list[dict[str, Any]]] = [[]]
    for row in rows:
        if "classes" in row:
            parts.append([])
        elif "class" in row:
            parts[-1].append(row)
    found: list[dict[str, Any]] = []
    for part, before in zip(reversed(parts), [*reversed(parents), None], strict=False):
        found = [row for row in part if row["class"] == number + 1] + found
        number = number if before is None else before[number]
    return found


def probability_of_structure(run: RunContext) -> Tensor:
    """Return the probability (n,) of each image to show a particle: of any class, but those that show noise alone."""
    controls = [already_set(state.tests.structure) for state in run.state.classes]
    shown = [number for number, control in enumerate(controls) if control.is_structure] or range(len(controls))
    return class_probabilities(run)[list(shown)].sum(dim=0)


def _class_alone(run: RunContext, number: int, mine: Tensor) -> RunContext:
    """Return a class as a finished run of its own images ``mine`` (m,) alone."""
    alone = run.of_class(number, mine)
    alone.state = replace(
        alone.state,
        poses=alone.state.poses.select(mine),
        qualities=alone.state.qualities.select(mine),
        costs=run.state.costs,
    )
    alone.particles = run.particles.select(mine.cpu())
    alone.observations = copy(run.observations)
    alone.observations.gain = run.observations.gain[mine]
    first, second = (torch.isin(mine, half).nonzero()[:, 0] for half in run.half_index)
    alone.index, alone.half_index = torch.arange(len(mine), device=run.device), (first, second)
    return alone


def _write_all_images(folder: RunFolder, run: RunContext, of_image: Tensor, probability: Tensor, bad: Tensor) -> None:
    """Write particles.star: every image at the pose of its likeliest class, with that class and its probability."""
    everyone = torch.arange(len(of_image), device=of_image.device)
    states = run.state.classes
    rotation = torch.stack([already_set(state.poses.best).rotation for state in states])[of_image, everyone]
    shift = torch.stack([already_set(state.poses.best).shift for state in states])[of_image, everyone]
    if run.config.flip_hand:
        rotation = flipped_rotation(rotation)
    of_any, good = class_probabilities(run).sum(dim=0), probability_of_structure(run)
    columns = {
        "rlnRandomSubset": half_set_of_image(run),
        "rlnClassNumber": of_image.cpu() + 1,
        "rlnClassProbability": (probability / of_any.clamp_min(1e-12)).double().cpu(),
        "rlnParticleFigureOfMerit": good.double().cpu(),
    }
    particles = run.particles.with_poses(rotation.double().cpu(), shift.double().cpu()).with_columns(columns)
    write_particles(folder.path / PARTICLES, particles)
    list_bad_images(folder, run, good, bad)


def _summary(run: RunContext, summaries: list[dict[str, object]], n_bad: int) -> dict[str, object]:
    found = [of_class for of_class in summaries if of_class["structure_found"]]
    resolutions = [
        "-" if of_class["resolution_half_0143"] is None else f"{of_class['resolution_half_0143']:.2f} Å"
        for of_class in summaries
    ]
    n_classes, asked = len(summaries), run.config.n_classes
    verdict = f"{n_classes} class{'es' if n_classes > 1 else ''}: half maps agree to {', '.join(resolutions)}"
    if asked not in ("auto", n_classes):
        verdict += f"; {asked} were allowed, and images left out do not tell more than {n_classes}"
    if n_bad:
        verdict += f"; {n_bad} of {len(run.particles)} images belong to no class (bad_particles.txt)"
    return {
        "n_classes": n_classes,
        "n_classes_asked": asked,
        "n_particles": len(run.particles),
        "n_bad": n_bad,
        "structure_found": bool(found),
        "resolved": bool(found) and all(bool(of_class["resolved"]) for of_class in found),
        "classes": [
            {
                name: of_class[name]
                for name in (
                    "folder",
                    "n_particles",
                    "share",
                    "resolution_half_0143",
                    "structure_found",
                    "resolved",
                    "verdict",
                )
            }
            for of_class in summaries
        ],
        "branching": run.state.branching["table"],
        "class_flow": run.state.branching.get("flow", []),
        **run_figures(run),
        "verdict": verdict,
    }
