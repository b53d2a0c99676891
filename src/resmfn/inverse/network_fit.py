"""A band-limited network fitted to a quadratic: the field that it gives is sampled on a grid, as a Fourier series."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resmfn.core.captured_step import CapturedStep
from resmfn.core.errors import InputError
from resmfn.inverse.conjugate_gradients import solve
from resmfn.inverse.crew import Alone, Crew
from resmfn.inverse.linear_operator import check_cube
from resmfn.inverse.normal_equations import mask_window
from resmfn.inverse.quadratic import NormalOperator
from resmfn.networks.adam import Adam
from resmfn.networks.mfn import MultiplicativeFilterNetwork, with_affine_output
from resmfn.networks.series import crop_centered, sample_series

LEARNING_RATE = 1.5e-2
"""Peak learning rate of Adam, for a network whose outputs are of order 1. No comparison recorded."""
LEAST_CAPTURED = 20
"""Fewest steps for which capturing a CUDA graph pays. No comparison recorded."""
_WARM_UP, _LAST_RATE = 0.1, 0.02  # shares of steps and of the peak rate; no comparison recorded


@dataclass(frozen=True)
class NetworkFit:
    """A fitted field: ``amplitude`` times the output of a network."""

    network: MultiplicativeFilterNetwork
    amplitude: float
    """The field's value where the network gives 1."""
    reached: float
    """Share of the explicit solution's gain in the objective that the network reaches: 1 is all of it."""

    def sample(self, size: int, scale: int | None = None) -> Tensor:
        """Return a scale (None: the finest) on a grid of ``size`` samples a side, without gradients."""
        with torch.no_grad():
            return sample_network(self.network, size, scale) * self.amplitude

    def to_network(self) -> MultiplicativeFilterNetwork:
        """Return a network that gives the field itself: what :func:`resmfn.networks.save_network` should write."""
        return with_affine_output(self.network, self.amplitude, 0.0)


def fit_network(
    network: MultiplicativeFilterNetwork,
    operator: NormalOperator,
    *,
    mask: Tensor | None = None,
    scale: int | None = None,
    steps: int = 200,
    amplitude: float | None = None,
    solution: Tensor | None = None,
    crew: Crew | None = None,
) -> NetworkFit:
    """Minimize a quadratic over the weights of a network, by Adam; the rate rises for a tenth of the steps, then falls.

    Parameters
    ----------
    network
        With whole frequencies (``quantized``) and one output. Its weights are changed. What the data say nothing
        of stays as it was drawn: draw it with a small ``head_scale`` (0.02) to begin near 0.
    operator
        What the data say of real fields (N, ..., N), with its prior (:class:`Penalized`). Of the network's band, what N
        samples cannot hold is cut off.
    mask
        The field's shape, 0 to 1; the field is mask * network.
    scale
        The output that is fitted (None: the finest); finer ones are not computed and do not move.
    steps
        Optimizer steps, each on all data.
    amplitude
        The field's value where the network gives 1; by default the solution's root mean square within the mask.
    solution
        The explicit field that the fit is measured against; by default :func:`solve` finds it.
    crew
        Processes that fit together, each step's work divided among them and its gradient added up; all end with the
        same network. The operator must be theirs as well.

    Raises
    ------
    InputError
        If fields and network do not match, or the data determine nothing.
    """
    size, crew = _check(network, operator), crew or Alone()
    mask = torch.ones_like(operator.rhs) if mask is None else mask
    solution = solve(operator, mask=mask) if solution is None else solution
    gain = -float(operator.objective(solution))
    if not gain > 0:
        raise InputError("the data determine nothing: no field explains them better than 0; check data and operator")
    if amplitude is None:
        amplitude = float(solution.square().sum().div(mask.square().sum()).sqrt())
    factor, window = amplitude or 1.0, mask_window(mask)
    inside = mask[window]

    def objective() -> Tensor:
        field = sample_network(network, size, scale, (crew.rank, crew.size)) * factor
        whole = torch.zeros_like(mask)
        whole[window] = _Summed.apply(field[window], crew) * inside
        return operator.objective(whole)

    parameters = network.active_parameters(scale)
    # On a GPU its hundreds of small kernels start as one; what waits for other processes is not captured.
    captured = mask.is_cuda and crew.size == 1 and steps >= LEAST_CAPTURED
    _descend(parameters, lambda: objective() / gain, steps, crew, captured=captured)
    with torch.no_grad():
        return NetworkFit(network, amplitude, -float(objective()) / gain)


def sample_network(
    network: MultiplicativeFilterNetwork, size: int, scale: int | None = None, part: tuple[int, int] = (0, 1)
) -> Tensor:
    """Return one scale of a quantized network on a grid; what the grid cannot hold is cut off. Differentiable.

    Parameters
    ----------
    network
        With one output.
    size
        Samples a side, at ``x = (i - size // 2) / size``.
    scale
        1 is the coarsest; None the finest.
    part
        (i, m): the i-th of m addends, of which each process can compute one.
    """
    dim = network.config.dim
    series = crop_centered(network.fourier_coefficients(scale, part), 2 * ((size - 1) // 2) + 1, dim)
    return sample_series(series, size, dim=dim)


def _check(network: MultiplicativeFilterNetwork, operator: NormalOperator) -> int:
    config, rhs = network.config, operator.rhs
    size = check_cube(tuple(rhs.shape), "the field that a network is fitted to")
    if config.dim != rhs.ndim or config.out_dim != 1:
        raise InputError(
            f"fields of {rhs.ndim} dimensions need a network with dim={rhs.ndim} and out_dim=1, "
            f"got dim={config.dim} and out_dim={config.out_dim}"
        )
    if rhs.dtype != network.dtype:
        raise InputError(f"network and data must have the same real dtype, got {network.dtype} and {rhs.dtype}")
    return size


def _descend(
    parameters: list[nn.Parameter], objective: Callable[[], Tensor], steps: int, crew: Crew, *, captured: bool
) -> None:
    """Take steps of Adam down an objective."""
    optimizer = Adam(parameters)

    def find_gradients() -> None:
        optimizer.forget_gradients()
        objective().backward()

    find = CapturedStep(find_gradients) if captured else find_gradients
    for step in range(steps):
        find()
        _add_gradients(parameters, crew)
        optimizer.step(LEARNING_RATE * _rate(step, steps))


class _Summed(torch.autograd.Function):
    """Sum over processes. Its gradient goes back unsummed: each process follows its own part alone."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, crew: Crew) -> Tensor:  # noqa: ARG004 - nothing is kept for the way back
        whole = part.clone(memory_format=torch.contiguous_format)
        crew.sum_(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None


def _add_gradients(parameters: Sequence[nn.Parameter], crew: Crew) -> None:
    """Replace gradients by their sum over the processes, all in one message."""
    if crew.size == 1:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    crew.sum_(flat)
    for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = summed.view_as(parameter)


def _rate(step: int, steps: int) -> float:
    """Learning rate at a step, as a share of the highest: a short rise, then half a cosine."""
    done = (step + 1) / steps
    if done <= _WARM_UP:
        return done / _WARM_UP
    return max(_LAST_RATE, 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))))
