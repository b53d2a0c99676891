"""Rounds for images too weak to determine their pose: each is summed over all poses, by their posterior.

An image that fits many poses about equally well, and is inserted at the best of them alone, adds to the map the noise
that made that pose the best; the map then draws the image to that pose. Summed over its posterior it adds no more than
is known. The whole of SO(3) is scored, on a grid as fine as the band needs: this is for bands and sets small enough.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.maps.priors import carried_prior, posterior_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.maps.symmetrize import symmetrized
from resmfn.reconstruction.phases.annealing import FOCUS_STAGE, radius_of_cycles, rotated_grid, shared_slices, sums_of
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses
from resmfn.reconstruction.poses.search_space import neighbor_offsets, shift_spread
from resmfn.reconstruction.run.context import RunContext

SOFT_ENTROPY = 2.0
"""Nat: rounds are soft where half of the images spread over e^2 = 7 or more points of the search's last grid. Medians
measured: simulated sets at SNR 0.1 0.1 to 1.5, real apoferritin (EMPIAR-10146) 4.7, 300 images at SNR 0.03 2.6."""
MOST_CYCLES = 17.0
"""Cycles over the mask's diameter up to which rotations are searched everywhere: 100,000 of them."""
FIRST_SSNR = 3.0
"""Signal-to-noise ratio that the first soft map is solved for; the prior is learned from there. No other was tried."""
BUDGET = 1e12
"""Multiplications of one pass over all images, some two minutes of a core. 2,442 images of apoferritin in C1 are
scored to 12 Å then; to 15 Å at a quarter of it."""


def soft_radius(run: RunContext) -> float:
    """Return the largest radius, in Fourier pixels, at which a pass over all images and rotations is affordable."""
    offsets = len(neighbor_offsets(run.observations, run.state.band.split, run.space))
    cycles = MOST_CYCLES
    while cycles > FOCUS_STAGE.cycles and _multiplications(run, cycles, offsets) > BUDGET:
        cycles *= 0.95
    return max(radius_of_cycles(cycles, run.observations, run.space), run.state.band.split)


def ends_by_cost(run: RunContext) -> bool:
    """Say whether the rounds summed over all poses, up to the largest radius that is affordable."""
    return run.state.soft.are_on and run.state.band.radius >= 0.99 * soft_radius(run)


def soft_pass(run: RunContext, posed: PosedImages, name: str, radius: float) -> tuple[SliceSums, float, float]:
    """Score images against their own map at all poses; leave the best poses in ``posed``.

    Returns
    -------
    tuple
        The images' sums over their posteriors, the mean log evidence of an image over pure noise, and the median of
        the posteriors' entropy, nat.
    """
    observations, space, grid = run.observations, run.space, run.grid(radius)
    generator = spawn(run.config.seed, "soft", run.state.phase, run.state.step, name)
    rotations = rotated_grid(_n_rotations(run, radius), grid, generator=generator, device=run.device)
    slices = shared_slices(observations, grid, resized(run.state.maps.references[name], grid.size), rotations, radius)
    shift = posed.poses.shift
    poses = PoseGrid(
        rotations, neighbor_offsets(observations, radius, space), shift_spread(shift, space), space.precision
    )
    posterior = grid_posterior(
        observations, posed.index, slices, poses, shift, n_top=2, weight=posed.particle_probability
    )
    posed.poses = Poses(rotations[posterior.top_rotation[:, 0]], posterior.shift)
    sums = sums_of(posterior, rotations, grid, observations)
    return sums, float(posterior.log_evidence.mean()), float(posterior.entropy.median())


def solve_soft_map(run: RunContext, name: str, sums: SliceSums, mask: Tensor, team: Team) -> tuple[Tensor, Tensor]:
    """Return the map (N, N, N) of softly assigned images within a mask, and the prior (shells,) of the next one.

    Images that are summed over all poses share so much between the halves that their FSC says little of the noise; what
    a shell holds is learned from each half's own posterior (:func:`posterior_prior`).
    """
    grid = sums.grid
    equations = MapEquations(sums, mask, team)
    before, n_shells = run.state.soft.priors.get(name), grid.size // 2 - 1
    if before is None:
        prior = equations.shell_weights()[:n_shells] / FIRST_SSNR
    else:
        prior = carried_prior(before, n_shells, 2 * (len(before) + 1), grid.size)
    volume = equations.solve(mask, prior)
    prior = posterior_prior(equations, volume, mask, prior)
    return resized(symmetrized(volume, grid.group), run.map_size).cpu(), prior.cpu()


def solve_softly(run: RunContext, sums: dict[str, SliceSums], mask: Tensor) -> None:
    """Solve the maps of some sums by their names, and keep them as references, with their priors."""
    tasks = [partial(solve_soft_map, run, name, of_name, mask) for name, of_name in sums.items()]
    found, state = dict(zip(sums, run.observations.team.divide(tasks), strict=True)), run.state
    state.maps = state.maps.with_references({name: volume.to(run.device) for name, (volume, _) in found.items()})
    priors = {name: prior.to(run.device) for name, (_, prior) in found.items()}
    state.soft = replace(state.soft, priors={**state.soft.priors, **priors})


def _n_rotations(run: RunContext, radius: float) -> int:
    cycles = radius * 2 * run.space.mask_radius / run.box_size
    return max(FOCUS_STAGE.n_rotations, round(FOCUS_STAGE.n_rotations * (cycles / FOCUS_STAGE.cycles) ** 3))


def _multiplications(run: RunContext, cycles: float, n_offsets: int) -> float:
    """Return the multiplications of scores and sums of all images: real and imaginary parts of each pixel, twice."""
    radius = radius_of_cycles(cycles, run.observations, run.space)
    n_rotations = _n_rotations(run, radius) / len(run.full.group)
    return len(run.index) * n_offsets * n_rotations * 4 * (math.pi / 2) * radius**2
