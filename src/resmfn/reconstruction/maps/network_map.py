"""A map held by a residual multiplicative filter network, and its fit to normal equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.inverse.network_fit import fit_network, sample_network
from resmfn.networks import (
    MultiplicativeFilterNetwork,
    NetworkConfig,
    network_from_state,
    network_state,
)
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.maps.symmetrize import symmetrized

COARSEST_BAND = 2.5
"""The first scale reaches at least this far, in Fourier pixels: below, there is nothing to tell poses by."""


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
        return sample_network(self.network, grid.size, scale, part) * (self.amplitude or 1.0)

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
        found = fit_network(
            self.network,
            equations.with_prior(prior),
            mask=mask,
            scale=scale,
            steps=steps,
            amplitude=self.amplitude,
            solution=equations.solve(mask, prior),
            crew=equations.crew,
        )
        self.amplitude = found.amplitude
        return found.reached

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
