"""Fine poses and maps: rounds of pose refinement against a network's map, and of fitting the network to the poses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.evaluation import fourier_shell_correlation
from resmfn.fourier import resize_map
from resmfn.inverse.normal_equations import LEAST_SSNR, MapGrid, NormalEquations, SliceSums
from resmfn.physics.projection import slice_order
from resmfn.physics.shift import phase_shift
from resmfn.physics.trilinear import points_at_a_time
from resmfn.reconstruction.images.image_quality import ImageFits
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.pose_refinement import PoseModel, Poses, refine_poses
from resmfn.rotations import geodesic_degrees

_INSERT_CHUNK = 1_000_000


@dataclass
class Branch:
    """A set of images with their poses."""

    index: Tensor
    """int64 (m,): its images."""
    poses: Poses
    """Of its images, in the order of ``index``."""
    good: Tensor | None = None
    """(m,): probability of each to show the molecule, by which it counts; None is 1."""


@dataclass(frozen=True)
class RoundPlan:
    """What a round does."""

    radius: float
    """Frequencies used, Fourier pixels."""
    iterations: int
    """Gauss-Newton steps of the poses; 0 keeps them."""
    network_steps: int
    moves_shift: bool = False
    shift_spread: float | None = None


@dataclass(frozen=True)
class RoundReport:
    """What a round found."""

    pose_change: float
    """Median turn, degrees."""
    shift_change: float
    """Median, Å."""
    log_likelihood: float
    """Mean of an image, over pure noise."""
    residual_power: Tensor
    """(shells,)."""
    images: ImageFits | None = None


def move_poses(observations: Observations, branch: Branch, volume: Tensor, plan: RoundPlan) -> RoundReport:
    """Refine the poses of a branch against a map ``(M, M, M)``, in place."""
    grid = MapGrid(observations.box_size, volume.shape[0])
    model = PoseModel(grid, grid.transform(volume), plan.radius, plan.moves_shift, plan.shift_spread)
    fit = refine_poses(observations, branch.index, branch.poses, model, plan.iterations, branch.good)
    turn = geodesic_degrees(fit.poses.rotation, branch.poses.rotation)
    moved = (fit.poses.shift - branch.poses.shift).norm(dim=1)
    branch.poses = fit.poses
    return RoundReport(
        float(turn.median()),
        float(moved.median()),
        float(fit.log_likelihood.mean()),
        fit.residual_power,
        fit.images,
    )


def insert_images(observations: Observations, branch: Branch, grid: MapGrid, radius: float) -> SliceSums:
    """Insert the images of a branch at their poses; with several processes, all of its images, everywhere."""
    sums = SliceSums(grid, observations.device)
    n_pixels = observations.n_pixels(radius)
    pixels = observations.pixels[:n_pixels]

    def inserted(chunk: Tensor) -> SliceSums:
        found = SliceSums(grid, observations.device)
        for rows in chunk.split(max(1, points_at_a_time(observations.device) // n_pixels)):
            values, ctf = observations.batch(branch.index[rows], n_pixels)
            poses = branch.poses.select(rows)
            back, weights = centered_ctf(observations, ctf, poses.shift), ctf.square()
            if branch.good is not None:
                back, weights = back * branch.good[rows, None], weights * branch.good[rows, None]
            found.add(values * back, weights, poses.rotation, pixels)
        return found

    order, at_once = slice_order(branch.poses.rotation), max(1, _INSERT_CHUNK // n_pixels)
    for _, part in observations.in_chunks("inserting images", branch.index, at_once, inserted, order=order):
        sums += part
    observations.team.sum_(sums.values, sums.weights)
    return sums


def centered_ctf(observations: Observations, ctf: Tensor, shift: Tensor) -> Tensor:
    """Return what an image is multiplied by to center it and weight it by its CTF."""
    if not bool(shift.any()):
        return ctf
    pixels = observations.pixels[: ctf.shape[1]]
    return ctf * phase_shift(pixels, shift, observations.pixel_size, observations.box_size).conj()


def fsc_prior(equations: NormalEquations, fsc: Tensor, n_shells: int, *, halves_in: int) -> Tensor:
    """Return the penalty of each shell that a half-map FSC implies (as in RELION, Scheres 2012).

    Parameters
    ----------
    equations
        What the penalty will be added to.
    fsc
        Correlation of the half maps by shell, as far as it is known; beyond, it is taken to fall on.
    n_shells
        Shells wanted.
    halves_in
        1 if the equations hold one half of the images, 2 if all.
    """
    weights = equations.shell_weights()[:n_shells]
    known = fsc[:n_shells].clamp(1e-3, 0.999)
    beyond = known[-1] * 0.7 ** torch.arange(1, n_shells - len(known) + 1, device=known.device)
    correlation = torch.cat((known, beyond))
    ssnr = halves_in * correlation / (1 - correlation)
    return weights / ssnr.clamp_min(LEAST_SSNR)


def half_map_fsc(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """Return the correlation of two maps ``(M, M, M)`` in each shell up to a radius; empty shells have 0."""
    curve = fourier_shell_correlation(first, second, 1.0).correlation
    return curve[: int(radius) + 1].nan_to_num(0.0)


def next_radius(fsc: Tensor, radius: float, radius_max: float) -> float:
    """Return how far the next round may use the images: a little beyond where the half maps still agree.

    The step is at most a quarter of the radius, so that no pose is more than a fraction of a wavelength off.
    """
    below = (fsc[1:] < 0.3).nonzero()
    agreed = float(below[0]) if len(below) else float(len(fsc) - 1)
    wanted = max(agreed * 1.15 + 2, radius) if len(below) else radius * 1.25 + 1
    return min(wanted, radius * 1.25 + 1, radius_max)


def resized(volume: Tensor, size: int) -> Tensor:
    """Return a map on another grid."""
    return volume if volume.shape[0] == size else resize_map(volume, size)
