"""Centered Fourier transforms, their grids, resampling and masks.

One convention: index ``N // 2`` is the origin of images and maps and the zero frequency of their transforms.
"""

from resmfn.fourier.grids import (
    centered_indices,
    half_plane_pixels,
    quick_size,
    radius_grid,
    shell_average,
    shell_index,
)
from resmfn.fourier.half_plane import half_plane_from_images, images_from_half_plane
from resmfn.fourier.masks import low_pass, soft_mask_from_support, soft_sphere
from resmfn.fourier.resize import resize_images, resize_map
from resmfn.fourier.transforms import fft2_centered, fftn_centered, ifft2_centered, ifftn_centered

__all__ = [
    "centered_indices",
    "fft2_centered",
    "fftn_centered",
    "half_plane_from_images",
    "half_plane_pixels",
    "ifft2_centered",
    "ifftn_centered",
    "images_from_half_plane",
    "low_pass",
    "quick_size",
    "radius_grid",
    "resize_images",
    "resize_map",
    "shell_average",
    "shell_index",
    "soft_mask_from_support",
    "soft_sphere",
]
