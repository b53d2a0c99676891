"""Sampling points in the unit box, for fields of any dimension."""

from __future__ import annotations

import torch
from torch import Tensor


def box_coordinates(
    size: int, dim: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Points ``(i - size // 2) / size`` of a regular grid, in boxes.

    Returns
    -------
    Tensor
        (size**dim, dim) in [-1/2, 1/2), last axis fastest; column ``j`` is the coordinate along axis ``j``, so a
        column of values reshapes to ``(size,) * dim``.
    """
    axis = (torch.arange(size, device=device, dtype=torch.float64) - size // 2) / size
    mesh = torch.meshgrid(*[axis.to(dtype)] * dim, indexing="ij")
    return torch.stack([m.reshape(-1) for m in mesh], dim=1)
