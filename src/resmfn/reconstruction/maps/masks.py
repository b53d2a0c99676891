"""Masks of the particle: a sphere at first, then the shape of the map."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from resmfn.fourier import low_pass, soft_mask_from_support, soft_sphere
from resmfn.reconstruction.maps.map_grid import MapGrid

SHAPE_RESOLUTION = 10.0
"""Å: the shape is that of the map at this resolution, so that it says nothing about finer shells."""
THRESHOLD = 0.15
"""Share of the map's highest density at that resolution, above which a voxel belongs to the shape.
No comparison recorded."""
DILATION, EDGE = 4.5, 6.0
"""Å around the shape, and the width of the soft edge beyond."""


def shape_mask(volume: Tensor, sphere: Tensor, pixel_size: float) -> Tensor:
    """Return a soft mask around the largest connected density of a map.

    Parameters
    ----------
    volume
        (N, N, N).
    sphere
        (N, N, N): mask that the shape must lie in.
    pixel_size
        Å.
    """
    box_size = volume.shape[0]
    # Fine boxes and coarse ones alike: at least three voxels' worth of smoothing, as for 10 Å at 3 Å a voxel.
    resolution = max(SHAPE_RESOLUTION, 3 * pixel_size)
    cutoff = box_size * pixel_size / resolution
    smooth = low_pass(volume, 0.75 * cutoff, 0.5 * cutoff) * sphere
    inside = smooth[sphere > 0.5]
    highest = torch.quantile(inside[:: max(1, inside.numel() // 1_000_000)], 0.999)
    support = (smooth > THRESHOLD * highest).cpu().numpy()
    labels, count = ndimage.label(support)
    if count == 0:
        return sphere
    sizes = torch.as_tensor(ndimage.sum_labels(support, labels, range(1, count + 1)))
    # Parts of a tenth of the largest or more belong to the particle; specks do not.
    kept = torch.isin(torch.as_tensor(labels), (sizes >= 0.1 * sizes.max()).nonzero()[:, 0] + 1)
    dilation, edge = max(DILATION, 1.5 * pixel_size), max(EDGE, 2 * pixel_size)
    mask = soft_mask_from_support(kept.to(volume.device), dilation / pixel_size, edge / pixel_size)
    return mask * (sphere > 0)


def sphere_on(grid: MapGrid, radius: float, device: torch.device) -> Tensor:
    """Return the spherical mask of a radius in pixels of the box on a coarse grid."""
    ratio = grid.size / grid.box_size
    edge = 0.06 * grid.size
    return soft_sphere(grid.size, radius * ratio, edge, device=device)
