"""Parallel-beam tomography: line integrals of a 2-D field."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.fourier import centered_indices
from resmfn.inverse.linear_operator import LinearOperator, Space, like


class ParallelBeam(LinearOperator):
    """Sums along parallel rays through an image, in units of pixels, by Joseph's method.

    The ray at angle a and offset s is ``x cos a + y sin a = s``. It is followed along the axis that it is closest to,
    one row or column at a time; between the two pixels beside it values are interpolated linearly. Outside of the
    image there is nothing.

    Parameters
    ----------
    size
        N, the side of the image [y, x], origin at ``N // 2``.
    angles
        (V,): radians.
    n_rays
        R, by default N: offsets are ``i - R // 2`` pixels. Data are (V, R).

    References
    ----------
    Joseph (1982), IEEE Transactions on Medical Imaging 1, 192.
    """

    def __init__(self, size: int, angles: Tensor, n_rays: int | None = None) -> None:
        n_rays = size if n_rays is None else n_rays
        super().__init__(Space((size, size)), Space((len(angles), n_rays)))
        self.index, self.weight = _joseph(size, angles.to(torch.float64), n_rays)

    def _apply(self, field: Tensor) -> Tensor:
        index, weight = self.index.to(field.device), like(self.weight, field)
        return (field.flatten()[index] * weight).sum(dim=-1)

    def _adjoint(self, data: Tensor) -> Tensor:
        index, weight = self.index.to(data.device), like(self.weight, data)
        shares = (data[..., None] * weight).flatten()
        empty = shares.new_zeros(self.domain.shape).flatten()
        return empty.index_add(0, index.flatten(), shares).view(self.domain.shape)


def _joseph(size: int, angles: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    """Return which pixels a ray reads, and their weights; both (V, R, 2 N)."""
    cosine, sine = (part[:, None, None] for part in (angles.cos(), angles.sin()))
    offset = centered_indices(n_rays, angles.device, angles.dtype)[:, None]
    along = centered_indices(size, angles.device, angles.dtype)
    steep = cosine.abs() >= sine.abs()  # the ray runs along y more than along x: it meets every row once
    main, other = torch.where(steep, cosine, sine), torch.where(steep, sine, cosine)
    across = (offset - along * other) / main + size // 2
    low = across.floor()
    step = torch.arange(size, device=angles.device)
    indices, weights = [], []
    for corner, share in ((low, low + 1 - across), (low + 1, across - low)):
        inside = (corner >= 0) & (corner < size)
        place = corner.clamp(0, size - 1).long()
        indices.append(torch.where(steep, step * size + place, place * size + step))
        weights.append(share * inside / main.abs())
    return torch.cat(indices, dim=-1), torch.cat(weights, dim=-1)
