"""When the rounds of all images together end."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from resmfn.reconstruction.classes import rounds as class_rounds
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases import halves
from resmfn.reconstruction.phases.joint import JointRound, ends_joint_rounds
from resmfn.reconstruction.phases.rounds import UNMOVED, RoundPlan
from resmfn.reconstruction.run.records import Defocus

SETTLED = halves.SETTLED_ROTATION


def moved_by(degrees: float, *, iterations: int = 3, **more: object) -> JointRound:
    """Return a round that has turned poses by so much."""
    return JointRound(RoundPlan(5.0, iterations), None, replace(UNMOVED, pose_change=degrees), **more)


def test_joint_rounds_end_when_poses_rest_and_no_later_than_they_must(context) -> None:
    run = context()
    run.state.phase, run.state.step = "joint", 1
    assert ends_joint_rounds(run, moved_by(0.9 * SETTLED))
    assert not ends_joint_rounds(run, moved_by(1.1 * SETTLED))
    run.state.step = halves.JOINT_ROUNDS - 1
    assert ends_joint_rounds(run, moved_by(90.0))


def test_rounds_that_move_no_pose_say_nothing_of_rest(context) -> None:
    """The first, whose map learns what the halves know, and rounds summed over all poses."""
    run = context()
    run.state.phase, run.state.step = "joint", 0
    assert not ends_joint_rounds(run, moved_by(0.0, iterations=0))
    run.state.step = 1
    assert not ends_joint_rounds(run, moved_by(0.0, soft_sums=object()))


@pytest.mark.parametrize("still_moves", [False, True])
def test_a_defocus_that_still_moves_is_waited_for(context, still_moves: bool) -> None:
    run = context(refine_defocus=True)
    change = (1.1 if still_moves else 0.9) * halves.SETTLED_DEFOCUS
    run.state.phase, run.state.step, run.state.defocus = "joint", 1, Defocus(change=change)
    assert ends_joint_rounds(run, moved_by(0.0)) is not still_moves


@pytest.mark.parametrize(
    ("settled", "n_changed", "step"),
    [((True, True), 0, 1), ((True, False), 0, 1), ((False, False), 0, 1), ((True, True), 2, 1), ((False, True), 9, 3)],
)
def test_the_joint_rounds_of_all_classes_end_together(
    monkeypatch, settled: tuple[bool, bool], n_changed: int, step: int
) -> None:
    """When poses of all rest and few of the 100 images change class, and no later than they must."""
    run = SimpleNamespace(config=SimpleNamespace(local_states=False), state=SimpleNamespace(step=step))
    ends = (all(settled) and n_changed == 0) or step == halves.JOINT_ROUNDS - 1
    classes = iter((torch.zeros(100), (torch.arange(100) < n_changed).float()))
    monkeypatch.setattr(
        class_rounds, "class_probabilities", lambda _: torch.stack((0.5 + 0 * torch.arange(100), next(classes)))
    )
    monkeypatch.setattr(class_rounds, "has_all_rounds", lambda _: step == halves.JOINT_ROUNDS - 1)
    ended: list[tuple[int, bool]] = []
    monkeypatch.setattr(class_rounds, "_runs", lambda *_: [0, 1])
    monkeypatch.setattr(class_rounds, "begin_joint", lambda number: moved_by(float(number)))
    monkeypatch.setattr(class_rounds, "ends_joint_rounds", lambda number, _: settled[number])
    monkeypatch.setattr(
        class_rounds, "end_joint", lambda number, _, *, is_last, **_more: ended.append((number, is_last))
    )
    assert class_rounds.class_joint_step(run) is ends
    assert ended == [(0, ends), (1, ends)]
    assert run.state.step == step + 1


def test_a_run_whose_poses_rest_has_its_network_in_the_round_that_ended_it(context, monkeypatch) -> None:
    """The phase that follows finds the network of all images, however many rounds there were."""
    run = context(poses="from-input")
    enter_first_phase(run)
    monkeypatch.setattr("resmfn.reconstruction.phases.joint.SETTLED_ROTATION", 180.0)
    while run.state.phase != "joint":
        take_step(run)
    steps = 0
    while run.state.phase == "joint":
        take_step(run)
        steps += 1
    assert steps == 2
    assert "joint" in run.state.maps.networks
