"""Rotation matrices to and from RELION's Euler angles and unit quaternions."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix_from_euler(angles: Tensor) -> Tensor:
    """Return A, the transpose of the intrinsic Z-Y-Z rotation by RELION's three angles.

    Parameters
    ----------
    angles
        ``(..., 3)``: rlnAngleRot, rlnAngleTilt, rlnAnglePsi in degrees.

    Returns
    -------
        ``(..., 3, 3)``. The last row of A is the viewing direction in the map's frame.

    References
    ----------
    Heymann, Chagoyen, Belnap (2005), J. Struct. Biol. 151, 196: the 3DEM convention.
    """
    (ca, cb, cg), (sa, sb, sg) = (f(torch.deg2rad(angles)).unbind(-1) for f in (torch.cos, torch.sin))
    rows = (
        (ca * cb * cg - sa * sg, sa * cb * cg + ca * sg, -sb * cg),
        (-ca * cb * sg - sa * cg, -sa * cb * sg + ca * cg, sb * sg),
        (ca * sb, sa * sb, cb),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_from_matrix(matrix: Tensor) -> Tensor:
    """Return RELION's (rot, tilt, psi) in degrees of A ``(..., 3, 3)``; tilt lies in [0, 180].

    At tilt 0 and 180 only rot + psi or rot - psi is defined: rot is then 0 (or, in rounding noise, arbitrary), and
    psi is read after rot is taken off, so that the angles always give the matrix back.
    """
    rot = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 0])
    tilt = torch.atan2(torch.hypot(matrix[..., 2, 0], matrix[..., 2, 1]), matrix[..., 2, 2])
    c, s = rot.cos(), rot.sin()
    sin_psi = c * matrix[..., 0, 1] - s * matrix[..., 0, 0]
    cos_psi = c * matrix[..., 1, 1] - s * matrix[..., 1, 0]
    return torch.rad2deg(torch.stack((rot, tilt, torch.atan2(sin_psi, cos_psi)), dim=-1))


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """Return the rotation ``v -> q v q*`` of quaternions ``(..., 4)`` = (w, x, y, z), of any length but 0."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_from_matrix(matrix: Tensor) -> Tensor:
    """Return unit quaternions ``(..., 4)`` = (w, x, y, z) with w >= 0 of rotations ``(..., 3, 3)``.

    The matrix determines all products ``4 q_i q_j``; the row of the largest ``q_i`` is scaled to length 1, which
    loses no digits at any angle and has a finite gradient everywhere.
    """
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    products = (
        (1 + m[0][0] + m[1][1] + m[2][2], wx, wy, wz),
        (wx, 1 + m[0][0] - m[1][1] - m[2][2], xy, xz),
        (wy, xy, 1 - m[0][0] + m[1][1] - m[2][2], yz),
        (wz, xz, yz, 1 - m[0][0] - m[1][1] + m[2][2]),
    )
    table = torch.stack([torch.stack(row, dim=-1) for row in products], dim=-2)
    largest = table.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = table.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternion = torch.nn.functional.normalize(row, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
