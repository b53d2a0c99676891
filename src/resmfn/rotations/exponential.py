"""The exponential map of SO(3) and its inverse, with right values and gradients at every angle."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.rotations.convert import quaternion_from_matrix

_SMALL = 1e-2  # squared angle below which the Taylor series is exact to float64


def exp_so3(rotvec: Tensor) -> Tensor:
    """Return the rotation about ``rotvec`` by its length in radians (right-handed); ``(..., 3)`` to ``(..., 3, 3)``.

    Rodrigues' formula, I + a K + b K^2, with a = sin(t)/t and b = (1 - cos t)/t^2 as series near t = 0.
    """
    squared = rotvec.square().sum(dim=-1)
    near = squared < _SMALL
    t2 = torch.where(near, squared, torch.zeros_like(squared))
    angle = torch.where(near, torch.ones_like(squared), squared).sqrt()
    a_series = 1 - t2 / 6 * (1 - t2 / 20 * (1 - t2 / 42 * (1 - t2 / 72)))
    b_series = 0.5 * (1 - t2 / 12 * (1 - t2 / 30 * (1 - t2 / 56 * (1 - t2 / 90))))
    a = torch.where(near, a_series, angle.sin() / angle)
    b = torch.where(near, b_series, 2 * ((angle / 2).sin() / angle).square())
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    cross_squared = rotvec[..., :, None] * rotvec[..., None, :] - squared[..., None, None] * identity
    return identity + a[..., None, None] * _cross_matrix(rotvec) + b[..., None, None] * cross_squared


def log_so3(matrix: Tensor) -> Tensor:
    """Return the rotation vector, of length at most pi, of rotations ``(..., 3, 3)``; inverse of :func:`exp_so3`.

    At an angle of exactly pi the axis has no sign: either is returned.
    """
    quaternion = quaternion_from_matrix(matrix)
    w, axis = quaternion[..., 0], quaternion[..., 1:]
    squared = axis.square().sum(dim=-1)
    near = squared < _SMALL / 4
    safe_w = torch.where(near, w, torch.ones_like(w))
    tan2 = torch.where(near, squared / safe_w.square(), torch.zeros_like(squared))
    series = 1 + tan2 * (-1 / 3 + tan2 * (1 / 5 + tan2 * (-1 / 7 + tan2 * (1 / 9 + tan2 * (-1 / 11)))))
    length = torch.where(near, torch.ones_like(squared), squared).sqrt()
    scale = 2 * torch.where(near, series / safe_w, torch.atan2(length, w) / length)
    return scale[..., None] * axis


def _cross_matrix(v: Tensor) -> Tensor:
    """Return K with ``K u = v x u``; ``(..., 3, 3)``."""
    x, y, z = v.unbind(dim=-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
