"""A quadratic of a 3-D map whose operator is a convolution, in a size that does not grow with the amount of data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from resmfn.fourier import quick_size, radius_grid
from resmfn.inverse.conjugate_gradients import conjugate_gradients
from resmfn.inverse.crew import Alone, Crew
from resmfn.inverse.quadratic import quadratic

Window = tuple[slice, ...]
"""A box of samples."""


class NormalEquations:
    """The quadratic ``<v, K v> - 2 <b, v>`` of a map ``v`` (M, M, M), K a convolution that is applied by FFT.

    Parameters
    ----------
    rhs
        ``b`` (M, M, M): the adjoint of the data's operator, applied to the data.
    kernel
        (S, S, S // 2 + 1): transform of the point spread function of K on a cube of side S, in the order of ``rfftn``.
        S must be so large that no two voxels within the window meet around the border (:func:`convolution_side`).
    window
        The box of voxels that K acts between (:func:`mask_window`): maps that are asked about are 0 outside.
    crew
        The processes that work with these equations, all at the same time: each applies K to its share of the
        frequencies. All must hold the same numbers.
    """

    def __init__(self, rhs: Tensor, kernel: Tensor, window: Window, crew: Crew | None = None) -> None:
        self.crew: Crew = crew or Alone()
        self.rhs, self.kernel, self.window = rhs, kernel, window
        self.side = kernel.shape[0]
        radius = radius_grid(self.side, 3, rhs.device) * (rhs.shape[0] / self.side)
        self.shell = half_spectrum(radius).round().long()
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
        planes = self.crew.share_of(side // 2 + 1)
        n_at_once = max(1, _slab_bytes(inside.device) // (8 * side**2))
        result = torch.zeros_like(spectrum) if self.crew.size > 1 else torch.empty_like(spectrum)
        for first in range(planes.start, planes.stop, n_at_once):
            slab = slice(first, min(first + n_at_once, planes.stop))
            part = torch.fft.fft(torch.fft.fft(spectrum[..., slab], side, dim=1), side, dim=0)
            part *= kernel[..., slab]
            result[..., slab] = torch.fft.ifft(torch.fft.ifft(part, dim=0)[:depth], dim=1)[:, :height]
        convolved = torch.fft.irfft(result, side)[..., :width].contiguous()
        self.crew.sum_(convolved)
        return convolved

    def objective(self, volume: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Return ``<v, K v> - 2 <b, v>`` of a map that is 0 outside the mask's extent; once differentiable in v."""
        return self.objective_inside(volume[self.window], kernel)

    def objective_inside(self, inside: Tensor, kernel: Tensor | None = None) -> Tensor:
        """:meth:`objective` of the part of a map that is within the mask's extent."""
        return quadratic(lambda v: self.convolved(v, kernel), self.rhs[self.window], inside)

    def penalized(self, shells: Tensor) -> Tensor:
        """Return the kernel with a penalty of each shell added (Fourier pixels of the box); the last one goes on."""
        index = self.shell.clamp_max(len(shells) - 1)
        beyond = self.shell >= len(shells)
        return self.kernel + torch.where(beyond, 10 * shells[-1], shells[index])

    def with_prior(self, shells: Tensor) -> Self:
        """Return the same equations with a penalty of each shell in their kernel (:meth:`penalized`)."""
        result = copy.copy(self)
        result.kernel = self.penalized(shells)
        return result

    def shared_by(self, crew: Crew | None) -> Self:
        """Return the same equations with which other processes work."""
        result = copy.copy(self)
        result.crew = crew or Alone()
        return result

    def shell_weights(self) -> Tensor:
        """Return the mean of the kernel in each shell, the weight of the data; never nothing, as priors come of it."""
        flat = self.shell.flatten()
        total = self.kernel.new_zeros(self.n_shells).index_add_(0, flat, self.kernel.flatten())
        weights = total / torch.bincount(flat, minlength=self.n_shells)
        # Where the kernel is cut off at 0, a shell of a few voxels, such as frequency 0, may have no weight left.
        return torch.maximum(weights, 1e-3 * weights.max())

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
        kernel = self.penalized(prior)
        found = conjugate_gradients(
            lambda u: mask * self.apply(mask * u, kernel),
            mask * self.rhs,
            self._preconditioner(prior),
            start=start,
            iterations=iterations,
        )
        return found * mask

    def _preconditioner(self, prior: Tensor) -> Callable[[Tensor], Tensor]:
        size = self.rhs.shape[0]
        padded = torch.cat((prior, (10 * prior[-1]).expand(max(0, self.n_shells - len(prior)))))[: self.n_shells]
        inverse = 1 / (self.shell_weights() + padded).clamp_min(1e-20)
        shell = half_spectrum(radius_grid(size, 3, prior.device)).round().long().clamp_max(self.n_shells - 1)
        gain = inverse[shell]
        return lambda v: torch.fft.irfftn(torch.fft.rfftn(v) * gain, s=(size,) * 3)


def mask_window(mask: Tensor) -> Window:
    """Return the box that holds all samples of a mask of any dimension; the whole grid if it has none."""
    inside = mask > 0
    if not bool(inside.any()):
        return tuple(slice(0, n) for n in mask.shape)
    spans = []
    for axis, size in enumerate(mask.shape):
        where = inside.movedim(axis, 0).reshape(size, -1).any(dim=1).nonzero()[:, 0].tolist()
        spans.append(slice(where[0], where[-1] + 1))
    return tuple(spans)


def convolution_side(window: Window, size: int, largest: int) -> int:
    """Return the side of a cube, quick to transform, in which no two voxels of a window meet around the border."""
    extent = max(axis.stop - axis.start for axis in window)
    return min(quick_size(max(2 * extent, size)), largest)


def _slab_bytes(device: torch.device) -> int:
    """Return how much of a spectrum is transformed at once: what a CPU's cache holds, on a GPU all."""
    return 1 << 20 if device.type == "cpu" else 1 << 62


def half_spectrum(centered: Tensor) -> Tensor:
    """Return the part of a centered cube that ``rfftn`` keeps, in its order."""
    side = centered.shape[-1]
    return torch.fft.ifftshift(centered)[..., : side // 2 + 1].contiguous()
