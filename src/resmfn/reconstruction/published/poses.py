"""Poses of a batch moved by Adam on a tangent perturbation, against central slices of a fixed map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.trilinear import Points, gather_trilinear_with_slopes
from resmfn.reconstruction.maps.map_grid import PADDING
from resmfn.rotations import exp_so3

_CPU_CHUNK = 60_000
"""Slice points at a time: what the processor's cache holds is worked on several times faster."""
_GPU_CHUNK = 4_000_000
_EPSILON = 1e-8


@dataclass(frozen=True)
class PoseSteps:
    """Adam's settings for the poses."""

    rate: float
    """Radians."""
    beta1: float
    beta2: float
    n_steps: int


@dataclass(frozen=True)
class Slices:
    """What a batch of images is compared with."""

    transform: Tensor
    """Complex (M, M, M), padded transform of the map, in the scale of the images."""
    pixels: Tensor
    """int64 (P, 2): (kx, ky)."""

    def loss_and_slope(self, rotation: Tensor, values: Tensor, ctf: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``sum over pixels of |C S(A) - Y|^2`` of each image and its derivative by the pose matrix.

        Parameters
        ----------
        rotation
            A (n, 3, 3).
        values, ctf
            Y, complex, and C, real, both (n, P).

        Returns
        -------
        tuple
            Loss (n,), and its derivative (n, 3, 3) by the entries of A; the third row is 0, as slices depend on the
            first two rows alone.
        """
        budget = _GPU_CHUNK if self.transform.is_cuda else _CPU_CHUNK
        k = (PADDING * self.pixels).to(rotation)
        parts = [
            self._chunk(rotation[rows], values[rows], ctf[rows], k)
            for rows in torch.arange(len(rotation), device=rotation.device).split(max(1, budget // len(k)))
        ]
        loss, slope = (torch.cat(part) for part in zip(*parts, strict=True))
        return loss, slope

    def _chunk(self, rotation: Tensor, values: Tensor, ctf: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """``q = kx A[0] + ky A[1]``, so the derivative by A[i] is the sum of k_i times that by q."""
        kx, ky = k.unbind(dim=1)
        first, second = rotation[:, 0, :, None], rotation[:, 1, :, None]
        middle = self.transform.shape[0] // 2
        points = Points(*((kx * first[:, i] + ky * second[:, i] + middle).view(-1) for i in range(3)))
        slices, slopes = gather_trilinear_with_slopes(self.transform, points)
        residual = ctf * slices.view(values.shape) - values
        loss = torch.view_as_real(residual).square().sum(dim=(1, 2))
        weight = torch.view_as_real((2 * ctf) * residual)
        by_point = torch.stack(
            [(weight * torch.view_as_real(slope.view(values.shape))).sum(dim=-1) for slope in slopes], dim=1
        )
        by_rows = by_point @ k  # (n, 3, 2): axis of the map, row of A
        return loss, torch.cat((by_rows.mT, torch.zeros_like(by_rows[:, None, :, 0])), dim=1)


def improve_poses(
    rotation: Tensor, values: Tensor, ctf: Tensor, slices: Slices, steps: PoseSteps
) -> tuple[Tensor, Tensor]:
    """Move the poses of a batch by Adam on w in ``exp(w) A``, w from 0; then fold w in.

    The optimizer's state is each image's own and begins anew with each batch: no image moves outside its batch.

    Parameters
    ----------
    rotation
        A (n, 3, 3).
    values, ctf
        Complex and real (n, P).
    slices
        Of the map, which does not change here: it is evaluated once.
    steps
        Number and size of the steps.

    Returns
    -------
    tuple
        The new poses (n, 3, 3), and the loss of each image at the last pose that was evaluated (n,).
    """
    tangent = rotation.new_zeros(len(rotation), 3)
    mean, square = torch.zeros_like(tangent), torch.zeros_like(tangent)
    loss = values.abs().square().sum(dim=1)
    for step in range(1, steps.n_steps + 1):
        loss, gradient = tangent_gradient(tangent, rotation, values, ctf, slices)
        mean.lerp_(gradient, 1 - steps.beta1)
        square.lerp_(gradient.square(), 1 - steps.beta2)
        scale = (square / (1 - steps.beta2**step)).sqrt_().add_(_EPSILON)
        tangent = tangent - steps.rate / (1 - steps.beta1**step) * mean / scale
    return _orthonormal(exp_so3(tangent) @ rotation), loss


def tangent_gradient(
    tangent: Tensor, rotation: Tensor, values: Tensor, ctf: Tensor, slices: Slices
) -> tuple[Tensor, Tensor]:
    """Return the loss (n,) at poses ``exp(w) A`` and its gradient (n, 3) by the tangent w (n, 3)."""
    with torch.enable_grad():
        w = tangent.detach().requires_grad_()
        turned = exp_so3(w) @ rotation
    loss, slope = slices.loss_and_slope(turned.detach(), values, ctf)
    (gradient,) = torch.autograd.grad(turned, w, slope)
    return loss, gradient


def _orthonormal(rotation: Tensor) -> Tensor:
    """Take out the rounding of many products, by one Newton step towards the nearest rotation."""
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return 0.5 * rotation @ (3 * identity - rotation.mT @ rotation)
