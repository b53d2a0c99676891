"""Symmetrization of maps."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from resmfn.fourier import centered_indices, fftn_centered, ifftn_centered, radius_grid, resize_map


def symmetrized(volume: Tensor, group: Tensor) -> Tensor:
    """Return the mean of a map (N, N, N) over the operators of a point group (m, 3, 3); dtype and device are kept.

    The map is sampled twice as finely by Fourier padding and interpolated by cubic splines, so that shells keep their
    power to Nyquist; beyond that sphere there is nothing, as turned corners would fall outside the Fourier cube.
    """
    if len(group) == 1:
        return volume
    size = volume.shape[0]
    fine_map = volume.detach().cpu().double()
    inside = radius_grid(size, 3, dtype=torch.float64) <= size / 2
    fine = ndimage.spline_filter(resize_map(ifftn_centered(fftn_centered(fine_map) * inside).real, 2 * size).numpy())
    axis = centered_indices(size, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack((x, y, z), dim=-1).reshape(-1, 3)
    total = np.zeros(size**3)
    for operator in group.cpu().double():
        position = 2 * (points @ operator.T) + size
        total += ndimage.map_coordinates(fine, position.flip(-1).T.numpy(), order=3, mode="constant", prefilter=False)
    return torch.from_numpy(total / len(group)).reshape(volume.shape).to(volume)
