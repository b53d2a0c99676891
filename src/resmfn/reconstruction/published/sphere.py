"""Global pose search over SO(3), for poses that gradient steps alone do not reach."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.physics import extract_slices
from resmfn.reconstruction.maps.map_grid import PADDING
from resmfn.reconstruction.poses.score_products import SliceProducts
from resmfn.reconstruction.published.images import ImageView
from resmfn.reconstruction.published.poses import Slices
from resmfn.rotations import random_rotations, super_fibonacci

N_ROTATIONS = 9216
"""Some 9 degrees apart: the pose steps that follow reach the rest."""
_CPU_BUDGET = 12_000_000
_GPU_BUDGET = 300_000_000
"""Scores held at a time."""


def search_sphere(
    view: ImageView, slices: Slices, rotation: Tensor, *, generator: torch.Generator, n_rotations: int = N_ROTATIONS
) -> Tensor:
    """Compare every image with slices at rotations from everywhere, and keep the pose of least loss.

    The loss, ``sum over pixels of |C S(A) - Y|^2``, is the one that the pose steps go down: up to ``|Y|^2`` it is two
    products of matrices (:class:`SliceProducts`). Rotations are those of Alexa's super-Fibonacci spiral
    (CVPR 2022), turned as a whole at random, so that no image meets the same grid twice.

    Parameters
    ----------
    view
        The images (n) as the stage sees them.
    slices
        Of the map, at the same pixels.
    rotation
        Present poses (n, 3, 3): kept where no rotation of the grid does better.
    generator
        Draws the turn of the grid.
    n_rotations
        Of the grid.

    Returns
    -------
    Tensor
        Poses (n, 3, 3).
    """
    grid = super_fibonacci(n_rotations, device=rotation.device)
    grid = grid @ random_rotations(1, generator=generator)[0].to(grid)
    products = SliceProducts(extract_slices(slices.transform, grid, slices.pixels, PADDING), "full")
    found = rotation.clone()
    budget = _GPU_BUDGET if rotation.is_cuda else _CPU_BUDGET
    for rows in torch.arange(len(rotation), device=rotation.device).split(max(1, budget // n_rotations)):
        values, ctf = view.batch(rows)
        weighted = values * ctf
        score = products.scores(torch.cat((weighted.real, weighted.imag), dim=1), ctf.square())[:, 0]
        highest, best = score.max(dim=1)
        loss = slices.loss_and_slope(rotation[rows], values, ctf)[0]
        better = values.abs().square().sum(dim=1) - highest < loss
        found[rows] = torch.where(better[:, None, None], grid[best], rotation[rows])
    return found
