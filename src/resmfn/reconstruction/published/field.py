"""A density held by a multiplicative filter network of any of the paper's variants, with published or linear heads."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from resmfn.networks import (
    MultiplicativeFilterNetwork,
    NetworkConfig,
    network_from_state,
    network_state,
    sample_series,
)
from resmfn.networks.factories import Variant, build_network, variant
from resmfn.networks.series import pad_centered
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.published.config import PublishedSettings

HEAD_SCALE = 0.02
"""Starting width of heads over the published one: scales join the map near nothing instead of as noise."""


class PublishedField:
    """A map, ``amplitude`` times the output of a network.

    Parameters
    ----------
    network
        3-D and quantized: each head is an exact finite Fourier series.
    kind
        The paper's variant: which scales are in the loss.
    rectified
        Whether each head passes a ReLU, as published; scales are then not band-limited in the strict sense.
    amplitude
        Density of an output of 1; None until the data have been seen.
    """

    def __init__(
        self, network: MultiplicativeFilterNetwork, kind: Variant, *, rectified: bool, amplitude: float | None = None
    ) -> None:
        self.network, self.kind, self.rectified, self.amplitude = network, kind, rectified, amplitude

    @classmethod
    def draw(
        cls, settings: PublishedSettings, box_size: int, *, generator: torch.Generator, device: torch.device
    ) -> PublishedField:
        """Draw the network of the settings for a box."""
        config = NetworkConfig(
            dim=3,
            hidden_dim=settings.bacon_hidden_dim,
            n_scales=settings.bacon_hidden_layers,
            box_size=box_size,
            head_scale=HEAD_SCALE,
        )
        network = build_network(settings.variant, config, generator=generator).to(device)
        return cls(network, variant(settings.variant), rectified=settings.heads == "relu")

    def radius(self, scale: int) -> float:
        """Return how far a scale reaches along each axis, in Fourier pixels."""
        return self.network.half_width(scale)

    def grid(self, scale: int, radius: float) -> MapGrid:
        """Return the grid that a scale is fitted on, out to a radius; a ReLU's overtones want twice its band."""
        needed = max(radius, 2 * self.radius(scale)) if self.rectified else max(radius, self.radius(scale))
        return MapGrid.for_radius(self.network.config.box_size, needed)

    def decode(self, grid: MapGrid, scale: int) -> Tensor:
        """Return the density of a scale on a grid (M, M, M); differentiable."""
        if not self.rectified:
            return sample_series(self.network.fourier_coefficients(scale), grid.size, dim=3) * (self.amplitude or 1.0)
        heads = [sample_series(series, grid.size, dim=3).relu() for series in self._head_series(scale)]
        return torch.stack(heads).sum(dim=0) * (self.amplitude or 1.0)

    def fit_step(self, equations: MapEquations, scale: int, optimizer: torch.optim.Optimizer) -> float:
        """Take one step of the optimizer on the scales that the variant's loss counts; return the finest one's loss."""
        optimizer.zero_grad()
        below = range(1, scale) if self.kind.loss == "all" else ()
        for finished in below:
            # Where finished scales are detached, their loss reaches their own heads and nothing else.
            moved = list(self.network.heads[finished - 1].parameters()) if self.kind.detach_finished else None
            equations.objective(self.decode(equations.grid, finished)).backward(inputs=moved)
        loss = equations.objective(self.decode(equations.grid, scale))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def set_amplitude(self, equations: MapEquations) -> None:
        """Let outputs near 1 stand for the density that the data ask for."""
        whole = torch.ones_like(equations.rhs)
        prior = 0.1 * equations.shell_weights()
        solution = equations.solve(whole, prior)
        self.amplitude = float(solution.square().mean().sqrt())

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors for a checkpoint."""
        return {"network": network_state(self.network), "amplitude": self.amplitude}

    @classmethod
    def from_state(cls, state: dict[str, Any], settings: PublishedSettings, *, device: torch.device) -> PublishedField:
        """Restore from :meth:`state`."""
        network = network_from_state(state["network"], device=device)
        kind = variant(settings.variant)
        return cls(network, kind, rectified=settings.heads == "relu", amplitude=state["amplitude"])

    def _head_series(self, scale: int) -> list[Tensor]:
        """Return the series of every head that the output of a scale adds up."""
        coefficients = self.network.fourier_coefficients
        if not self.kind.skip:
            return [coefficients(scale)]
        sums = [coefficients(i) for i in range(1, scale + 1)]
        own = [b - pad_centered(a, b.shape[-1], 3) for a, b in itertools.pairwise(sums)]
        return [sums[0], *own]
