"""State of a reconstruction: the content of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor


@dataclass
class RunState:
    """Plain values and tensors; on the CPU when saved."""

    phase: str = "search"
    step: int = 0
    """Steps of the phase that are done."""
    log_likelihoods: list[float] = field(default_factory=list)
    """Mean log marginal likelihood of an image, for each start."""
    start_maps: list[Tensor] = field(default_factory=list)
    """(M, M, M): the coarse map of each start."""
    start_agreement: list[float] = field(default_factory=list)
    """Correlation of each start's map with the best one's."""
    control: dict[str, float | bool] = field(default_factory=dict)
    """What images left out say of the coarse map: the fields of NoiseControl, and is_structure."""
    map_size: int = 0
    """Voxels a side of the box that the run has reached; 0 before it has begun."""
    coarse: Tensor | None = None
    """(M, M, M): map of the best start, then of the focus."""
    radius: float = 0.0
    """Fourier pixels of the last step."""
    split_radius: float = 0.0
    """Radius of the last map that all images made together."""
    rotation: Tensor | None = None
    """(n, 3, 3)."""
    shift: Tensor | None = None
    """(n, 2), Å."""
    candidate_rotation: Tensor | None = None
    """(n, K, 3, 3): other peaks of the exhaustive pass."""
    candidate_shift: Tensor | None = None
    """(n, K, 2), Å."""
    max_probability: Tensor | None = None
    """(n,): of a single point of the exhaustive pass."""
    pose_entropy: Tensor | None = None
    """(n,): nat, of the exhaustive pass's posterior."""
    noise_power: Tensor | None = None
    """(groups, shells): of each optics group."""
    gain: Tensor | None = None
    """(n,): strength of each image's signal; None before it is estimated."""
    good: Tensor | None = None
    """(n,): probability of each image to show the molecule; None before it is estimated."""
    copy_shares: Tensor | None = None
    """(n, m): how likely each image shows each symmetric copy of its pose, where the symmetry is relaxed."""
    copy_test: dict[str, Any] = field(default_factory=dict)
    """What images left out say of the map's symmetry: the fields of CopyTest, and are_told_apart."""
    soft: bool = False
    """Whether rounds sum images over all poses rather than insert them at the best one."""
    soft_priors: dict[str, Tensor] = field(default_factory=dict)
    """(shells,): penalty of each map in soft rounds, on the grid of ``radius``."""
    fsc: Tensor | None = None
    """(shells,): of the half maps of the last round."""
    resolutions: list[float] = field(default_factory=list)
    """Å, where the half maps of each round fell below 0.143."""
    rounds_at_rest: int = 0
    """Rounds of the halves, up to the last one, in which nothing moved."""
    networks: dict[str, Any] = field(default_factory=dict)
    """States of the networks: common, half1, half2, joint."""
    references: dict[str, Tensor] = field(default_factory=dict)
    """(B, B, B): masked maps of half1, half2 and joint, in the box that the run has reached."""
    unmasked: dict[str, Tensor] = field(default_factory=dict)
    """(B, B, B): of half1 and half2, solved without network and mask."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes."""
    peak_gpu_memory: int = 0
    """Bytes."""
    n_metrics: int = 0
    """Lines of metrics that belong to this state."""
    classes: list[RunState] = field(default_factory=list)
    """Of a run with several classes: what is known of each. Their ``good`` is the probability to show that class."""
    branching: dict[str, Any] = field(default_factory=dict)
    """Classes so far, and what was tried: classes/branch_step.py."""
    input: dict[str, Any] = field(default_factory=dict)
    """What the run was begun with: run/input_digest.py."""

    def to_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores."""
        values = {f.name: _move(getattr(self, f.name), torch.device("cpu")) for f in fields(self)}
        return values | {"classes": [of_class.to_dict() for of_class in self.classes]}

    @classmethod
    def from_dict(cls, values: dict[str, Any], device: torch.device) -> RunState:
        """Rebuild from :meth:`to_dict`, tensors on a device."""
        classes = [cls.from_dict(of_class, device) for of_class in values.get("classes", [])]
        return cls(**{k: _move(v, device) for k, v in values.items()} | {"classes": classes})


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [_move(v, device) for v in value]
    if isinstance(value, dict):
        return {k: _move(v, device) for k, v in value.items()}
    return value
