"""The phases of a reconstruction: what each does, which follows which, and where a run enters them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from resmfn.reconstruction.classes.branch_step import branch_step
from resmfn.reconstruction.classes.focus import class_focus_step
from resmfn.reconstruction.classes.rounds import class_halves_step, class_joint_step, class_validate_step
from resmfn.reconstruction.classes.state_step import class_state_step, state_step
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.maps.agreement import farthest_next
from resmfn.reconstruction.phases.annealing import FOCUS_STAGE
from resmfn.reconstruction.phases.control import control_step
from resmfn.reconstruction.phases.focus import focus_step
from resmfn.reconstruction.phases.halves import halves_step, validate_step
from resmfn.reconstruction.phases.joint import joint_step
from resmfn.reconstruction.phases.reference import EDGE, read_reference
from resmfn.reconstruction.phases.starts import search_step
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.run.context import RunContext
from resmfn.reconstruction.run.records import PoseEstimates, Starts


class Phase(NamedTuple):
    """A phase of a run."""

    step: Callable[[RunContext], bool]
    """Does one step, after which the state is complete and saved; returns whether it was the phase's last."""
    then: str
    """The phase that follows."""


PHASES = {
    "search": Phase(search_step, then="control"),
    "control": Phase(control_step, then="focus"),
    "focus": Phase(focus_step, then="halves"),
    "halves": Phase(halves_step, then="validate"),
    "validate": Phase(validate_step, then="joint"),
    "joint": Phase(joint_step, then="done"),
    # of several classes
    "classes": Phase(branch_step, then="class focus"),
    "class focus": Phase(class_focus_step, then="class halves"),
    # of several states of one structure, which is refined as one first: "states" follows its "halves"
    "states": Phase(state_step, then="class halves"),
    "class halves": Phase(class_halves_step, then="class states"),
    "class states": Phase(class_state_step, then="class validate"),  # or back to "class halves"
    "class validate": Phase(class_validate_step, then="class joint"),
    "class joint": Phase(class_joint_step, then="done"),
}
"""In their order; "done" is the end."""


def take_step(run: RunContext) -> None:
    """Do one step of the phase that the run is in, and go to the next phase where it was the last."""
    phase = PHASES[run.state.phase]
    if phase.step(run):
        divides = run.state.phase == "halves" and run.config.local_states
        run.state.phase, run.state.step = "states" if divides else phase.then, 0


def enter_first_phase(run: RunContext) -> None:
    """Go to the first phase that the settings need."""
    state = run.state
    if run.config.n_classes != 1 and not run.config.local_states:
        state.phase = "classes"
    elif run.config.poses != "unknown":
        rotation, shift = run.particles.require_poses()
        state.poses = PoseEstimates(
            best=Poses(rotation.float().to(run.device), shift.float().to(run.device)),
            max_probability=torch.ones(len(run.particles), device=run.device),
            entropy=torch.zeros(len(run.particles), device=run.device),
        )
        state.phase = "control"
    elif run.config.reference is not None:
        volume, radius = read_reference(run)
        state.starts = Starts(best=volume, radius=radius)
        state.phase = "control"


def first_radius(config: ReconstructionConfig, box: WorkingBox) -> float:
    """Return the largest frequency, in Fourier pixels, that a run's phases use up to the first round, that included."""
    if config.poses == "fixed":
        return math.inf  # all rounds go as far as the images do
    searched = FOCUS_STAGE.cycles * box.box_size / (2 * box.mask_radius(config.mask_diameter))
    given = 0.0 if config.reference is None else box.side / config.ini_high + EDGE
    return max(farthest_next(searched), given)
