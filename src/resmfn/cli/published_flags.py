"""Flags of ``resmfn reconstruct --preset published``, and which flags exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Argument, ArgumentCollection, CycloptsError, Group, Parameter

PRESET = "--preset"
_GROUP_NAME = "Published preset"


def refuse_flags_of_the_other_preset(arguments: ArgumentCollection) -> None:
    """Raise where a flag was given that the chosen preset does not have.

    Raises
    ------
    cyclopts.CycloptsError
        Names the flag.
    """
    given = {argument.name: argument for argument in arguments if argument.tokens}
    preset = given.pop(PRESET, None)
    published = preset is not None and preset.value == "published"
    for name, argument in given.items():
        theirs = _GROUP_NAME in _group_names(argument)
        if theirs != published:
            need = "needs" if theirs else "cannot go with"
            raise CycloptsError(msg=f"{name} {need} --preset published.")


def _group_names(argument: Argument) -> list[str]:
    groups: Any = argument.parameter.group or ()
    return [group.name for group in groups]


CHECK = Group("preset check", show=False, validator=refuse_flags_of_the_other_preset)
"""Group of --preset and of every flag that belongs to one preset only."""


@Parameter(name="*", group=(Group.create_ordered(_GROUP_NAME), CHECK))
@dataclass(frozen=True, kw_only=True)
class PublishedFlags:
    """Flags of the published script and values that it hard-codes; names and defaults are those of the settings."""

    init_from_truth: Annotated[
        str | None,
        Parameter(help="Start from the TRUE poses, perturbed by these degrees: 45,90 as published [default: random]."),
    ] = None
    volume: Annotated[
        Path | None,
        Parameter(help="Map that the images were simulated from [default: volume.mrc in the parent folder]."),
    ] = None
    epochs: Annotated[int, Parameter(help="Passes over all images.")] = 100
    stages: Annotated[str, Parameter(help="Epochs at which scales 2, 3, ... are added; 15,30 for 1OL5.")] = "25,50"
    batch_size: Annotated[int, Parameter(help="Images per batch.")] = 600
    variant: Annotated[
        Literal["residual-mfn", "staged-residual", "staged-fair", "staged", "vanilla"],
        Parameter(help="Network and loss; staged is BACON, coarse to fine."),
    ] = "residual-mfn"
    heads: Annotated[
        Literal["relu", "linear"], Parameter(help="Density: ReLU of the output, as published, or the output.")
    ] = "relu"
    bacon_lr: Annotated[float, Parameter(help="Learning rate of the network (Adam).")] = 1e-3
    bacon_iter: Annotated[int, Parameter(help="Network steps per batch.")] = 5
    bacon_hidden_dim: Annotated[int, Parameter(help="Width of the network.")] = 128
    bacon_hidden_layers: Annotated[int, Parameter(help="Number of scales of the network.")] = 3
    pose_lr: Annotated[float, Parameter(help="Learning rate of the poses (Adam), radians.")] = 1e-2
    pose_beta1: Annotated[float, Parameter(help="Adam's beta1 for the poses.")] = 0.9
    pose_beta2: Annotated[float, Parameter(help="Adam's beta2 for the poses.")] = 0.9
    pose_lr_decay: Annotated[float, Parameter(help="Factor applied to --pose-lr after each epoch.")] = 1.0
    pose_iter: Annotated[int, Parameter(help="Pose steps per batch.")] = 20
    warm_up: Annotated[int, Parameter(help="Network steps before the first pose step; 0 as published.")] = 200
    pose_searches: Annotated[
        int, Parameter(help="Most comparisons with the whole sphere of poses, by scale 2; 0 as published.")
    ] = 20
    transpose_ctf: Annotated[
        bool, Parameter(negative="", help="Swap x and y in the CTF, as the published code does.")
    ] = False
    save_every: Annotated[int, Parameter(help="Epochs between saved maps of all scales.")] = 1
