"""Training of a stack of networks, coarse to fine: full-batch Adam on points that never change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resmfn.core.captured_step import CapturedStep
from resmfn.core.errors import ShapeError
from resmfn.fitting.config import LearningRateSchedule
from resmfn.fitting.network_stack import NetworkStack
from resmfn.networks import Variant

CHUNK_NUMBERS = {"cpu": 2**19, "cuda": 2**28}
"""Numbers in one layer's features that are worked on at a time: what stays in a CPU's cache, what fits on a GPU."""
CACHE_NUMBERS = {"cpu": 2**29, "cuda": 2**32}
"""Filter values that are kept, 2 and 17 GB in single precision; beyond that they are computed in every step."""
SETTLING_SHARE = 0.03
"""Share of the epochs over which the learning rate decays, so that Adam converges. No comparison recorded."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Which scales train when, and how fast."""

    variant: Variant
    starts: tuple[int, ...]
    """Epoch at which each scale is added, coarse to fine."""
    epochs: int
    lr: float = 5e-3
    lr_schedule: LearningRateSchedule = "constant"

    def active_scales(self, epoch: int) -> int:
        """Count the scales that train in an epoch."""
        return sum(start <= epoch for start in self.starts)

    def learning_rate(self, epoch: int) -> float:
        """Step size of Adam in an epoch."""
        fall = {"constant": 0.0, "settle": SETTLING_SHARE, "cosine": 1.0}[self.lr_schedule] * self.epochs
        done = epoch - (self.epochs - fall)  # of the epochs in which it falls
        return self.lr * (1 + math.cos(math.pi * done / fall)) / 2 if done > 0 else self.lr


class Trainer:
    """Fits each network of a stack to its own values at common points.

    Each epoch is one Adam step on all points. The loss of a network is the mean squared error of its finest active
    scale, or the sum over its active scales (``Variant.loss``). The frozen filters are evaluated once for as many
    scales as are active; finer scales cost nothing yet. On a GPU the step is captured as a CUDA graph.

    Parameters
    ----------
    stack
        The networks.
    coords
        (P, dim), in boxes.
    values
        (B, P, out_dim), what each network is to give at the points.
    plan
        The schedule.
    compile_backend
        Name of a ``torch.compile`` backend for the loss; None runs it as it is.
    captured
        Capture the step as a CUDA graph; a CPU never does.
    chunk_numbers
        Largest B * P * hidden_dim worked on at a time; None is what suits the device.
    """

    def __init__(
        self,
        stack: NetworkStack,
        coords: Tensor,
        values: Tensor,
        plan: TrainingPlan,
        *,
        compile_backend: str | None = None,
        chunk_numbers: int | None = None,
        captured: bool = True,
    ) -> None:
        if values.shape != (len(stack), len(coords), stack.config.out_dim):
            raise ShapeError(
                f"values must have shape {(len(stack), len(coords), stack.config.out_dim)}, got {tuple(values.shape)}"
            )
        self.stack, self.plan, self.epoch = stack, plan, 0
        self._n_values = values[0].numel()
        width = len(stack) * stack.config.hidden_dim
        points = max(1, (chunk_numbers or CHUNK_NUMBERS[coords.device.type]) // width)
        self._coords = coords.split(points)
        self._values = [v.contiguous() for v in values.split(points, dim=1)]
        self._keeps_cache = width * len(coords) * (stack.config.n_scales + 1) <= CACHE_NUMBERS[coords.device.type]
        self._caches: list[list[Tensor]] | None = None
        self._on_gpu = coords.device.type == "cuda"
        rate: float | Tensor = torch.tensor(plan.lr, device=coords.device) if self._on_gpu else plan.lr
        self.optimizer = torch.optim.Adam(stack.parameters(), lr=rate, fused=True, capturable=self._on_gpu)
        self._loss: Callable[..., Tensor] = self._chunk_loss
        if compile_backend is not None:
            self._loss = torch.compile(self._chunk_loss, backend=compile_backend)
        self._captured = captured and self._on_gpu
        self._n_active = 0
        self._step: Callable[[], None] = self._eager_step

    def advance(self, n_epochs: int) -> None:
        """Run that many more epochs."""
        for _ in range(n_epochs):
            if self._n_active != self.plan.active_scales(self.epoch):
                self._activate(self.plan.active_scales(self.epoch))
            self._set_learning_rate(self.plan.learning_rate(self.epoch))
            self._step()
            self.epoch += 1

    def state(self) -> dict[str, Any]:
        """Give what :meth:`load_state` needs to go on with the same numbers; tensors on the CPU."""
        optimizer = self.optimizer.state_dict()["state"]
        moments = {i: {k: v.cpu().clone() for k, v in entry.items()} for i, entry in optimizer.items()}
        return {"epoch": self.epoch, "weights": self.stack.state(), "moments": moments}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a :meth:`state`."""
        self.epoch = state["epoch"]
        self.stack.load_state(state["weights"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})

    def _activate(self, n_active: int) -> None:
        """Train that many scales from now on."""
        self._n_active = n_active
        self._caches = None
        if self._keeps_cache:
            self._caches = [self.stack.filter_cache(c, n_active) for c in self._coords]
        self._step = CapturedStep(self._eager_step) if self._captured else self._eager_step

    def _set_learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in place: a captured step reads it there
            else:
                group["lr"] = rate

    def _eager_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        for i, (coords, values) in enumerate(zip(self._coords, self._values, strict=True)):
            cache = self._caches[i] if self._caches else self.stack.filter_cache(coords, self._n_active)
            self._loss(cache, values, self._n_active).backward()
        self.optimizer.step()

    def _chunk_loss(self, cache: list[Tensor], values: Tensor, n_active: int) -> Tensor:
        """Share of some points in the loss, summed over networks (each sees its own alone) and over scales."""
        variant = self.plan.variant
        outputs = self.stack.outputs(
            cache, n_active, detach_finished=variant.detach_finished, last_only=variant.loss == "current"
        )
        return torch.stack([(y - values).square().sum() for y in outputs]).sum() / self._n_values
