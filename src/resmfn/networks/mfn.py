"""Multiplicative filter networks: fields whose every scale is band-limited by construction."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import cast

import torch
from torch import Tensor, nn

from resmfn.core.errors import InputError, ShapeError
from resmfn.networks.config import NetworkConfig
from resmfn.networks.filters import GaborFilter, SineFilter
from resmfn.networks.frequencies import filter_boxes
from resmfn.networks.grids import box_coordinates
from resmfn.networks.series import features_below, sample_series, series_from_packed, sine_network_spectrum

#: Points evaluated at a time where a grid is sampled point by point.
CHUNK_POINTS = 32_768


class MultiplicativeFilterNetwork(nn.Module):
    """A d-dimensional field with one output a scale, coarse to fine.

    With frozen filters ``g_i``, trained square maps ``A_i`` and heads ``H_i``::

        z_0 = g_0(x);   z_i = (A_i z_{i-1}) * g_i(x);   y_i = H_i z_i

    Scale ``i`` is ``y_i`` (MFN, Fathony et al., ICLR 2021; BACON, Lindell et al., arXiv 2112.04645) or, with
    ``residual``, ``y_1 + ... + y_i`` (Shekarforoush et al., NeurIPS 2022, arXiv 2206.00746). The spectrum of ``z_i``
    lies in a box whose half-width is the sum of the filters' so far. Scales count from 1.

    Coordinates are in boxes, [-1/2, 1/2) on each axis; column ``j`` of ``coords`` is axis ``j`` of a grid, so (z, y, x)
    for volumes. Linear maps have a bias with ``init="old"`` only; heads always do.

    Parameters
    ----------
    config
        Size, kind and bands of the network.
    generator
        Source of the frozen filters and of the starting weights. All is drawn in double precision, so that the same
        seed gives the same network in either precision.
    dtype
        Precision of weights and filters; ``coords`` must have the same.
    """

    filters: nn.ModuleList
    linears: nn.ModuleList
    heads: nn.ModuleList

    def __init__(
        self, config: NetworkConfig, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.config = config
        bound = math.sqrt(6 / config.hidden_dim)
        has_bias = config.init == "old"
        scales = range(config.n_scales)
        self.filters = nn.ModuleList(_draw_filters(config, generator))
        self.linears = nn.ModuleList(
            _draw_linear(config.hidden_dim, config.hidden_dim, bound, bias=has_bias, generator=generator)
            for _ in scales
        )
        self.heads = nn.ModuleList(
            _draw_linear(config.hidden_dim, config.out_dim, config.head_scale * bound, bias=True, generator=generator)
            for _ in scales
        )
        for head in self._heads():
            nn.init.zeros_(head.bias)
        self.to(dtype)

    @property
    def n_scales(self) -> int:
        """Number of scales."""
        return self.config.n_scales

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self._linears()[0].weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._linears()[0].weight.device

    def half_width(self, scale: int | None = None) -> float:
        """Return the largest frequency of a scale on any axis, in cycles per box (Nyquist is ``box_size / 2``)."""
        return sum(f.half_width for f in self._filters()[: self._check_scale(scale) + 1])

    def minimal_grid(self, scale: int | None = None) -> int:
        """Give the samples a side that the band of a scale needs: the smallest size above twice its half-width.

        If the network is quantized, that many samples determine the scale exactly, everywhere.
        """
        return math.floor(2 * self.half_width(scale)) + 1

    def active_parameters(self, scale: int | None = None) -> list[nn.Parameter]:
        """List the parameters that the output of a scale depends on."""
        scale = self._check_scale(scale)
        heads = self._heads()[:scale] if self.config.residual else self._heads()[scale - 1 : scale]
        return [p for part in (*self._linears()[:scale], *heads) for p in part.parameters()]

    def forward(self, coords: Tensor, scale: int | None = None) -> Tensor:
        """Compute the output of one scale, only as far as it needs.

        Parameters
        ----------
        coords
            (P, dim), in boxes.
        scale
            1 is the coarsest; None the finest.

        Returns
        -------
        Tensor
            (P, out_dim).
        """
        scale = self._check_scale(scale)
        self._check_coords(coords)
        return self._read_out(self._states(lambda i: self.filters[i](coords), scale), scale)

    def outputs(self, coords: Tensor, n_scales: int | None = None, *, detach_finished: bool = False) -> list[Tensor]:
        """Compute scales 1 to ``n_scales`` (None: all), each (P, out_dim), and no finer one.

        With ``detach_finished`` every head but the last one's sees its features detached: a loss on a finished scale
        then moves that scale's head alone (the paper's "staged, fair" baseline).
        """
        n_scales = self._check_scale(n_scales)
        self._check_coords(coords)
        total: Tensor | None = None
        result = []
        for i, z in enumerate(self._states(lambda i: self.filters[i](coords), n_scales), start=1):
            y = self.heads[i - 1](z.detach() if detach_finished and i < n_scales else z)
            total = y if total is None or not self.config.residual else total + y
            result.append(total)
        return result

    def filter_cache(self, coords: Tensor, scale: int | None = None) -> list[Tensor]:
        """Evaluate the frozen filters at fixed points, for :meth:`forward_cached`.

        Parameters
        ----------
        coords
            (P, dim), in boxes.
        scale
            Finest scale that will be asked for (None: all).

        Returns
        -------
        list of Tensor
            ``scale + 1`` tensors (P, hidden_dim): P * hidden_dim * (scale + 1) numbers, 537 MB for 64^3 points of a
            network 128 wide with 3 scales. :meth:`forward` gives the same values without it.
        """
        self._check_coords(coords)
        with torch.no_grad():
            return [f(coords) for f in self._filters()[: self._check_scale(scale) + 1]]

    def forward_cached(self, cache: Sequence[Tensor], scale: int | None = None) -> Tensor:
        """:meth:`forward` at the points of a :meth:`filter_cache`: matrix products only."""
        scale = self._check_scale(scale)
        if len(cache) <= scale:
            raise ShapeError(f"scale {scale} needs the values of {scale + 1} filters, got a cache of {len(cache)}")
        return self._read_out(self._states(cache.__getitem__, scale), scale)

    def fourier_coefficients(self, scale: int | None = None, part: tuple[int, int] = (0, 1)) -> Tensor:
        """Compute the exact finite Fourier series of a scale without sampling it: differentiable, and cheap.

        Multiplying by a sine moves a spectrum by whole frequencies, so the network is evaluated on its spectra: the
        matrix products run over the coefficients of the scale below, never over the points of the fine grid.

        Parameters
        ----------
        scale
            1 is the coarsest; None the finest.
        part
            (i, m): only the i-th of m addends, which m processes compute at the price of little more than one; their
            sum is the series, and the sum of their gradients its gradient.

        Returns
        -------
        Tensor
            complex ``(size,) * dim`` with ``size = minimal_grid(scale)``, frequency 0 at index ``size // 2`` on each
            axis; ``(out_dim, size, ...)`` if out_dim > 1. The field is the sum of ``c_k exp(2 pi i k . x)``.

        Raises
        ------
        InputError
            If the network is not quantized: its frequencies are then no Fourier series in the box.
        """
        if not self.config.quantized:
            raise InputError(
                "fourier_coefficients needs whole frequencies in the box, got quantized=False; sample evaluate_grid"
            )
        scale = self._check_scale(scale)
        packed = sine_network_spectrum(
            self._filters()[: scale + 1],
            self._linears()[:scale],
            self._heads()[:scale],
            residual=self.config.residual,
            part=part,
        )
        return self._drop_single_channel(series_from_packed(packed))

    def spectra_below(self, scale: int) -> tuple[Tensor, Tensor]:
        """Compute what a scale of a quantized residual network is made from, as packed Fourier series.

        Returns
        -------
        tuple
            The features that its map is applied to, ``(hidden_dim, n, ..., n)``, and the output of the scale below,
            ``(out_dim, n, ..., n)``; zeros below the coarsest.
        """
        scale = self._check_scale(scale)
        filters, linears, heads = self._filters()[:scale], self._linears()[: scale - 1], self._heads()[: scale - 1]
        return features_below(filters, linears, heads, self.config.out_dim)

    def evaluate_grid(self, scale: int | None = None, size: int | None = None) -> Tensor:
        """Sample a scale at ``x = (i - size // 2) / size`` on every axis.

        Quantized networks are summed as Fourier series, others point by point in chunks. Gradients are kept where
        torch records them: wrap in ``torch.no_grad()`` where none is wanted.

        Parameters
        ----------
        scale
            1 is the coarsest; None the finest.
        size
            Samples a side, any number; None is :meth:`minimal_grid`.

        Returns
        -------
        Tensor
            ``(size,) * dim``, or ``(out_dim, size, ...)`` if out_dim > 1.
        """
        scale = self._check_scale(scale)
        least = self.minimal_grid(scale)
        size = least if size is None else size
        if size < 1:
            raise InputError(f"size must be at least 1 sample a side, got {size}")
        if self.config.quantized and size >= least:
            series = self.fourier_coefficients(scale)
            return sample_series(series, size, dim=self.config.dim)
        coords = box_coordinates(size, self.config.dim, device=self.device, dtype=self.dtype)
        values = torch.cat([self(chunk, scale) for chunk in coords.split(CHUNK_POINTS)])
        return self._drop_single_channel(values.T.reshape(-1, *[size] * self.config.dim))

    def extra_repr(self) -> str:
        """Return the settings, for printing."""
        return ", ".join(f"{k}={v!r}" for k, v in asdict(self.config).items())

    def _states(self, factor: Callable[[int], Tensor], scale: int) -> Iterator[Tensor]:
        """Yield z_1 .. z_scale; filters are asked for only as they are needed."""
        z = factor(0)
        for i, linear in enumerate(self._linears()[:scale], start=1):
            z = linear(z) * factor(i)
            yield z

    def _read_out(self, states: Iterator[Tensor], scale: int) -> Tensor:
        """Read a scale out of the states below and at it."""
        if not self.config.residual:
            *_, last = states
            return self.heads[scale - 1](last)
        heads = self._heads()[:scale]
        total = torch.stack([h.bias for h in heads]).sum(0)
        for head, z in zip(heads, states, strict=True):
            total = torch.addmm(total, z, head.weight.T)
        return total

    # nn.ModuleList holds bare modules for a type checker: these say what is in them.
    def _filters(self) -> list[SineFilter]:
        return cast("list[SineFilter]", list(self.filters))

    def _linears(self) -> list[nn.Linear]:
        return cast("list[nn.Linear]", list(self.linears))

    def _heads(self) -> list[nn.Linear]:
        return cast("list[nn.Linear]", list(self.heads))

    def _drop_single_channel(self, values: Tensor) -> Tensor:
        return values[0] if self.config.out_dim == 1 else values

    def _check_scale(self, scale: int | None) -> int:
        if scale is None:
            return self.n_scales
        if not 1 <= scale <= self.n_scales:
            raise InputError(f"scale must lie in 1 (coarsest) .. {self.n_scales} (finest), got {scale}")
        return scale

    def _check_coords(self, coords: Tensor) -> None:
        if coords.ndim != 2 or coords.shape[1] != self.config.dim:
            raise ShapeError(f"coords must have shape (P, {self.config.dim}), got {tuple(coords.shape)}")
        if coords.dtype != self.dtype:
            raise ShapeError(f"coords must have the network's dtype {self.dtype}, got {coords.dtype}; convert either")


def with_affine_output(network: MultiplicativeFilterNetwork, gain: float, offset: float) -> MultiplicativeFilterNetwork:
    """Copy a network such that every scale gives ``gain * y + offset`` where it gave ``y``."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for i, layer in enumerate(network._heads()):
            layer.weight.mul_(gain)
            layer.bias.mul_(gain)
            if i == 0 or not network.config.residual:  # outputs that are sums of heads take the offset once
                layer.bias.add_(offset)
    return network


def _draw_filters(config: NetworkConfig, generator: torch.Generator) -> list[SineFilter]:
    boxes = filter_boxes(config.bands, config.box_size, init=config.init, quantized=config.quantized)
    if config.filter == "gabor":
        return [
            GaborFilter(box, config.hidden_dim, config.dim, n_filters=len(boxes), generator=generator) for box in boxes
        ]
    return [
        SineFilter(box, config.hidden_dim, config.dim, quantized=config.quantized, generator=generator) for box in boxes
    ]


def _draw_linear(fan_in: int, fan_out: int, bound: float, *, bias: bool, generator: torch.Generator) -> nn.Linear:
    """Linear map with weights uniform in +-bound and biases uniform in +-1/sqrt(fan_in), in double precision."""
    with torch.random.fork_rng(devices=[]):  # what torch fills in is overwritten; skip_init takes half a second to load
        linear = nn.Linear(fan_in, fan_out, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter, width in ((linear.weight, bound), (linear.bias, 1 / math.sqrt(fan_in))):
            if parameter is not None:
                uniform = torch.rand(parameter.shape, generator=generator, dtype=torch.float64, device=generator.device)
                parameter.copy_((2 * uniform - 1) * width)
    return linear
