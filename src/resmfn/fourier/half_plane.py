"""Between real images and the list of Fourier pixels that :func:`half_plane_pixels` gives."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError

_IMAGE = (-2, -1)


def half_plane_from_images(images: Tensor, pixels: Tensor) -> Tensor:
    """Return the centered Fourier coefficients of real images at the wanted pixels only.

    Parameters
    ----------
    images
        Real ``(..., N, N)``, origin at ``N // 2``.
    pixels
        int64 ``(P, 2)``: (kx, ky) with ``kx >= 0``, none beyond ``N / 2``.

    Returns
    -------
        Complex ``(..., P)``; no factor: the zero frequency is the sum of the pixels.
    """
    box_size = _square_size(images)
    spectrum = torch.fft.rfft2(torch.fft.ifftshift(images, dim=_IMAGE))
    return spectrum.flatten(start_dim=-2).index_select(-1, _rfft_index(pixels, box_size))


def images_from_half_plane(values: Tensor, pixels: Tensor, box_size: int) -> Tensor:
    """Return the real images with these Fourier coefficients and none elsewhere; undoes the function above.

    Parameters
    ----------
    values
        Complex ``(..., P)``, in the scale of :func:`half_plane_from_images`.
    pixels
        int64 ``(P, 2)``: (kx, ky) within ``box_size / 2``, of each Friedel pair the one that
        :func:`half_plane_pixels` lists; the mates are filled in. Of a pixel that is its own Friedel mate (frequency 0,
        and the Nyquist frequencies of an even box) the real part counts.
    box_size
        N, the side of the images.

    Returns
    -------
        Real ``(..., N, N)``, origin at ``N // 2``; differentiable.
    """
    width = box_size // 2 + 1
    is_own_friedel_mate = ((2 * pixels) % box_size == 0).all(dim=1)
    values = torch.where(is_own_friedel_mate, values.real.to(values.dtype), values)
    on_axis = torch.nonzero((2 * pixels[:, 0] % box_size == 0) & (pixels[:, 1] > 0) & ~is_own_friedel_mate).squeeze(-1)
    mates = _rfft_index(-pixels.index_select(0, on_axis), box_size)
    index = torch.cat((_rfft_index(pixels, box_size), mates))
    filled = torch.cat((values, values.index_select(-1, on_axis).conj()), dim=-1)
    spectrum = values.new_zeros((*values.shape[:-1], box_size * width)).index_copy(-1, index, filled)
    images = torch.fft.irfft2(spectrum.unflatten(-1, (box_size, width)), s=(box_size, box_size))
    return torch.fft.fftshift(images, dim=_IMAGE)


def _rfft_index(pixels: Tensor, box_size: int) -> Tensor:
    """Return where (kx, ky) lies in a flattened ``rfft2``."""
    return (pixels[:, 1] % box_size) * (box_size // 2 + 1) + pixels[:, 0] % box_size


def _square_size(images: Tensor) -> int:
    if images.ndim < 2 or images.shape[-1] != images.shape[-2]:
        raise ShapeError(f"images must be square, (..., N, N), got shape {tuple(images.shape)}")
    return images.shape[-1]
