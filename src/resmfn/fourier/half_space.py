"""The half of a real map's Fourier coefficients that tells them all, and its shells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MAP = (-3, -2, -1)


def half_space_of(volume: Tensor) -> Tensor:
    """Return the coefficients ``kx >= 0`` of real maps ``(..., N, N, N)``: complex ``(..., N, N, N // 2 + 1)``.

    The first voxel is the origin, which is the same for all maps of a box: amplitudes, and the phases of maps relative
    to each other, are those of :func:`fftn_centered`.
    """
    return torch.fft.rfftn(volume, dim=_MAP)


def map_of_half_space(coefficients: Tensor, box_size: int) -> Tensor:
    """Undo :func:`half_space_of`; real ``(..., N, N, N)``."""
    return torch.fft.irfftn(coefficients, s=(box_size,) * 3, dim=_MAP)


def half_space_radius(box_size: int, device: torch.device | str | None = None) -> Tensor:
    """Return the radius of each coefficient in Fourier pixels: float64 ``(N, N, N // 2 + 1)``."""
    whole = torch.fft.fftfreq(box_size, 1 / box_size, dtype=torch.float64, device=device).square()
    half = torch.arange(box_size // 2 + 1, dtype=torch.float64, device=device).square()
    return (whole[:, None, None] + whole[:, None] + half).sqrt_()


@dataclass(frozen=True)
class HalfSpaceShells:
    """Hard shells, one Fourier pixel wide, of the coefficients that :func:`half_space_of` gives."""

    index: Tensor
    """int64 (N, N, N // 2 + 1): ``rint(radius)`` of each; the corners have shells of their own."""
    count: Tensor
    """int64 (n_shells,): coefficients of each shell in the whole space."""

    @classmethod
    def of(cls, box_size: int, device: torch.device | str | None = None) -> HalfSpaceShells:
        """Return those of a box."""
        index = half_space_radius(box_size, device).round_().long()
        n_shells = int(index.max()) + 1
        return cls(index, _summed(index, torch.ones((), dtype=torch.int64, device=index.device), n_shells))

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum over each shell of the whole space of real values (N, N, N // 2 + 1), alike at k and -k."""
        return _summed(self.index, values, len(self.count))

    def means(self, values: Tensor) -> Tensor:
        """Return the mean over each shell up to Nyquist, (N // 2 + 1,)."""
        return (self.sums(values) / self.count)[: len(self.index) // 2 + 1]


def _summed(index: Tensor, values: Tensor, n_shells: int) -> Tensor:
    # k and -k are both in the whole space, but planes that hold both of them in the half as well.
    total, values = values.new_zeros(n_shells), values.expand(index.shape)
    own = [0] if index.shape[0] % 2 else [0, index.shape[-1] - 1]
    total.index_add_(0, index.flatten(), values.flatten()).mul_(2)
    for plane in own:
        total.index_add_(0, index[..., plane].flatten(), values[..., plane].flatten(), alpha=-1)
    return total
