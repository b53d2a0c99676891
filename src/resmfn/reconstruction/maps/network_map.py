"""A map held by a residual multiplicative filter network, and its fit to normal equations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.inverse.network_fit import sample_network
from resmfn.inverse.scale_fit import fit_scale
from resmfn.networks import (
    MultiplicativeFilterNetwork,
    NetworkConfig,
    network_from_state,
    network_state,
)
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.maps.symmetrize import symmetrized

COARSEST_BAND = 1.8
"""The first scale reaches at least this far, in Fourier pixels: below, there is no shape to see."""
BAND_BELOW = 0.75
"""Fourier pixels that the scale below the finest reaches, over the root of the box: 6 at 64, 8 at 128, 12 at 256."""


class NetworkMap:
    """A density map, ``amplitude`` times the output of a network.

    Parameters
    ----------
    network
        3-D, quantized: its scales are exact finite Fourier series.
    amplitude
        Gray value of an output of 1; None until the first fit has seen the data.
    """

    def __init__(self, network: MultiplicativeFilterNetwork, amplitude: float | None = None) -> None:
        self.network = network
        self.amplitude = amplitude

    @classmethod
    def draw(cls, box_size: int, hidden_dim: int, *, generator: torch.Generator, device: torch.device) -> NetworkMap:
        """Draw a network for a box, with as many scales as leave the coarsest a band worth having."""
        cutoffs = cutoffs_for(box_size)
        config = NetworkConfig(
            dim=3,
            hidden_dim=hidden_dim,
            n_scales=len(cutoffs),
            box_size=box_size,
            init="ball",
            head_scale=0.02,
            cutoffs=cutoffs,
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
        return sample_network(self.network, grid.size, scale, part) * (self.amplitude or 1.0)

    def fit(
        self, equations: MapEquations, mask: Tensor, prior: Tensor, *, scale: int | None = None, steps: int
    ) -> float:
        """Minimize the penalized quadratic over one scale, those below it held.

        Parameters
        ----------
        equations
            Of the images at their poses. The processes of their crew fit together; all end with the same network.
        mask
            ``(M, M, M)``; the map is mask * network.
        prior
            Penalty of each shell.
        scale
            The output that is fitted (None: the finest).
        steps
            Of conjugate gradients, each on all data.

        Returns
        -------
        float
            Share of the explicit solution's gain that the network reaches: 1 is all of it, and as that is solved in few
            steps, a network may reach a little more.
        """
        penalized, solution = equations.with_prior(prior), equations.solve(mask, prior)
        gain = -float(penalized.objective(solution))
        if not gain > 0:
            raise InputError("the images say nothing: no map explains them better than none does; check masks and data")
        if self.amplitude is None:
            self.amplitude = float(solution.square().sum().div(mask.square().sum()).sqrt())
        fitted = fit_scale(
            self.network,
            penalized,
            mask,
            scale=scale or self.n_scales,
            amplitude=self.amplitude,
            steps=steps,
            shell_weights=penalized.shell_weights(),
            crew=equations.crew,
        )
        return -float(penalized.objective(fitted)) / gain

    def copy(self) -> NetworkMap:
        """Return an independent copy."""
        return NetworkMap.from_state(self.state(), device=self.network.device)

    def state(self) -> dict[str, object]:
        """Return plain values and tensors for a checkpoint."""
        return {"network": network_state(self.network), "amplitude": self.amplitude}

    @classmethod
    def from_state(cls, state: dict, *, device: torch.device) -> NetworkMap:
        """Restore from :meth:`state`."""
        return cls(network_from_state(state["network"], device=device), state["amplitude"])


def cutoffs_for(box_size: int) -> tuple[float, ...]:
    """Return the cut-off of each scale, as a fraction of Nyquist, coarse to fine; 1 to 4 of them.

    The finest is Nyquist. The one below it is what a fit's cost hangs on, as the network's matrix products run over its
    coefficients: it grows as the square root of the box. Those below are the paper's, each 3.3 times the one before.
    """
    half, cutoffs = box_size / 2, [1.0]
    reach = BAND_BELOW * math.sqrt(box_size)
    while len(cutoffs) < 4 and reach >= COARSEST_BAND and reach < half:
        cutoffs.insert(0, reach / half)
        reach /= 3.3
    return tuple(cutoffs)


def default_width(box_size: int) -> int:
    """Return a width that holds maps of a box: four times its side, 96 to 1,024 (256 for 64 pixels)."""
    return min(max(4 * box_size, 96), 1024)


@dataclass(frozen=True)
class FittedNetwork:
    """A network after a fit, as plain values that one process can send to another."""

    network: dict[str, object]
    """From :meth:`NetworkMap.state`."""
    reference: Tensor
    """(B, B, B): its masked map."""
    reached: float
    """From :meth:`NetworkMap.fit`."""

    @classmethod
    def of(
        cls, network: NetworkMap, grid: MapGrid, size: int, scale: int, mask: Tensor, reached: float
    ) -> FittedNetwork:
        """Decode a scale on the grid that it was fitted on, and resample it to a box of ``size`` voxels a side."""
        with torch.no_grad():
            volume = symmetrized(network.decode(grid, scale) * mask, grid.group)
            reference = resized(volume, size)
        return cls(network.state(), reference.cpu(), reached)
