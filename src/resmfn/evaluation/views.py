"""Coverage of the sphere by the viewing directions of a set of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

KERNEL_DEG = 10.0  # smoothing of the density; no comparison recorded
N_DIRECTIONS = 2048  # some 4 degrees apart, well within the kernel
CHUNK = 4096
SPARSE = 0.5  # of the uniform density; a convention of the report


@dataclass(frozen=True)
class ViewCoverage:
    """Summary of the density of views, in multiples of the uniform density; opposite directions count as the same."""

    largest: float
    """Highest density, 1 for uniform views."""
    smallest: float
    sparse_share: float
    """Share of the sphere below half of the uniform density, 0 to 1."""


def view_directions(rotation: Tensor) -> Tensor:
    """Viewing directions in the map's frame, x, y, z, (n, 3): the last row of A, the axis that is summed along."""
    return rotation[:, 2, :]


def view_density(rotation: Tensor, directions: Tensor, width_deg: float = KERNEL_DEG) -> Tensor:
    """Density of views at given directions, in multiples of the uniform density.

    Parameters
    ----------
    rotation
        A, (n, 3, 3).
    directions
        Unit vectors, (m, 3).
    width_deg
        Width of the von Mises-Fisher kernel (its standard deviation along a great circle), in degrees.

    Returns
    -------
    Tensor
        (m,); its mean over the sphere is 1.
    """
    kappa = 1 / math.radians(width_deg) ** 2
    norm = 2 * kappa / (1 - math.exp(-2 * kappa))
    views = view_directions(rotation).to(directions)
    total = torch.zeros_like(directions[:, 0])
    for chunk in views.split(CHUNK):
        total += torch.exp(kappa * (directions @ chunk.T - 1)).sum(-1)
    return total * norm / len(views)


def symmetric_copies(rotation: Tensor, group: Tensor) -> Tensor:
    """Return the poses that give the same images of a symmetric map: A S of every A (n, 3, 3) and S (m, 3, 3).

    Each image of such a map counts as m views of it, of which a search finds one. (n m, 3, 3).
    """
    return (rotation[:, None] @ group.to(rotation)).flatten(0, 1)


def view_coverage(rotation: Tensor, width_deg: float = KERNEL_DEG) -> ViewCoverage:
    """Summarize the density of views of A (n, 3, 3) over the sphere, opposite views counted together.

    A view from behind shows the mirror image of the view from the front, which holds the same information. Of a
    symmetric map give the poses with their :func:`symmetric_copies`.
    """
    directions = fibonacci_sphere(N_DIRECTIONS, rotation.dtype)
    density = (view_density(rotation, directions, width_deg) + view_density(rotation, -directions, width_deg)) / 2
    return ViewCoverage(float(density.max()), float(density.min()), float((density < SPARSE).double().mean()))


def fibonacci_sphere(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return ``n`` directions spread evenly over the sphere, (n, 3)."""
    i = torch.arange(n, dtype=torch.float64)
    z = 1 - (2 * i + 1) / n
    angle = math.pi * (3 - 5**0.5) * i
    rim = (1 - z.square()).sqrt()
    return torch.stack((rim * angle.cos(), rim * angle.sin(), z), -1).to(dtype)


def fibonacci_half_sphere(n: int) -> Tensor:
    """Return ``n`` directions spread evenly over the half sphere z > 0, (n, 3) float64."""
    index = torch.arange(n, dtype=torch.float64) + 0.5
    z = 1 - index / n
    angle = math.pi * (1 + math.sqrt(5)) * index
    rim = (1 - z.square()).sqrt()
    return torch.stack((rim * angle.cos(), rim * angle.sin(), z), dim=1)
