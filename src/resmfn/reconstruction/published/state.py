"""State of a run of the published preset after an epoch: the content of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from resmfn.reconstruction.run.bookkeeping import Costs

PUBLISHED_FORMAT = 2
"""Of what :meth:`PublishedState.to_dict` returns; goes up when a field comes, goes or changes."""


@dataclass
class PublishedState:
    """Plain values and tensors; on the CPU when saved."""

    epoch: int = 0
    """Epochs that are done."""
    rotation: Tensor | None = None
    """(n, 3, 3)."""
    network: dict[str, Any] = field(default_factory=dict)
    """The network."""
    optimizer: dict[str, Any] = field(default_factory=dict)
    """The network's optimizer."""
    sums_values: Tensor | None = None
    """(M, M, M): images inserted at their poses, running over the last epoch's worth of them."""
    sums_weights: Tensor | None = None
    """(M, M, M): the same of their CTF squared."""
    costs: Costs = field(default_factory=Costs)
    epoch_seconds: float = 0.0
    """Of the fit itself: reading, maps and scores not counted."""
    epoch_cpu_seconds: float = 0.0
    n_metrics: int = 0
    """Number of lines of metrics.jsonl that belong to this state."""
    input: dict[str, Any] = field(default_factory=dict)
    """What the run was begun with: a digest of each file."""

    format = PUBLISHED_FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        values = {f.name: _to_cpu(getattr(self, f.name)) for f in fields(self)}
        return values | {"costs": asdict(self.costs)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PublishedState:
        """Restore from :meth:`to_dict`; tensors stay on the CPU."""
        return cls(**values | {"costs": Costs(**values["costs"])})


def _to_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(torch.device("cpu"), copy=True)
    if isinstance(value, dict):
        return {k: _to_cpu(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_to_cpu(v) for v in value]
    return value
