"""Linear filters by their exact transfer functions: a Fourier series is filtered by a product."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from scipy.special import sici
from torch import Tensor

from resmfn.core.errors import InputError

KINDS = ("gaussian", "box", "lanczos")
LOBES = 3
"""Lobes of the Lanczos kernel on either side; the usual number in image resampling."""


@dataclass(frozen=True)
class LinearFilter:
    """A filter that is the same along all axes, and 1 at frequency 0.

    ``gaussian``: width is the standard deviation. ``box``: the mean over a square or cube of that side. ``lanczos``:
    the windowed sinc ``sinc(x / width) sinc(x / (3 width))`` for ``|x| < 3 width``, as for samples ``width`` apart.
    """

    kind: str
    width: float
    """In the unit of the coordinates whose frequencies are asked for."""

    def __post_init__(self) -> None:
        """Refuse an invalid filter."""
        if self.kind not in KINDS:
            raise InputError(f"a filter must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 < self.width < math.inf:
            raise InputError(f"the width of a filter must be positive and finite, got {self.width:g}")

    @classmethod
    def parse(cls, text: str) -> LinearFilter:
        """Read ``KIND:WIDTH``, for instance ``gaussian:2.5``."""
        kind, _, width = text.partition(":")
        try:
            number = float(width)
        except ValueError:
            raise InputError(f"a filter must be gaussian:SIGMA, box:WIDTH or lanczos:WIDTH, got {text!r}") from None
        return cls(kind, number)

    def scaled(self, factor: float) -> LinearFilter:
        """Return the filter in another unit."""
        return replace(self, width=self.width * factor)

    def transfer(self, frequency: Tensor) -> Tensor:
        """Return the factor of a wave along one axis; frequencies in cycles per unit. Axes multiply."""
        k = frequency * self.width
        if self.kind == "gaussian":
            return (-2 * math.pi**2 * k.square()).exp()
        if self.kind == "box":
            return torch.sinc(k)
        return _lanczos(k) / _lanczos(torch.zeros_like(k))


def filter_series(series: Tensor, kernel: LinearFilter, dim: int) -> Tensor:
    """Return the Fourier series of a filtered field.

    Parameters
    ----------
    series
        Complex ``(..., n, ..., n)``, n odd, frequency 0 in the middle of the last ``dim`` axes, in cycles per box.
    kernel
        Its width in boxes.
    dim
        Number of axes.
    """
    n = series.shape[-1]
    factor = kernel.transfer(torch.arange(n, dtype=torch.float64, device=series.device) - n // 2).to(series.real)
    for axis in range(dim):
        series = series * factor.view(-1, *[1] * axis)
    return series


def _lanczos(k: Tensor) -> Tensor:
    """Transform of ``sinc(x) sinc(x / LOBES)`` on ``|x| < LOBES`` by sine integrals.

    The product is ``LOBES (cos ax - cos bx) / (2 pi^2 x^2)`` with a, b = pi (1 -+ 1 / LOBES).
    """
    low, high, omega = math.pi * (1 - 1 / LOBES), math.pi * (1 + 1 / LOBES), 2 * math.pi * k
    sums = _one_less_cosine(high - omega) + _one_less_cosine(high + omega)
    return LOBES / (2 * math.pi**2) * (sums - _one_less_cosine(low - omega) - _one_less_cosine(low + omega))


def _one_less_cosine(p: Tensor) -> Tensor:
    """Integral of ``(1 - cos px) / x^2`` from 0 to LOBES."""
    sine_integral = torch.as_tensor(sici((p.abs() * LOBES).cpu().numpy())[0]).to(p)
    return p.abs() * sine_integral - (1 - (p * LOBES).cos()) / LOBES
