"""What a run of several classes leaves: classes by size, each with the rounds that it had under other numbers."""

from dataclasses import replace
from pathlib import Path

import torch

from reconstruction.conftest import build_context
from resmfn.reconstruction.classes.membership import class_probabilities
from resmfn.reconstruction.results.classes import by_size, rounds_of_class
from resmfn.reconstruction.run.context import RunContext
from resmfn.reconstruction.run.held_out import HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import ImageQualities

N = 160


def run_with_classes(particles: Path, folder: Path, *sizes: int) -> RunContext:
    """Return a run whose images belong to classes of some sizes, one after the other."""
    run = build_context(particles, folder, n_classes=4)
    of_image = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    tests = HeldOutTests(structure=NoiseControl(100, 5.0, 0.1, 5.0, 0.1))
    run.state.classes = [
        replace(run.state, qualities=ImageQualities(good=(of_image == number).float()), tests=tests)
        for number in range(len(sizes))
    ]
    return run


def test_classes_are_numbered_by_size_and_all_that_names_them_follows(small_files: Path, tmp_path: Path) -> None:
    run = run_with_classes(small_files, tmp_path, 30, 80, 50)
    before = list(run.state.classes)
    flow = [[30, 0, 0], [1, 79, 0], [2, 0, 48]]
    run.state.branching = {"mixed": [0], "flow": [[[160]], flow]}
    again, numbers = by_size(run)
    assert numbers == [1, 2, 0]
    assert again.state.classes == [before[1], before[2], before[0]]
    assert torch.bincount(class_probabilities(again).argmax(dim=0)).tolist() == [80, 50, 30]
    assert again.state.branching["mixed"] == [2]  # the first, which is the last now
    assert again.state.branching["flow"] == [[[160]], [[79, 0, 1], [0, 48, 2], [0, 0, 30]]]
    assert run.state.classes == before  # what a checkpoint holds stays
    assert by_size(again) == (again, [0, 1, 2])


def test_a_class_has_the_rounds_of_the_one_that_it_was_divided_from() -> None:
    rows = [
        {"classes": 2.0},
        {"class": 1, "round": 1.0, "is": "a"},
        {"class": 2, "round": 1.0, "is": "b"},
        {"changed_class": 3.0},
        {"classes": 3.0},
        {"class": 1, "round": 2.0, "is": "b"},
        {"class": 2, "round": 2.0, "is": "a1"},
        {"class": 3, "round": 2.0, "is": "a2"},
    ]
    of_each = [[row["is"] for row in rounds_of_class(rows, [[1, 0, 0]], number)] for number in range(3)]
    assert of_each == [["b", "b"], ["a", "a1"], ["a", "a2"]]
    assert [row["is"] for row in rounds_of_class(rows[:3], [], 1)] == ["b"]  # nothing was divided
