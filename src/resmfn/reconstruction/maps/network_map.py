"""A map held by a residual multiplicative filter network, and its fit to normal equations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resmfn.core.captured_step import CapturedStep
from resmfn.inverse.crew import Crew
from resmfn.networks import (
    MultiplicativeFilterNetwork,
    NetworkConfig,
    network_from_state,
    network_state,
    sample_series,
)
from resmfn.networks.adam import Adam
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.maps.symmetrize import symmetrized

COARSEST_BAND = 2.5
"""The first scale reaches at least this far, in Fourier pixels: below, there is nothing to tell poses by."""
LEARNING_RATE = 1.5e-2
LEAST_CAPTURED = 20
"""Steps for which it pays to capture one."""
_WARM_UP, _LAST_RATE = 0.1, 0.02


class NetworkMap:
    """A density map, ``amplitude`` times the output of a network.

    Parameters
    ----------
    network
        3-D, quantized: its scales are exact finite Fourier series.
    amplitude
        Grey value of an output of 1; None until the first fit has seen the data.
    """

    def __init__(self, network: MultiplicativeFilterNetwork, amplitude: float | None = None) -> None:
        self.network = network
        self.amplitude = amplitude

    @classmethod
    def draw(cls, box_size: int, hidden_dim: int, *, generator: torch.Generator, device: torch.device) -> NetworkMap:
        """Draw a network for a box, with as many scales as leave the coarsest a band worth having."""
        config = NetworkConfig(
            dim=3, hidden_dim=hidden_dim, n_scales=n_scales_for(box_size), box_size=box_size, head_scale=0.02
        )
        return cls(MultiplicativeFilterNetwork(config, generator=generator).to(device))

    @property
    def n_scales(self) -> int:
        """Number of scales."""
        return self.network.n_scales

    def scale_for(self, radius: float) -> int:
        """Return the coarsest scale whose band holds a radius, in Fourier pixels; the finest if none does."""
        scales = range(1, self.n_scales + 1)
        return next((s for s in scales if self.network.half_width(s) >= radius), self.n_scales)

    def decode(self, grid: MapGrid, scale: int | None = None, part: tuple[int, int] = (0, 1)) -> Tensor:
        """Return one scale on a grid ``(M, M, M)``; what the grid cannot hold is cut off. Differentiable.

        ``part`` (i, m) asks for the i-th of m addends, of which each process can compute one.
        """
        series = self.network.fourier_coefficients(scale, part)
        side = 2 * ((grid.size - 1) // 2) + 1
        if series.shape[-1] > side:
            cut = (series.shape[-1] - side) // 2
            series = series[cut : cut + side, cut : cut + side, cut : cut + side]
        return sample_series(series, grid.size, dim=3) * (self.amplitude or 1.0)

    def fit(
        self, equations: MapEquations, mask: Tensor, prior: Tensor, *, scale: int | None = None, steps: int
    ) -> float:
        """Minimize the penalized quadratic by Adam, rate rising for a tenth of the steps and then falling.

        Parameters
        ----------
        equations
            Of the images at their poses. The processes of their crew fit together, each step's work divided among
            them and its gradient added up; all end with the same network.
        mask
            ``(M, M, M)``; the map is mask * network.
        prior
            Penalty of each shell.
        scale
            The output that is fitted (None: the finest); finer ones are not computed and do not move.
        steps
            Optimizer steps, each on all data.

        Returns
        -------
        float
            Share of the explicit solution's gain that the network reaches: 1 is all of it.
        """
        crew, kernel = equations.crew, equations.penalized(prior)
        solution = equations.solve(mask, prior)
        gain = -float(equations.objective(solution, kernel))
        if self.amplitude is None:
            self.amplitude = float(solution.square().sum().div(mask.square().sum()).sqrt())
        inside = mask[equations.window]

        def objective() -> Tensor:
            volume = self.decode(equations.grid, scale, (crew.rank, crew.size))[equations.window]
            return equations.objective_inside(_Summed.apply(volume, crew) * inside, kernel)

        parameters = self.network.active_parameters(scale)
        optimizer = Adam(parameters)

        def find_gradients() -> None:
            optimizer.forget_gradients()
            (objective() / gain).backward()

        # On a GPU its hundreds of small kernels start as one; what waits for other processes is not captured.
        alone = mask.is_cuda and crew.size == 1
        find = CapturedStep(find_gradients) if alone and steps >= LEAST_CAPTURED else find_gradients
        for step in range(steps):
            find()
            _add_gradients(parameters, crew)
            optimizer.step(LEARNING_RATE * _rate(step, steps))
        with torch.no_grad():
            return -float(objective()) / gain

    def copy(self) -> NetworkMap:
        """Return an independent copy."""
        return NetworkMap.from_state(self.state(), device=self.network.device)

    def state(self) -> dict[str, object]:
        """Return plain values and tensors for a checkpoint."""
        return {"network": network_state(self.network), "amplitude": self.amplitude}

    @classmethod
    def from_state(cls, state: dict, *, device: torch.device) -> NetworkMap:
        """Rebuild from :meth:`state`."""
        return cls(network_from_state(state["network"], device=device), state["amplitude"])


def n_scales_for(box_size: int) -> int:
    """Return the number of scales whose coarsest band is at least ``COARSEST_BAND``; 1 to 4.

    The bands are the paper's: each 3.3 times the one below, the finest at Nyquist.
    """
    n_scales = 1
    while n_scales < 4 and box_size / 2 * 3.3**-n_scales >= COARSEST_BAND:
        n_scales += 1
    return n_scales


def default_width(box_size: int) -> int:
    """Return a width that holds maps of a box: twice its side, 96 to 384 (128 for 64 pixels)."""
    return min(max(2 * box_size, 96), 384)


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


def _add_gradients(parameters: list[nn.Parameter], crew: Crew) -> None:
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


@dataclass(frozen=True)
class FittedNetwork:
    """A network after a fit, as plain values that one process can send to another."""

    network: dict[str, object]
    """From :meth:`NetworkMap.state`."""
    reference: Tensor
    """(N, N, N): its masked map on the full grid."""
    reached: float
    """From :meth:`NetworkMap.fit`."""

    @classmethod
    def of(cls, network: NetworkMap, grid: MapGrid, scale: int, mask: Tensor, reached: float) -> FittedNetwork:
        """Decode a scale on the grid that it was fitted on."""
        with torch.no_grad():
            volume = symmetrized(network.decode(grid, scale) * mask, grid.group)
            reference = resized(volume, grid.box_size)
        return cls(network.state(), reference.cpu(), reached)
