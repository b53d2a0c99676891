"""How evenly views sample Fourier space: each image is a slice through its origin, seen edge-on by none but itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation.views import fibonacci_half_sphere, view_directions

FOURIER_RADIUS = 50
"""Fourier pixels: the shell on which slices, one pixel thick, are counted (Baldwin and Lyumkis' own default)."""
N_DIRECTIONS = 3000
CHUNK = 2000
LEAST_COUNT = 10.0
"""Slices a direction, on average, below which counts of even views scatter so much that some directions have none."""
SIDE_VIEWS = 8 / math.pi**2
"""SCF of views that all look from the side, evenly around one axis: 0.81. Below, the map suffers visibly."""


@dataclass(frozen=True)
class FourierSampling:
    """How often the directions of Fourier space are met by slices."""

    scf: float
    """Sampling compensation factor over the directions that are met at all, 0 to 1; 1 for even sampling."""
    scf_star: float
    """The same with a penalty for directions that no slice meets, 0 to 1."""
    unsampled: float
    """Share of directions that no slice meets, 0 to 1."""
    thinnest: Tensor
    """Unit vector x, y, z in the map's frame, (3,): the direction along which the map knows least."""
    thinnest_share: float
    """Slices within 10 degrees of it, in multiples of an even sampling."""
    mean_count: float
    """Slices that meet a direction, on average."""

    @property
    def is_decidable(self) -> bool:
        """Whether there are enough views to tell ones that are missing from chance."""
        return self.mean_count >= LEAST_COUNT


def fourier_sampling(rotation: Tensor, radius: int = FOURIER_RADIUS) -> FourierSampling:
    """Count slices of Fourier space.

    Parameters
    ----------
    rotation
        Poses A, (n, 3, 3); of a symmetric map with their copies.
    radius
        Fourier pixels of the shell that is looked at.

    Notes
    -----
    A slice normal to n meets the direction d if ``|n . d| <= 1 / (2 radius)``. With the numbers of slices S(d), their
    mean M over all directions and the share z of directions with S = 0 (Baldwin and Lyumkis, Prog. Biophys. Mol. Biol.
    150 (2020) 160; and 160 (2021) 53 for SCF*)::

        SCF  = 1 / (M mean(1 / S))                         mean over the directions with S > 0
        SCF* = SCF / (1 + z / (1 - z) M SCF / 2)

    1 / SCF is the factor by which uneven views lower the mean signal to noise of a shell. Both depend on the number of
    views where they are few: S is a count.
    """
    views = view_directions(rotation).double()
    directions = fibonacci_half_sphere(N_DIRECTIONS).to(views.device)
    count, near = (torch.zeros(N_DIRECTIONS, dtype=torch.float64, device=views.device) for _ in range(2))
    for chunk in views.split(CHUNK):
        sine = (directions @ chunk.T).abs()
        count += (sine <= 0.5 / radius).sum(1)
        near += (sine <= math.sin(math.radians(10))).sum(1)
    met = count > 0
    share, mean = float((~met).double().mean()), float(count.mean())
    if not bool(met.any()):
        return FourierSampling(0.0, 0.0, 1.0, directions[0].cpu(), 0.0, 0.0)
    scf = min(1.0, 1 / (mean * float((1 / count[met]).mean())))  # beyond 1 where most directions have no slice
    star = scf / (1 + share / (1 - share) * mean * scf / 2)
    last = int(near.argmin())
    return FourierSampling(scf, star, share, directions[last].cpu(), float(near[last] / near.mean()), mean)
