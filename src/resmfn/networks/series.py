"""Networks of sine filters with whole frequencies, evaluated on their Fourier series.

A real field's coefficients ``c_k`` are packed as the real numbers ``p_k = Re c_k - Im c_k`` (the Hartley packing), with
``c_k = (p_k + p_-k) / 2 + i (p_-k - p_k) / 2``. Linear maps act on ``p`` as they do on the field, and a product with
``sin(2 pi m . x + b)`` becomes two moved copies::

    q_k = 1/2 [ sin(b) p_{k-m} + cos(b) p_{m-k} ] + 1/2 [ sin(b) p_{k+m} - cos(b) p_{-k-m} ]

so the cost of a scale is a matrix product over the coefficients of the scale *below* it: 9,261 of them where the box
has 64^3 = 262,144 points (three scales, the paper's bands).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resmfn.core.errors import ShapeError
from resmfn.networks.filters import SineFilter


def sine_network_spectrum(
    filters: Sequence[SineFilter],
    linears: Sequence[nn.Linear],
    heads: Sequence[nn.Linear],
    *,
    residual: bool,
    part: tuple[int, int] = (0, 1),
) -> Tensor:
    """Packed Fourier series of the finest scale of the given filters, maps and heads, or a part of it.

    Parameters
    ----------
    filters, linears, heads
        ``scale + 1`` sine filters with whole frequencies, and ``scale`` linear maps and heads.
    residual
        Sum all heads; otherwise the last head alone.
    part
        (i, m): the i-th of m addends, which together are the whole; gradients of parameters add up likewise. Each
        takes its block of the last layer's channels, where nearly all the work is, so that m processes can share it.

    Returns
    -------
    Tensor
        (out_dim, size, ..., size) real, size = 2 * (sum of half-widths) + 1, frequency 0 in the middle.
    """
    if not heads:
        raise ShapeError("a network has at least one scale, got no heads")
    sine, linear, head = filters[-1], linears[-1], heads[-1]
    z, total = features_below(filters[:-1], linears[:-1], heads[:-1] if residual else [], head.out_features)
    if part[1] > 1:
        return _part_of_last_layer(z, total, sine, linear, head, part)
    w = _apply_linear(linear.weight, linear.bias, z)
    y = _add_constant(modulate_and_sum(w, sine, head.weight), head.bias)
    return pad_centered(total, y.shape[-1], y.ndim - 1) + y


def features_below(
    filters: Sequence[SineFilter], linears: Sequence[nn.Linear], heads: Sequence[nn.Linear], out_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Packed Fourier series of what the next scale's map is applied to, and of the output so far.

    Parameters
    ----------
    filters, linears, heads
        ``scale`` sine filters with whole frequencies, ``scale - 1`` linear maps, and as many heads, or none where
        outputs do not add up.
    out_dim
        Channels of the output.

    Returns
    -------
    tuple
        (hidden_dim, n, ..., n) and (out_dim, n, ..., n) real, n = 2 * (sum of half-widths) + 1.
    """
    hidden_dim, dim = filters[0].frequencies.shape
    z = modulate(filters[0].phases.new_ones([hidden_dim, *[1] * dim]), filters[0])
    total = z.new_zeros(out_dim, *z.shape[1:])
    for i, (sine, linear) in enumerate(zip(filters[1:], linears, strict=True)):
        z = modulate(_apply_linear(linear.weight, linear.bias, z), sine)
        if heads:
            total = pad_centered(total, z.shape[-1], dim) + _apply_linear(heads[i].weight, heads[i].bias, z)
    return z, total


def _part_of_last_layer(
    z: Tensor, total: Tensor, sine: SineFilter, linear: nn.Linear, head: nn.Linear, part: tuple[int, int]
) -> Tensor:
    """Return what a block of the last layer's channels adds; the first part has all that is not of any channel."""
    number, n_parts = part
    channels = slice(number * len(z) // n_parts, (number + 1) * len(z) // n_parts)
    w = _apply_linear(linear.weight[channels], None if linear.bias is None else linear.bias[channels], z)
    y = modulate_and_sum(w, sine, head.weight[:, channels], channels)
    return y if number else pad_centered(total, y.shape[-1], y.ndim - 1) + _add_constant(y, head.bias)


def modulate(packed: Tensor, sine: SineFilter) -> Tensor:
    """Multiply each field by its own sine.

    Parameters
    ----------
    packed
        (hidden_dim, n, ..., n), n odd.
    sine
        Filter of half-width m with whole frequencies.

    Returns
    -------
    Tensor
        (hidden_dim, n + 2 m, ..., n + 2 m).
    """
    channels, dim = len(packed), packed.ndim - 1
    size = packed.shape[-1] + 2 * round(sine.half_width)
    rows = torch.arange(channels, device=packed.device)[:, None] * size**dim
    targets = [(positions + rows).view(-1) for positions in _block_positions(packed, sine, size)]
    halves = torch.sin(sine.phases) / 2, torch.cos(sine.phases) / 2
    moved: Tensor = _Moved.apply(packed.flatten(1), None, *halves, *targets, channels * size**dim)
    return moved.view(channels, *[size] * dim)


def modulate_and_sum(packed: Tensor, sine: SineFilter, weight: Tensor, channels: slice = slice(None)) -> Tensor:
    """Multiply each field by its own sine and sum them with the weights of a head, never storing the wide spectra.

    Parameters
    ----------
    packed
        (hidden_dim, n, ..., n), n odd.
    sine
        Filter of half-width m with whole frequencies.
    weight
        (out_dim, hidden_dim).
    channels
        Which of the filter's channels these fields are, where they are not all.

    Returns
    -------
    Tensor
        (out_dim, n + 2 m, ..., n + 2 m).
    """
    dim = packed.ndim - 1
    size = packed.shape[-1] + 2 * round(sine.half_width)
    targets = [positions.view(-1) for positions in _block_positions(packed, sine, size, channels)]
    flat = packed.flatten(1)
    phases = sine.phases[channels]
    halves = torch.sin(phases) / 2, torch.cos(phases) / 2
    # One output after the other: all at once would hold out_dim times as much.
    sums = [_Moved.apply(flat, row, *halves, *targets, size**dim) for row in weight]
    return torch.stack(sums).view(-1, *[size] * dim)


def series_from_packed(packed: Tensor) -> Tensor:
    """Complex Fourier coefficients (channels, n, ..., n) of packed ones, frequency 0 in the middle."""
    mirror = packed.flip(tuple(range(1, packed.ndim)))
    return torch.complex((packed + mirror) / 2, (mirror - packed) / 2)


def pad_centered(values: Tensor, size: int, dim: int) -> Tensor:
    """Zero-pad the last ``dim`` axes of an odd array to ``size``, keeping the middle at ``size // 2``."""
    n = values.shape[-1]
    before = size // 2 - n // 2
    return nn.functional.pad(values, (before, size - n - before) * dim)


def crop_centered(values: Tensor, size: int, dim: int) -> Tensor:
    """Cut the last ``dim`` axes of an odd array down to an odd ``size``; the middle stays. Smaller ones stay as is."""
    cut = (values.shape[-1] - size) // 2
    for axis in range(-dim, 0) if cut > 0 else ():
        values = values.narrow(axis, cut, size)
    return values


def sample_series(series: Tensor, size: int, *, dim: int) -> Tensor:
    """Sample a finite Fourier series of a real field at ``x = (i - size // 2) / size``.

    Parameters
    ----------
    series
        Complex (..., n, ..., n), n odd, frequency 0 in the middle of the last ``dim`` axes, Hermitian.
    size
        Samples a side, at least n.
    dim
        Number of axes to transform.

    Returns
    -------
    Tensor
        Real (..., size, ..., size).
    """
    n = series.shape[-1]
    if size < n:
        raise ShapeError(f"a series of {n} frequencies a side needs at least {n} samples a side, got {size}")
    axes = tuple(range(-dim, 0))
    half = series[..., n // 2 :]
    before = size // 2 - n // 2
    half = nn.functional.pad(half, (0, size // 2 - n // 2, *(before, size - n - before) * (dim - 1)))
    half = torch.fft.ifftshift(half, dim=axes[:-1]) if dim > 1 else half
    return torch.fft.fftshift(torch.fft.irfftn(half, s=[size] * dim, dim=axes, norm="forward"), dim=axes)


def series_on_axes(series: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """Evaluate a finite Fourier series of a real field on a grid with any coordinates along each axis.

    Parameters
    ----------
    series
        Complex (..., n, ..., n), n odd, frequency 0 in the middle of the last ``len(axes)`` axes, Hermitian.
    axes
        Coordinates along each, in boxes.

    Returns
    -------
    Tensor
        Real (..., len(axes[0]), ..., len(axes[-1])).
    """
    first, n = series.ndim - len(axes), series.shape[-1]
    k = torch.arange(n, device=series.device, dtype=torch.float64) - n // 2
    for axis in axes:
        cycles = axis.to(k)[:, None] * k
        angle = 2 * torch.pi * (cycles - cycles.round())
        waves = torch.complex(angle.cos(), angle.sin()).to(series.dtype)
        series = torch.tensordot(series, waves, dims=([first], [1]))  # the axis that is done goes to the end
    return series.real


class _Moved(torch.autograd.Function):
    """Fields times a weight and a sine each, added up at the positions to which their two copies are moved.

    Both ways are a few passes over the fields; operations one by one would keep and fill ten arrays of their size.
    """

    @staticmethod
    def forward(
        ctx: Any,
        fields: Tensor,  # (channels, n^dim)
        weight: Tensor | None,  # (channels,)
        sines: Tensor,  # (channels,): halves of them, as of the cosines
        cosines: Tensor,
        plus: Tensor,  # (channels * n^dim,): where in the result coefficients go that are moved by +m
        minus: Tensor,  # and by -m
        size: int,  # of the result
    ) -> Tensor:
        s, c = ((h if weight is None else weight * h)[:, None] for h in (sines, cosines))
        even, odd = fields * s, fields.flip(1).mul_(c)
        result = fields.new_zeros(size).scatter_add_(0, plus, (even + odd).view(-1))
        result.scatter_add_(0, minus, even.sub_(odd).view(-1))
        ctx.save_for_backward(None if weight is None else fields, weight, sines, cosines, plus, minus)
        ctx.shape = fields.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        fields, weight, sines, cosines, *targets = ctx.saved_tensors
        plus, minus = (gradients[0].index_select(0, target).view(ctx.shape) for target in targets)
        slope = (plus - minus).flip(1).mul_(cosines[:, None]).addcmul_(plus.add_(minus), sines[:, None])
        if weight is None:
            return slope, *[None] * 6
        of_weight = (slope * fields).sum(1) if ctx.needs_input_grad[1] else None
        return slope.mul_(weight[:, None]), of_weight, *[None] * 5


def _block_positions(
    packed: Tensor, sine: SineFilter, size: int, channels: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """Flat positions in a (size,)*dim grid of every coefficient, moved by its channel's frequency and by minus that."""
    n, dim = packed.shape[-1], packed.ndim - 1
    device = packed.device
    strides = [size**j for j in reversed(range(dim))]  # plain numbers: nothing is copied to a GPU
    axis = torch.arange(n, device=device) - n // 2 + size // 2
    base = torch.zeros((), dtype=torch.int64, device=device)
    for j in range(dim):
        base = base[..., None] + axis * strides[j]
    frequencies = sine.frequencies[channels].round().to(torch.int64)
    shift = torch.stack([frequencies[:, j] * strides[j] for j in range(dim)]).sum(0)
    return base.flatten() + shift[:, None], base.flatten() - shift[:, None]


def _apply_linear(weight: Tensor, bias: Tensor | None, packed: Tensor) -> Tensor:
    """Linear map over the channels of packed series (channels, n, ..., n)."""
    out = (weight @ packed.flatten(1)).view(-1, *packed.shape[1:])
    return out if bias is None else _add_constant(out, bias)


def _add_constant(packed: Tensor, constant: Tensor) -> Tensor:
    """Add a constant (channels,) to every field: it belongs to frequency 0."""
    half = packed.shape[-1] // 2
    return packed + nn.functional.pad(constant.view(-1, *[1] * (packed.ndim - 1)), (half, half) * (packed.ndim - 1))
