"""Angles between rotations."""

from __future__ import annotations

import torch
from torch import Tensor


def geodesic_degrees(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle of ``a @ b^T`` in degrees, 0 to 180; ``(..., 3, 3)`` each, leading axes broadcast.

    By atan2 of sine and cosine, so that small angles and angles near 180 keep their digits.
    """
    relative = a @ b.mT
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    skew = relative - relative.mT
    sine = torch.linalg.vector_norm(skew, dim=(-2, -1)) / (2 * 2**0.5)
    return torch.rad2deg(torch.atan2(sine, (trace - 1) / 2))
