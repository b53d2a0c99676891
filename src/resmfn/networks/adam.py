"""Adam (Kingma and Ba, ICLR 2015) for a few tensors: to the last bit what ``torch.optim.Adam`` does on a CPU.

Importing and stepping that one loads torch's compiler, which takes longer than the start of a small run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.99), 1e-8  # second beta below the usual 0.999; no comparison recorded


class Adam:
    """Steps of parameters along their gradients, which are taken from and left in ``grad``."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.n_steps = 0
        self._mean = [torch.zeros_like(p) for p in self.parameters]
        self._square = [torch.zeros_like(p) for p in self.parameters]

    def forget_gradients(self) -> None:
        """Let the next backward pass begin with nothing."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move all parameters; each must have a gradient."""
        self.n_steps += 1
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        first, second = (1 - beta**self.n_steps for beta in BETAS)
        torch._foreach_lerp_(self._mean, gradients, 1 - BETAS[0])
        torch._foreach_mul_(self._square, BETAS[1])
        torch._foreach_addcmul_(self._square, gradients, gradients, 1 - BETAS[1])
        scale = torch._foreach_sqrt(self._square)
        torch._foreach_div_(scale, second**0.5)
        torch._foreach_add_(scale, EPSILON)
        torch._foreach_addcdiv_(self.parameters, self._mean, scale, -rate / first)
