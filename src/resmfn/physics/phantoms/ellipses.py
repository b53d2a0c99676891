"""A 2-D phantom whose line integrals and transform are known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.fourier import centered_indices

_HEAD = (  # value, center x and y, half-axes, angle; for a box of 64
    (1.0, 0.0, 0.0, 27.0, 22.0, 0.3),
    (-0.6, 0.0, 0.0, 24.0, 19.0, 0.3),
    (0.4, -8.0, 3.0, 6.0, 9.0, 0.5),
    (0.4, 9.0, 4.0, 5.0, 8.0, -0.4),
    (0.5, 1.0, -9.0, 7.0, 3.0, 0.0),
    (0.6, 0.0, 8.0, 2.5, 2.5, 0.0),
    (-0.3, -9.0, -8.0, 3.0, 3.0, 0.0),
)


@dataclass(frozen=True, kw_only=True)
class Ellipses:
    """A sum of filled ellipses around the origin of an image, in pixels."""

    values: Tensor
    """``(m,)``: what each adds inside."""
    centers: Tensor
    """``(m, 2)``: x, y."""
    half_axes: Tensor
    """``(m, 2)``."""
    angles: Tensor
    """``(m,)``: radians from the x axis towards y of the first half-axis."""

    @classmethod
    def head(cls, size: int, dtype: torch.dtype = torch.float32) -> Ellipses:
        """Return seven ellipses like a section through a head, for an image of ``size`` pixels a side."""
        table = torch.tensor(_HEAD, dtype=dtype)
        lengths = table[:, 1:5] * (size / 64)
        return cls(values=table[:, 0], centers=lengths[:, :2], half_axes=lengths[:, 2:], angles=table[:, 5])

    def image(self, size: int, oversampling: int = 8) -> Tensor:
        """Return means over pixels, by so many samples along each axis of one; ``(N, N)`` as [y, x]."""
        axis = centered_indices(size, self.values.device, self.values.dtype)
        within = (torch.arange(oversampling).to(axis) + 0.5) / oversampling - 0.5
        samples = (axis[:, None] + within).flatten()
        y, x = torch.meshgrid(samples, samples, indexing="ij")
        total = torch.zeros_like(x)
        for value, along, (a, b) in zip(self.values, self._along(x, y), self.half_axes, strict=True):
            total += value * ((along[0] / a).square() + (along[1] / b).square() < 1)
        return total.view(size, oversampling, size, oversampling).mean(dim=(1, 3))

    def line_integrals(self, angles: Tensor, n_rays: int) -> Tensor:
        """Return integrals along the lines ``x cos a + y sin a = i - R // 2``; ``(V, R)``."""
        offset = centered_indices(n_rays, self.values.device, self.values.dtype)[:, None]
        cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
        distance = offset - (cosine * self.centers[:, 0] + sine * self.centers[:, 1])
        squared = self._reach(cosine, sine).square()
        a, b = self.half_axes.unbind(dim=1)
        return (2 * self.values * a * b * (squared - distance.square()).clamp_min(0).sqrt() / squared).sum(dim=-1)

    def transform(self, frequencies: Tensor) -> Tensor:
        """Return the Fourier transform at ``(..., 2)``: (kx, ky) in cycles per pixel; complex ``(...)``."""
        k = frequencies[..., None, :]
        radius = 2 * math.pi * self._reach(k[..., 0], k[..., 1])
        # 2 J1(r) / r is 1 at 0
        disk = torch.where(radius > 1e-6, 2 * torch.special.bessel_j1(radius) / radius.clamp_min(1e-6), 1.0)
        size = self.values * math.pi * self.half_axes.prod(dim=1) * disk
        angle = -2 * math.pi * (k * self.centers).sum(dim=-1)
        return torch.complex((size * angle.cos()).sum(dim=-1), (size * angle.sin()).sum(dim=-1))

    def _along(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Coordinates along the half-axes of each ellipse."""
        found = []
        for (center_x, center_y), angle in zip(self.centers, self.angles, strict=True):
            u, v = x - center_x, y - center_y
            found.append((u * angle.cos() + v * angle.sin(), v * angle.cos() - u * angle.sin()))
        return found

    def _reach(self, x: Tensor, y: Tensor) -> Tensor:
        """How far each ellipse reaches along a direction ``(..., 1)``, times its length; ``(..., m)``."""
        a, b = self.half_axes.unbind(dim=1)
        cosine, sine = self.angles.cos(), self.angles.sin()
        return ((a * (x * cosine + y * sine)).square() + (b * (y * cosine - x * sine)).square()).sqrt()
