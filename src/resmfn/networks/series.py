"""Networks of sine filters with whole frequencies, evaluated on their Fourier series.

A real field's coefficients ``c_k`` are packed as the real numbers ``p_k = Re c_k - Im c_k`` (the Hartley packing), with
``c_k = (p_k + p_-k) / 2 + i (p_-k - p_k) / 2``. Linear maps act on ``p`` as they do on the field, and a product with
``sin(2 pi m . x + b)`` becomes two moved copies::

    q_k = 1/2 [ sin(b) p_{k-m} + cos(b) p_{m-k} ] + 1/2 [ sin(b) p_{k+m} - cos(b) p_{-k-m} ]

so the cost of a scale is a matrix product over the coefficients of the scale *below* it: 9,261 of them where the box
has 64^3 = 262,144 points (three scales, the paper's bands).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resmfn.core.errors import ShapeError
from resmfn.networks.filters import SineFilter


def sine_network_spectrum(
    filters: Iterable[nn.Module], linears: Iterable[nn.Module], heads: Iterable[nn.Module], *, residual: bool
) -> Tensor:
    """Packed Fourier series of the finest scale of the given filters, maps and heads.

    Parameters
    ----------
    filters, linears, heads
        ``scale + 1`` sine filters with whole frequencies, and ``scale`` linear maps and heads.
    residual
        Sum all heads; otherwise the last head alone.

    Returns
    -------
    Tensor
        (out_dim, size, ..., size) real, size = 2 * (sum of half-widths) + 1, frequency 0 in the middle.
    """
    filters, linears, heads = list(filters), list(linears), list(heads)
    dim, scale = filters[0].frequencies.shape[1], len(linears)
    one = filters[0].phases.new_ones([len(filters[0].phases), *[1] * dim])
    z = modulate(one, filters[0])
    total = None
    for i, (linear, head) in enumerate(zip(linears, heads, strict=True), start=1):
        w = (linear.weight @ z.flatten(1)).view_as(z)
        if linear.bias is not None:
            w = _add_constant(w, linear.bias)
        if i < scale:
            z = modulate(w, filters[i])
            y = (head.weight @ z.flatten(1)).view(-1, *z.shape[1:]) if residual else None
        else:
            y = modulate_and_sum(w, filters[i], head.weight)
        if y is not None:
            y = _add_constant(y, head.bias)
            total = y if total is None else pad_centered(total, y.shape[-1], dim) + y
    return total


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
    plus, minus = _moved_copies(packed, sine.phases)
    row = torch.arange(channels, device=packed.device)[:, None] * size**dim
    target = (_block_positions(packed, sine, size) + row).flatten()
    last = channels * size**dim - 1  # reversing every axis of a channel maps position p to size**dim - 1 - p
    mirrored = (2 * row + size**dim - 1 - target.view(channels, -1)).flatten()
    out = packed.new_zeros(last + 1)
    out = out.index_add(0, target, plus.flatten()).index_add(0, mirrored, minus.flatten())
    return out.view(channels, *[size] * dim)


def modulate_and_sum(packed: Tensor, sine: SineFilter, weight: Tensor) -> Tensor:
    """Multiply each field by its own sine and sum them with the weights of a head, never storing the wide spectra.

    Parameters
    ----------
    packed
        (hidden_dim, n, ..., n), n odd.
    sine
        Filter of half-width m with whole frequencies.
    weight
        (out_dim, hidden_dim).

    Returns
    -------
    Tensor
        (out_dim, n + 2 m, ..., n + 2 m).
    """
    dim = packed.ndim - 1
    size = packed.shape[-1] + 2 * round(sine.half_width)
    copies = torch.stack(_moved_copies(packed, sine.phases), dim=-1)
    target = _block_positions(packed, sine, size).flatten()
    sums = [
        packed.new_zeros(size**dim, 2).index_add(0, target, (row[:, None, None] * copies).flatten(0, 1))
        for row in weight
    ]
    return torch.stack([s[:, 0] + s[:, 1].flip(0) for s in sums]).view(-1, *[size] * dim)


def series_from_packed(packed: Tensor) -> Tensor:
    """Complex Fourier coefficients (channels, n, ..., n) of packed ones, frequency 0 in the middle."""
    mirror = packed.flip(tuple(range(1, packed.ndim)))
    return torch.complex((packed + mirror) / 2, (mirror - packed) / 2)


def pad_centered(values: Tensor, size: int, dim: int) -> Tensor:
    """Zero-pad the last ``dim`` axes of an odd array to ``size``, keeping the middle at ``size // 2``."""
    n = values.shape[-1]
    before = size // 2 - n // 2
    return nn.functional.pad(values, (before, size - n - before) * dim)


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


def _moved_copies(packed: Tensor, phases: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks (hidden_dim, n^dim) that go to +m and, mirrored, to -m."""
    flat = packed.flatten(1)
    mirror = flat.flip(1)
    sine, cosine = (torch.sin(phases) / 2)[:, None], (torch.cos(phases) / 2)[:, None]
    return sine * flat + cosine * mirror, sine * mirror - cosine * flat


def _block_positions(packed: Tensor, sine: SineFilter, size: int) -> Tensor:
    """Flat position in a (size,)*dim grid of every coefficient once moved by its channel's frequency."""
    n, dim = packed.shape[-1], packed.ndim - 1
    device = packed.device
    strides = torch.tensor([size**j for j in reversed(range(dim))], device=device)
    axis = torch.arange(n, device=device) - n // 2 + size // 2
    base = torch.zeros((), dtype=torch.int64, device=device)
    for j in range(dim):
        base = base[..., None] + axis * strides[j]
    shift = (sine.frequencies.round().to(torch.int64) * strides).sum(1)
    return shift[:, None] + base.flatten()


def _add_constant(packed: Tensor, constant: Tensor) -> Tensor:
    """Add a constant (channels,) to every field: it belongs to frequency 0."""
    flat = packed.flatten(1)
    middle = flat.shape[1] // 2
    return torch.cat((flat[:, :middle], (flat[:, middle] + constant)[:, None], flat[:, middle + 1 :]), 1).view_as(packed)
