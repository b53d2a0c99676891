"""Images as they are read: corrected for beam tilt and the like, at one box and pixel size.

The field of view is the smallest of all, so that images are only cropped: nothing is invented beyond their edges,
and the corners hold noise. The pixels are the coarsest of all, so that no group lacks frequencies that another has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from resmfn.fourier import radius_grid
from resmfn.physics.optics import Optics
from resmfn.physics.recorded import plain_from_recorded

_SAME = 1e-5  # relative difference of pixel sizes that is rounding
_PIXELS_AT_ONCE = 2_000_000  # of factors, which take several times the memory of images


@dataclass(frozen=True)
class CommonFrame:
    """Box and pixel size that images are brought to as they are read."""

    box_size: int
    """Pixels along each side."""
    pixel_size: float
    """Å."""

    @classmethod
    def of(cls, box_sizes: np.ndarray, pixel_sizes: np.ndarray) -> Self | None:
        """Return the frame of images with these boxes (n,) and pixel sizes (n,), None where they are alike."""
        coarsest = float(pixel_sizes.max())
        if (box_sizes == box_sizes[0]).all() and np.ptp(pixel_sizes) <= _SAME * coarsest:
            return None
        side = float((box_sizes * pixel_sizes).min())
        return cls(2 * int(side / (2 * coarsest) * (1 + _SAME)), coarsest)  # even, as other programs want it

    def bring(self, images: Tensor, pixel_size: float) -> Tensor:
        """Return images at this box and pixel size: cropped in real space, then in Fourier space.

        The origin stays at ``N // 2``, and gray values are kept.

        Parameters
        ----------
        images
            (n, N, N), of no smaller a field of view and no coarser pixels.
        pixel_size
            Å, theirs.
        """
        size, ratio = images.shape[-1], pixel_size / self.pixel_size
        kernel = self._kernel(size, ratio).to(images)
        # The background would ripple at the seam where the field of view is no whole number of the images' pixels.
        corners = radius_grid(size, 2).to(images.device) * ratio > self.box_size / 2
        background = images[:, corners].mean(dim=1)[:, None, None]
        return kernel @ (images - background) @ kernel.mT + background

    def _kernel(self, size: int, ratio: float) -> Tensor:
        """Return the weights (box_size, size) of pixels along one axis: a Fourier series of the box, cut at Nyquist.

        ``ratio`` is the side of a source pixel over that of one here.
        """
        m = self.box_size
        source = (torch.arange(size, dtype=torch.float64) - size // 2) * ratio
        target = torch.arange(m, dtype=torch.float64) - m // 2
        within = (source >= target[0] - 0.5) & (source < target[-1] + 0.5)
        k = torch.arange(m // 2 + 1, dtype=torch.float64)
        weight = torch.full_like(k, 2.0)
        weight[0] = 1.0
        if m % 2 == 0:
            weight[-1] = 1.0  # Nyquist has no Friedel mate
        turns = 2 * torch.pi / m
        there = torch.polar(weight[:, None].expand(-1, size), -turns * k[:, None] * source)
        back = torch.polar(torch.ones(m, len(k), dtype=torch.float64), turns * target[:, None] * k)
        return (back @ there).real * within * (ratio / m)


def plain_images(images: Tensor, optics: Optics, pixel_size: float) -> Tensor:
    """Return the images without beam tilt, odd aberrations and later processing.

    Parameters
    ----------
    images
        (n, N, N) as recorded.
    optics
        One entry an image.
    pixel_size
        Å.

    Returns
    -------
    Tensor
        (n, N, N): CTF times projection, at their magnification, and noise as white as it was in the microscope.
    """
    size = images.shape[-1]
    ky = torch.fft.fftfreq(size, d=pixel_size, dtype=images.dtype)
    kx = torch.fft.rfftfreq(size, d=pixel_size, dtype=images.dtype)
    frequencies = torch.stack(torch.meshgrid(kx, ky, indexing="xy"), dim=-1)
    step = max(1, _PIXELS_AT_ONCE // size**2)
    plain = torch.empty_like(images)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        chosen = optics.select(part)
        factor = plain_from_recorded(chosen, frequencies)
        plain[part] = images[part]
        if factor is not None:
            plain[part] = torch.fft.irfft2(torch.fft.rfft2(images[part]) * factor, s=(size, size))
    return plain
