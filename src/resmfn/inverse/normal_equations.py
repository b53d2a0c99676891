"""Everything that images with given poses say about a map, in a size that does not grow with their number.

With noise of variance 1 the negative log-likelihood of a map v is ``<v, K v> - 2 <b, v>`` plus a constant: b is the
adjoint of all slices applied to the images, K a convolution (with the point spread function of all slices), exact
but for gridding. Networks and explicit maps are both fitted to this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resmfn.core.processes import Team
from resmfn.fourier import centered_indices, ifftn_centered, radius_grid
from resmfn.fourier.transforms import fftn_centered
from resmfn.physics.projection import (
    add_slices,
    extract_slices,
    padded_transform,
    padded_transform_adjoint,
)
from resmfn.rotations import point_group

PADDING = 2
LEAST_SSNR = 0.03
"""Signal-to-noise ratio of a shell below which a prior grows no stronger: what was lost may come back."""


@dataclass(frozen=True)
class MapGrid:
    """A map of a box of ``box_size`` voxels, sampled on the coarser grid that its band needs.

    Grey values do not depend on ``size``. Slices are in the scale of :class:`Observations`: ``fft2`` of a projection
    on the full grid, over ``box_size``.
    """

    box_size: int
    """N: side of the images."""
    size: int
    """M <= N: side of the grid; frequencies up to M / 2 Fourier pixels of the box."""
    symmetry: str = "C1"
    """Point group of the map."""

    @classmethod
    def for_radius(cls, box_size: int, radius: float, symmetry: str = "C1") -> MapGrid:
        """Return the smallest even grid that holds frequencies up to ``radius``, with room to interpolate."""
        return cls(box_size, min(box_size, 2 * (int(radius) + 2)), symmetry)

    @property
    def group(self) -> Tensor:
        """The turns (m, 3, 3) that leave the map as it is."""
        return point_group(self.symmetry)

    @property
    def scale(self) -> float:
        """Factor from the transform on this grid to slices of images."""
        return (self.box_size / self.size) ** 3 / self.box_size

    def transform(self, volume: Tensor) -> Tensor:
        """Return the padded transform of a map ``(M, M, M)``, in the scale of slices."""
        return padded_transform(volume, PADDING) * self.scale

    def slices(self, transform: Tensor, rotation: Tensor, pixels: Tensor) -> Tensor:
        """Return slices ``(n, P)`` at poses ``(n, 3, 3)``."""
        return extract_slices(transform, rotation, pixels, PADDING)


class SliceSums:
    """Weighted sums of images inserted into Fourier space at their poses; sums of parts may be added.

    Where the map has a symmetry, every image is inserted at all the poses that it may as well have. Hermitian mates are
    left out: only the real parts of the sums' inverse transforms are ever used, which mates do not change.
    """

    def __init__(self, grid: MapGrid, device: torch.device) -> None:
        side = PADDING * grid.size
        self.grid = grid
        self.values = torch.zeros(side, side, side, dtype=torch.complex64, device=device)
        self.weights = torch.zeros(side, side, side, device=device)

    @classmethod
    def of(cls, grid: MapGrid, values: Tensor, weights: Tensor, rotation: Tensor, pixels: Tensor) -> SliceSums:
        """Return sums of what :meth:`add` takes."""
        sums = cls(grid, values.device)
        sums.add(values, weights, rotation, pixels)
        return sums

    def add(self, values: Tensor, weights: Tensor, rotation: Tensor, pixels: Tensor) -> None:
        """Insert ``C Y`` (complex) and ``C^2`` (real), both ``(n, P)``, at poses ``(n, 3, 3)``, in place."""
        for turn in self.grid.group.to(rotation):
            add_slices((self.values, self.weights), values, weights, rotation @ turn, pixels, PADDING)

    def __iadd__(self, other: SliceSums) -> Self:
        self.values += other.values
        self.weights += other.weights
        return self

    def __add__(self, other: SliceSums) -> SliceSums:
        total = SliceSums(self.grid, self.values.device)
        total.values = self.values + other.values
        total.weights = self.weights + other.weights
        return total


class NormalEquations:
    """The quadratic ``<v, K v> - 2 <b, v>`` of a map ``(M, M, M)``, K applied by FFT.

    Parameters
    ----------
    sums
        Of the images.
    mask
        ``(M, M, M)``: where maps that are asked about may differ from 0. K acts between voxels of its extent only, so
        a compact mask makes smaller transforms do; None is the whole grid.
    team
        The processes that work with these equations, all at the same time: each applies K to its share of the
        frequencies. All must hold the same sums.
    """

    def __init__(self, sums: SliceSums, mask: Tensor | None = None, team: Team | None = None) -> None:
        self.team = team or Team()
        grid = self.grid = sums.grid
        scale = grid.scale
        self.rhs = padded_transform_adjoint(sums.values, PADDING) * scale
        self.window = _extent(mask, grid.size)
        self.side = _convolution_size(self.window, grid.size)
        self.kernel = _half(_compact_kernel(sums.weights, self.side)) * (scale**2 * sums.weights.shape[0] ** 3)
        radius = radius_grid(self.side, 3, sums.weights.device) * (grid.size / self.side)
        self.shell = _half(radius).round().long()
        self.n_shells = int(self.shell.max()) + 1

    def apply(self, volume: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Return ``K v`` within the extent of the mask, 0 outside; ``kernel`` may hold a prior (:meth:`penalized`)."""
        found = torch.zeros_like(volume)
        found[self.window] = self.convolved(volume[self.window], kernel)
        return found

    def convolved(self, inside: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Return ``K v`` of and within the extent of the mask alone.

        One axis is transformed after the other, so that what is zero or not wanted is never transformed, and the last
        two by a few planes of frequencies at a time: those that lie in the cache, or that this process has to do.
        """
        kernel = self.kernel if kernel is None else kernel
        side, (depth, height, width) = self.side, inside.shape
        spectrum = torch.fft.rfft(inside, side)
        planes = self.team.share_of(side // 2 + 1)
        n_at_once = max(1, _slab_bytes(inside.device) // (8 * side**2))
        result = torch.zeros_like(spectrum) if self.team.size > 1 else torch.empty_like(spectrum)
        for first in range(planes.start, planes.stop, n_at_once):
            slab = slice(first, min(first + n_at_once, planes.stop))
            part = torch.fft.fft(torch.fft.fft(spectrum[..., slab], side, dim=1), side, dim=0)
            part *= kernel[..., slab]
            result[..., slab] = torch.fft.ifft(torch.fft.ifft(part, dim=0)[:depth], dim=1)[:, :height]
        convolved = torch.fft.irfft(result, side)[..., :width].contiguous()
        self.team.sum_(convolved)
        return convolved

    def objective(self, volume: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Return ``<v, K v> - 2 <b, v>`` of a map that is 0 outside the mask's extent; once differentiable in v."""
        return self.objective_inside(volume[self.window], kernel)

    def objective_inside(self, inside: Tensor, kernel: Tensor | None = None) -> Tensor:
        """:meth:`objective` of the part of a map that is within the mask's extent."""
        value: Tensor = _Objective.apply(inside, self, kernel)
        return value

    def penalized(self, shells: Tensor) -> Tensor:
        """Return the kernel with a penalty of each shell added (Fourier pixels of the box); the last one goes on."""
        index = self.shell.clamp_max(len(shells) - 1)
        beyond = self.shell >= len(shells)
        return self.kernel + torch.where(beyond, 10 * shells[-1], shells[index])

    def shell_weights(self) -> Tensor:
        """Return the mean of the kernel in each shell, the weight of the data; never nothing, as priors come of it."""
        flat = self.shell.flatten()
        total = torch.zeros(self.n_shells, device=flat.device).index_add_(0, flat, self.kernel.flatten())
        weights = total / torch.bincount(flat, minlength=self.n_shells)
        # Where the kernel is cut off at 0, a shell of a few voxels, such as frequency 0, may have no weight left.
        return torch.maximum(weights, 1e-3 * weights.max())

    def limited_prior(self, shells: Tensor) -> Tensor:
        """Return a penalty of each shell, at most what a signal-to-noise ratio of ``LEAST_SSNR`` gives."""
        return torch.minimum(shells, self.shell_weights()[: len(shells)] / LEAST_SSNR)

    def solve(self, mask: Tensor, prior: Tensor, start: Tensor | None = None, iterations: int = 12) -> Tensor:
        """Return the map ``mask * u`` that minimizes the penalized quadratic, by preconditioned conjugate gradients.

        Parameters
        ----------
        mask
            ``(M, M, M)``, 0 to 1.
        prior
            Penalty of each shell: inverse of the expected power of the map.
        start
            Map to start from; zero by default.
        iterations
            Few: what has not converged by then is what the data hardly determine.
        """
        size = self.grid.size
        kernel = self.penalized(prior)
        precondition = self._preconditioner(prior)
        u = torch.zeros_like(self.rhs) if start is None else start.clone()
        residual = mask * self.rhs
        if start is not None:
            residual = residual - mask * self.apply(mask * u, kernel)
        z = precondition(residual)
        direction, slope = z, (residual * z).sum()
        for _ in range(iterations):
            image = mask * self.apply(mask * direction, kernel)
            step = slope / (direction * image).sum().clamp_min(1e-30)
            u = u + step * direction
            residual = residual - step * image
            z = precondition(residual)
            slope, before = (residual * z).sum(), slope
            direction = z + slope / before.clamp_min(1e-30) * direction
        return (u * mask).view(size, size, size)

    def _preconditioner(self, prior: Tensor) -> Callable[[Tensor], Tensor]:
        size = self.grid.size
        padded = torch.cat((prior, (10 * prior[-1]).expand(max(0, self.n_shells - len(prior)))))[: self.n_shells]
        inverse = 1 / (self.shell_weights() + padded).clamp_min(1e-20)
        shell = _half(radius_grid(size, 3, prior.device)).round().long().clamp_max(self.n_shells - 1)
        gain = inverse[shell]
        return lambda v: torch.fft.irfftn(torch.fft.rfftn(v) * gain, s=(size,) * 3)


class _Objective(torch.autograd.Function):
    """The quadratic, with the gradient that its value needs anyway: K is symmetric, so it is 2 (K v - b)."""

    @staticmethod
    def forward(ctx: Any, inside: Tensor, equations: NormalEquations, kernel: Tensor | None) -> Tensor:
        rhs = equations.rhs[equations.window]
        slope = equations.convolved(inside, kernel) - rhs
        ctx.save_for_backward(slope)
        return ((slope - rhs) * inside).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return 2 * gradients[0] * slope, None, None


def _extent(mask: Tensor | None, size: int) -> tuple[slice, slice, slice]:
    """Return the box that holds all voxels of a mask; the whole grid if there is none."""
    whole = slice(0, size)
    if mask is None or not bool(mask.any()):
        return whole, whole, whole
    inside = mask > 0
    spans = [inside.any(dim=d).any(dim=e).nonzero()[[0, -1], 0].tolist() for d, e in ((1, 1), (0, 1), (0, 0))]
    depth, height, width = (slice(first, last + 1) for first, last in spans)
    return depth, height, width


def _convolution_size(window: tuple[slice, slice, slice], size: int) -> int:
    """Return a side, quick to transform, at which no two voxels of a box meet around the border."""
    extent = max(axis.stop - axis.start for axis in window)
    return min(_quick_size(max(2 * extent, size)), PADDING * size)


def _slab_bytes(device: torch.device) -> int:
    """Return how much of a spectrum is transformed at once: what a CPU's cache holds, on a GPU all."""
    return 1 << 20 if device.type == "cpu" else 1 << 62


def _quick_size(least: int) -> int:
    """Return the smallest even number of at least ``least`` without prime factors above 5."""
    size = least + least % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def _compact_kernel(weights: Tensor, side: int) -> Tensor:
    """Return the convolution's transform on a cube of ``side``, from weights inserted on a larger one.

    The blur of insertion is undone: the point spread function is divided by the sinc^2 of trilinear interpolation.
    """
    full = weights.shape[0]
    start = full // 2 - side // 2
    inside = slice(start, start + side)
    point_spread = ifftn_centered(weights.to(torch.complex64)).real[inside, inside, inside]
    sinc = torch.sinc(centered_indices(side, weights.device) / full).square()
    point_spread = point_spread / (sinc[:, None, None] * sinc[:, None] * sinc)
    return fftn_centered(point_spread.to(torch.complex64)).real.clamp_min(0)


def _half(centered: Tensor) -> Tensor:
    """Return the part of a centered cube that ``rfftn`` keeps, in its order."""
    side = centered.shape[-1]
    return torch.fft.ifftshift(centered)[..., : side // 2 + 1].contiguous()
