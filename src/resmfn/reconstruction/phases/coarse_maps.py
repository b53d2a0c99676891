"""A coarse map of images at the poses that they have."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.priors import posterior_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import (
    START_STAGES,
    stage_radius,
)
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.reconstruction.run.context import RunContext

PRIOR_STEPS = 3
"""Updates of the prior at given poses, from a signal-to-noise ratio of 3; more were not tried."""


@dataclass(frozen=True)
class CoarseEquations:
    """What images say of a coarse map."""

    equations: MapEquations
    prior: Tensor
    """(shells,): penalty."""
    mask: Tensor
    """(M, M, M)."""
    radius: float
    """Fourier pixels."""

    def solve(self) -> Tensor:
        """Return the map (M, M, M)."""
        return self.equations.solve(self.mask, self.prior)


def coarse_map_of(run: RunContext, index: Tensor) -> Tensor:
    """Return a coarse map (M, M, M) of some images alone, at the poses that they have."""
    radius = stage_radius(START_STAGES[-1], run.observations, run.space)
    return equations_at_poses(run, index, radius).solve()


def equations_at_poses(run: RunContext, index: Tensor, radius: float) -> CoarseEquations:
    """Return what images at their poses say of a map up to a radius."""
    grid = MapGrid.for_radius(run.box_size, radius, run.space.symmetry)
    posed = PosedImages(index, run.poses().select(index))
    equations = MapEquations(insert_images(run.observations, posed, grid, radius))
    mask = sphere_on(grid, run.space.mask_radius, run.device)
    prior = 0.3 * equations.shell_weights()[: int(radius) + 1]
    for _ in range(PRIOR_STEPS):
        prior = posterior_prior(equations, equations.solve(mask, prior), mask, prior)
    return CoarseEquations(equations, prior, mask, radius)
