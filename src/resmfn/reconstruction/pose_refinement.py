"""Poses moved to the peak of their likelihood, by Gauss-Newton steps through the central slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.shift import phase_shift
from resmfn.physics.trilinear import Points, gather_trilinear_with_slopes
from resmfn.reconstruction.image_quality import ImageFits
from resmfn.reconstruction.normal_equations import PADDING, MapGrid
from resmfn.reconstruction.observations import Observations
from resmfn.rotations import exp_so3

_CPU_CHUNK = 500_000
_GPU_CHUNK = 12_000_000
_LARGEST_TURN = 0.12
"""Radians a step."""


@dataclass(frozen=True)
class Poses:
    """Rotations and shifts of some images."""

    rotation: Tensor
    """(n, 3, 3)."""
    shift: Tensor
    """(n, 2), Å."""

    def select(self, index: Tensor) -> Poses:
        """Return the poses of some images."""
        return Poses(self.rotation[index], self.shift[index])

    def __len__(self) -> int:
        return len(self.rotation)


@dataclass(frozen=True)
class PoseModel:
    """The map that poses are measured against, and what may move."""

    grid: MapGrid
    transform: Tensor
    """Complex (2M, 2M, 2M) from :meth:`MapGrid.transform`."""
    radius: float
    """Frequencies up to here count, in Fourier pixels."""
    moves_shift: bool
    shift_spread: float | None = None
    """Standard deviation of the shifts' prior along an axis, Å."""


@dataclass(frozen=True)
class PoseFit:
    """Result of :func:`refine_poses`."""

    poses: Poses
    log_likelihood: Tensor
    """(n,): over that of pure noise, the shift's prior included."""
    residual_power: Tensor
    """(shells,): mean of |Y - C S|^2 over the images, at the poses found, by the images' weights."""
    images: ImageFits
    """What the fits say of the images, for the gains that they have."""


def refine_poses(
    observations: Observations,
    index: Tensor,
    poses: Poses,
    model: PoseModel,
    iterations: int = 3,
    weight: Tensor | None = None,
) -> PoseFit:
    """Climb to the nearest peak of each image's likelihood: Levenberg-Marquardt on rotation and shift.

    Parameters
    ----------
    observations
        The images.
    index
        int64 (n,): which of them, one for each pose; an image may stand there several times.
    poses
        Where to start.
    model
        What to compare with.
    iterations
        Steps; each costs one gather of slices.
    weight
        (n,): how much each image counts in the residual power; by default all alike.
    """
    n_pixels = observations.n_pixels(model.radius)
    budget = _GPU_CHUNK if model.transform.is_cuda else _CPU_CHUNK
    shells = observations.shell[:n_pixels]
    residual = torch.zeros(int(shells.max()) + 1, device=shells.device)
    weight = torch.ones(len(index), device=shells.device) if weight is None else weight
    rotation, shift = torch.zeros_like(poses.rotation), torch.zeros_like(poses.shift)
    log_likelihood = torch.zeros(len(index), device=shells.device)
    fits = torch.zeros(3, len(index), device=shells.device)

    def climbed(rows: Tensor) -> tuple[Poses, Tensor, Tensor, Tensor]:
        values, ctf = observations.batch(index[rows], n_pixels)
        climb = _Climb(observations, values, ctf, model)
        best = climb.run(poses.select(rows), iterations)
        return best.poses, best.log_likelihood, weight[rows] @ climb.residual_power(best), climb.image_fits(best)

    for rows, (found, likelihood, power, fit) in observations.in_chunks(
        "refining poses", index, max(1, budget // n_pixels), climbed
    ):
        residual.index_add_(0, shells, power)
        rotation[rows], shift[rows] = found.rotation, found.shift
        log_likelihood[rows], fits[:, rows] = likelihood, fit
    observations.team.sum_(rotation, shift, log_likelihood, residual, fits)
    counts = torch.bincount(shells, minlength=len(residual)).clamp_min(1) * weight.sum()
    return PoseFit(Poses(rotation, shift), log_likelihood, residual / counts, ImageFits(*fits))


@dataclass
class _Point:
    """A pose of each image of a chunk, with the likelihood there and its slope and curvature."""

    poses: Poses
    model_values: Tensor
    log_likelihood: Tensor
    gradient: Tensor
    curvature: Tensor

    def update(self, other: _Point, where: Tensor) -> None:
        """Take the other point for the images where it is better."""
        mine, its = self.poses, other.poses
        self.poses = Poses(
            torch.where(where[:, None, None], its.rotation, mine.rotation),
            torch.where(where[:, None], its.shift, mine.shift),
        )
        self.model_values = torch.where(where[:, None], other.model_values, self.model_values)
        self.log_likelihood = torch.where(where, other.log_likelihood, self.log_likelihood)
        self.gradient = torch.where(where[:, None], other.gradient, self.gradient)
        self.curvature = torch.where(where[:, None, None], other.curvature, self.curvature)


class _Climb:
    """One chunk of images on the way to their peaks."""

    def __init__(self, observations: Observations, values: Tensor, ctf: Tensor, model: PoseModel) -> None:
        self.values, self.ctf, self.model = values, ctf, model
        self.pixels = observations.pixels[: values.shape[1]]
        self.k = self.pixels.to(ctf)
        self.pixel_size, self.box_size = observations.pixel_size, observations.box_size

    def run(self, poses: Poses, iterations: int) -> _Point:
        best = self._look(poses)
        damping = torch.full_like(best.log_likelihood, 0.02)
        for _ in range(iterations):
            trial = self._look(self._step(best, damping))
            better = trial.log_likelihood >= best.log_likelihood
            best.update(trial, better)
            damping = torch.where(better, damping * 0.3, damping * 8)
        return best

    def residual_power(self, point: _Point) -> Tensor:
        return (self.values - point.model_values).abs().square()

    def image_fits(self, point: _Point) -> Tensor:
        """Return overlap, power and log share of :class:`ImageFits`; (3, n).

        The integral of the likelihood around a peak is ``(pi^d / det H)^(1/2)`` times its height, where it falls off
        as ``exp(-x H x)``; turns have 8 pi^2 of room, shifts that of their prior.
        """
        overlap = torch.einsum("np,np->n", point.model_values.conj(), self.values).real
        power = point.model_values.abs().square().sum(dim=1)
        n_free = point.curvature.shape[1]
        steady = point.curvature + 1e-3 * torch.eye(n_free, device=power.device)
        room = math.log(8 * math.pi**2)
        spread = self.model.shift_spread
        log_share = 0.5 * (n_free * math.log(math.pi) - torch.linalg.slogdet(steady)[1])
        if self.model.moves_shift and spread is not None:
            room += math.log(2 * math.pi * spread**2)
            log_share = log_share - 0.5 * point.poses.shift.square().sum(dim=1) / spread**2
        return torch.stack((overlap, power, (log_share - room).clamp_max(0.0)))

    def _step(self, point: _Point, damping: Tensor) -> Poses:
        diagonal = point.curvature.diagonal(dim1=1, dim2=2)
        damped = point.curvature + torch.diag_embed(diagonal * damping[:, None] + 1e-6)
        step = torch.linalg.solve(damped, point.gradient)
        turn = step[:, :3]
        turn = turn * (_LARGEST_TURN / turn.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
        shift = point.poses.shift
        if self.model.moves_shift:
            shift = shift + step[:, 3:].clamp(-self.pixel_size, self.pixel_size)
        return Poses(exp_so3(turn) @ point.poses.rotation, shift)

    def _look(self, poses: Poses) -> _Point:
        """Slice the map at these poses, with the slopes along each of the three turns and two shifts."""
        predicted, turned = self._slice_with_turns(poses)
        jacobian = list(turned)
        if self.model.moves_shift:
            per_angstrom = 2j * math.pi / (self.box_size * self.pixel_size)
            jacobian += [predicted * (per_angstrom * self.k[:, axis]) for axis in (0, 1)]
        residual = self.values - predicted
        slopes = torch.view_as_real(torch.stack(jacobian, dim=1)).flatten(2)
        gradient = torch.einsum("nij,nj->ni", slopes, torch.view_as_real(residual).flatten(1))
        curvature = slopes @ slopes.transpose(1, 2)
        log_likelihood = (self.values.abs().square() - residual.abs().square()).sum(dim=1)
        if self.model.moves_shift and self.model.shift_spread is not None:
            # The likelihood is exp(-|r|^2): its quadratic has no factor 1/2, so neither has the prior's here.
            precision = 0.5 / self.model.shift_spread**2
            log_likelihood = log_likelihood - precision * poses.shift.square().sum(dim=1)
            gradient[:, 3:] -= precision * poses.shift
            curvature[:, 3:, 3:] += precision * torch.eye(2, device=curvature.device)
        return _Point(poses, predicted, log_likelihood, gradient, curvature)

    def _slice_with_turns(self, poses: Poses) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return C S and its derivatives by a turn about the image's x, y and z axes.

        A turn by w moves the point that pixel k reads by ``A^T (k x w)``; in the image's frame the map's gradient G
        gives ``dS/dw = -(k x G)``.
        """
        rotation = poses.rotation
        side = self.model.transform.shape[0]
        kx, ky = PADDING * self.k[:, 0], PADDING * self.k[:, 1]
        first, second = rotation[:, 0, :, None], rotation[:, 1, :, None]
        x, y, z = ((kx * first[:, axis] + ky * second[:, axis] + side // 2).view(-1) for axis in range(3))
        values, slopes = gather_trilinear_with_slopes(self.model.transform, Points(x, y, z))
        shape = self.values.shape
        factor: Tensor = self.ctf
        if self.model.moves_shift:
            factor = factor * phase_shift(self.pixels, poses.shift, self.pixel_size, self.box_size)
        in_map = [slope.view(shape) for slope in slopes]
        gx, gy, gz = (
            sum((rotation[:, i, j, None] * in_map[j] for j in range(3)), start=torch.zeros_like(in_map[0])) * factor
            for i in range(3)
        )
        return values.view(shape) * factor, (-ky * gz, kx * gz, ky * gx - kx * gy)
