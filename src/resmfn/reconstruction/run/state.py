"""State of a reconstruction: where a run is, the records that its phases have given, and their form in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast, get_args, get_type_hints

import torch
from torch import Tensor

from resmfn.reconstruction.run.bookkeeping import Costs
from resmfn.reconstruction.run.held_out import HeldOutTests
from resmfn.reconstruction.run.records import (
    Agreement,
    Band,
    Defocus,
    ImageQualities,
    Maps,
    PoseEstimates,
    SoftRounds,
    Starts,
)

STATE_FORMAT = 5
"""Of what :meth:`RunState.to_dict` returns; goes up when a field of the state or of a record comes, goes or changes."""


@dataclass
class RunState:
    """Where a run is, and what it knows: frozen records of plain values and tensors, which phases replace."""

    phase: str = "search"
    step: int = 0
    """Steps of the phase that are done."""
    map_size: int = 0
    """Voxels a side of the box that the run has reached; 0 before it has begun."""
    starts: Starts = field(default_factory=Starts)
    poses: PoseEstimates = field(default_factory=PoseEstimates)
    qualities: ImageQualities = field(default_factory=ImageQualities)
    defocus: Defocus = field(default_factory=Defocus)
    band: Band = field(default_factory=Band)
    maps: Maps = field(default_factory=Maps)
    agreement: Agreement = field(default_factory=Agreement)
    soft: SoftRounds = field(default_factory=SoftRounds)
    tests: HeldOutTests = field(default_factory=HeldOutTests)
    costs: Costs = field(default_factory=Costs)
    n_metrics: int = 0
    """Lines of metrics that belong to this state."""
    classes: list[RunState] = field(default_factory=list)
    """Of a run with several classes: what is known of each."""
    branching: dict[str, Any] = field(default_factory=dict)
    """Classes so far, and what was tried: classes/branch_step.py."""
    input: dict[str, Any] = field(default_factory=dict)
    """What the run was begun with: run/input_digest.py."""

    format = STATE_FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores: records as dictionaries, tensors on the CPU."""
        return cast("dict[str, Any]", _plain(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any], device: torch.device) -> RunState:
        """Rebuild from :meth:`to_dict`, tensors on a device."""
        return cast("RunState", _rebuilt(cls, values, device))


def _plain(value: Any) -> Any:
    """Return records as dictionaries, all the way down."""
    if isinstance(value, Tensor):
        return value.cpu()
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return type(value)(_plain(v) for v in value) if isinstance(value, list | tuple) else value


def _rebuilt(kind: Any, value: Any, device: torch.device) -> Any:
    """Return what :func:`_plain` made a dictionary of, by the type that its field has."""
    if isinstance(value, Tensor):
        return value.to(device)
    record = _record_in(kind)
    if isinstance(value, dict) and record is not None:
        kinds = get_type_hints(record)
        return record(**{name: _rebuilt(kinds[name], v, device) for name, v in value.items()})
    if isinstance(value, dict):
        return {k: _rebuilt(None, v, device) for k, v in value.items()}
    return type(value)(_rebuilt(kind, v, device) for v in value) if isinstance(value, list | tuple) else value


def _record_in(kind: Any) -> Any:
    """Return the record that a type is, may be, or lists; None for plain values."""
    if is_dataclass(kind):
        return kind
    return next((found for found in map(_record_in, get_args(kind)) if found is not None), None)
