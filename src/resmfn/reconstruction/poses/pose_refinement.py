"""Pose refinement: Gauss-Newton steps on the likelihood of central slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.compiled import compiled_loops
from resmfn.physics.projection import slice_order, slice_points
from resmfn.physics.shift import phase_shift
from resmfn.physics.trilinear import gather_trilinear_with_slopes, points_at_a_time
from resmfn.reconstruction.images.image_quality import ImageFits
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import PADDING, MapGrid
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import exp_so3

_LEAST_CHUNK = 500_000
"""Pixels of images whose poses are stepped together; their slices are taken a cacheful at a time."""


_LARGEST_ROTATION = 0.12
"""Largest rotation in one step, radians. No comparison recorded."""


_LEAST_WEIGHT = 1.0
"""Images of a group whose residual says something of its noise."""
_LEAST_GAIN = 0.05
"""Nat: an image is at its peak where the next step promises less. Noise alone moves a peak by 0.5 nat for each of its
three or five unknowns: what is left adds 3 % to that at most."""


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
    """(groups, shells): mean of |Y - C S|^2 over a group's images, at the poses found, by the images' weights; 0 where
    these come to less than one image."""
    images: ImageFits
    """Fit of each image, at its present gain."""


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
        Most steps; each costs one gather of the slices of images that are not at their peak yet.
    weight
        (n,): how much each image counts in the residual power; by default all alike.
    """
    n_pixels = observations.n_pixels(model.radius)
    budget = max(_LEAST_CHUNK, points_at_a_time(model.transform.device))
    shells = observations.shell[:n_pixels]
    group = observations.noise_group[index]
    residual = torch.zeros(observations.n_groups, int(shells.max()) + 1, device=shells.device)
    weight = torch.ones(len(index), device=shells.device) if weight is None else weight
    rotation, shift = torch.zeros_like(poses.rotation), torch.zeros_like(poses.shift)
    log_likelihood = torch.zeros(len(index), device=shells.device)
    of_shell = observations.shell_matrix(n_pixels)
    fits = torch.zeros(4 * of_shell.shape[1] + 1, len(index), device=shells.device)

    def climbed(rows: Tensor) -> tuple[Poses, Tensor, Tensor, Tensor]:
        here = poses.select(rows)
        climb = _Climb(observations, index[rows], n_pixels, model, here.shift)
        best = climb.run(here, iterations)
        fitted = climb.model_values(best)
        of_group = torch.zeros(observations.n_groups, len(rows), device=shells.device)
        of_group[group[rows], torch.arange(len(rows), device=shells.device)] = weight[rows]
        power = of_group @ climb.residual_power(fitted)
        return best.poses, best.log_likelihood, power, climb.image_fits(best, fitted, of_shell)

    for rows, (found, likelihood, power, fit) in observations.in_chunks(
        "refining poses", index, max(1, budget // n_pixels), climbed, order=slice_order(poses.rotation)
    ):
        residual.index_add_(1, shells, power)
        rotation[rows], shift[rows] = found.rotation, found.shift
        log_likelihood[rows], fits[:, rows] = likelihood, fit
    observations.team.sum_(rotation, shift, log_likelihood, residual, fits)
    weight_of_group = torch.zeros(len(residual), device=shells.device).index_add_(0, group, weight)
    counts = torch.bincount(shells, minlength=residual.shape[1]) * weight_of_group[:, None]
    residual = residual / counts.clamp_min(1e-3) * (weight_of_group >= _LEAST_WEIGHT)[:, None]
    return PoseFit(Poses(rotation, shift), log_likelihood, residual, _image_fits(fits, shells))


def _image_fits(fits: Tensor, shells: Tensor) -> ImageFits:
    """Put together what :meth:`_Climb.image_fits` found of each image."""
    overlap, power, image_power, ctf_power, log_occam_factor = fits.split([(len(fits) - 1) // 4] * 4 + [1])
    return ImageFits(overlap.T, power.T, image_power.T, ctf_power.T, log_occam_factor[0], torch.bincount(shells))


@dataclass
class _Point:
    """A pose of each image of a chunk, with the likelihood there and its slope and curvature."""

    poses: Poses
    centered: Tensor
    """C S as real numbers (n, 2 P): the model of an image with its shift taken out."""
    log_likelihood: Tensor
    gradient: Tensor
    curvature: Tensor

    def update(self, rows: Tensor, other: _Point, where: Tensor) -> None:
        """Take the other point, which is of some rows, for those of them where it is better."""
        taken = where.nonzero()[:, 0]  # once: a GPU is waited for
        better = rows[taken]
        for mine, its in zip(self._parts(), other._parts(), strict=True):
            mine[better] = its[taken]

    def _parts(self) -> tuple[Tensor, ...]:
        poses = self.poses
        return poses.rotation, poses.shift, self.centered, self.log_likelihood, self.gradient, self.curvature


class _Climb:
    """One chunk of images on the way to their peaks.

    An image's shift is a phase of each pixel, which changes no length: it is taken out of the image, so that the slices
    and their slopes need only the CTF, which is real. A shift that does not move is taken out once for all.
    """

    def __init__(
        self, observations: Observations, index: Tensor, n_pixels: int, model: PoseModel, shift: Tensor
    ) -> None:
        self.values, self.ctf = observations.batch(index, n_pixels)
        self.model, self.pixels = model, observations.pixels[:n_pixels]
        self.pixel_size, self.box_size = observations.pixel_size, observations.box_size
        if not model.moves_shift and bool(shift.any()):
            self.values = self.values * self._phase(shift).conj()
        self.magnification = observations.magnification.select(index)
        self.k = self.pixels.to(self.ctf).T.repeat_interleave(2, dim=1)
        """(2, 2 P): kx and ky, for real and imaginary parts."""

    def run(self, poses: Poses, iterations: int) -> _Point:
        """Step each image until it is at its peak, or has made all steps."""
        everyone = torch.arange(len(poses), device=poses.rotation.device)
        best = self._evaluate(Poses(poses.rotation.clone(), poses.shift.clone()), everyone)
        damping = torch.full_like(best.log_likelihood, 0.02)
        for _ in range(iterations):
            stepped, gain = self._step(best, damping)
            rows = everyone[gain > _LEAST_GAIN]
            if len(rows) == 0:
                break
            trial = self._evaluate(stepped.select(rows), rows)
            better = trial.log_likelihood >= best.log_likelihood[rows]
            best.update(rows, trial, better)
            damping[rows] *= torch.where(better, 0.3, 8.0)
        return best

    def model_values(self, point: _Point) -> Tensor:
        """Return the model of each image, complex (n, P)."""
        centered = torch.view_as_complex(point.centered.unflatten(1, (-1, 2)))
        return centered * self._phase(point.poses.shift) if self.model.moves_shift else centered

    def residual_power(self, fitted: Tensor) -> Tensor:
        return (self.values - fitted).abs().square()

    def image_fits(self, point: _Point, fitted: Tensor, of_shell: Tensor) -> Tensor:
        """Return overlap, power, image power and CTF power by shell, and log share, of :class:`ImageFits`.

        The integral of the likelihood around a peak is ``(pi^d / det H)^(1/2)`` times its height, where it falls off
        as ``exp(-x H x)``. Rotations have a volume of 8 pi^2, divided by the order of the map's point group, for each
        peak stands for all its symmetric copies; shifts have that of their prior.
        """
        n_free = point.curvature.shape[1]
        steady = point.curvature + 1e-3 * torch.eye(n_free, device=point.curvature.device)
        volume = math.log(8 * math.pi**2 / len(self.model.grid.group))
        spread = self.model.shift_spread
        log_occam_factor = 0.5 * (n_free * math.log(math.pi) - torch.linalg.slogdet(steady)[1])
        if self.model.moves_shift and spread is not None:
            volume += math.log(2 * math.pi * spread**2)
            log_occam_factor = log_occam_factor - 0.5 * point.poses.shift.square().sum(dim=1) / spread**2
        overlap = (fitted.conj() * self.values).real
        products = (overlap, fitted.abs().square(), self.values.abs().square(), self.ctf.square())
        parts = [(product @ of_shell).T for product in products]
        return torch.cat((*parts, (log_occam_factor - volume).clamp_max(0.0)[None]))

    def _step(self, point: _Point, damping: Tensor) -> tuple[Poses, Tensor]:
        """Return the next poses, and what the step promises before it is cut to its largest length, nat."""
        diagonal = point.curvature.diagonal(dim1=1, dim2=2)
        damped = point.curvature + torch.diag_embed(diagonal * damping[:, None] + 1e-6)
        step = torch.linalg.solve_ex(damped, point.gradient)[0]  # damped is regular: no look at it that waits for a GPU
        gain = (step * point.gradient).sum(dim=1)
        rotation_step = step[:, :3]
        rotation_step = rotation_step * (
            _LARGEST_ROTATION / rotation_step.norm(dim=1, keepdim=True).clamp_min(1e-12)
        ).clamp_max(1)
        shift = point.poses.shift
        if self.model.moves_shift:
            shift = shift + step[:, 3:].clamp(-self.pixel_size, self.pixel_size)
        return Poses(exp_so3(rotation_step) @ point.poses.rotation, shift), gain

    def _evaluate(self, poses: Poses, images: Tensor) -> _Point:
        """Slice the map at poses of some images; all that a step needs are a few products of pixels for each."""
        n, n_free = len(poses), 5 if self.model.moves_shift else 3
        centered = self.ctf.new_empty(n, self.k.shape[1])
        products = self.ctf.new_empty(n, n_free + 2, n_free + 2)
        step = max(1, points_at_a_time(centered.device) // len(self.pixels))
        for start in range(0, n, step):
            part = slice(start, start + step)
            rows = self._rows(poses.select(part), images[part], n_free)
            products[part] = rows @ rows.mT
            centered[part] = rows[:, -2]
        overlap, power = products[:, -2, -1], products[:, -2, -2]
        gradient = products[:, :n_free, -1] - products[:, :n_free, -2]
        curvature = products[:, :n_free, :n_free].clone()
        log_likelihood = 2 * overlap - power
        if self.model.moves_shift and self.model.shift_spread is not None:
            # The likelihood is exp(-|r|^2): its quadratic has no factor 1/2, so neither has the prior's here.
            precision = 0.5 / self.model.shift_spread**2
            log_likelihood = log_likelihood - precision * poses.shift.square().sum(dim=1)
            gradient[:, 3:] -= precision * poses.shift
            curvature[:, 3:, 3:] += precision * torch.eye(2, device=curvature.device)
        return _Point(poses, centered, log_likelihood, gradient, curvature)

    def _phase(self, shift: Tensor) -> Tensor:
        return phase_shift(self.pixels, shift, self.pixel_size, self.box_size)

    def _rows(self, poses: Poses, images: Tensor, n_free: int) -> Tensor:
        """Return slopes of the model along the turns and shifts, the model C S, and the image; (m, n_free + 2, 2 P).

        A turn by w moves the point that pixel k reads by ``A^T (k x w)``; in the image's frame the map's gradient G
        gives ``dS/dw = -(k x G) = (-ky Gz, kx Gz, ky Gx - kx Gy)``. At a magnification M, k is M k there.
        """
        m, n_pixels = len(poses), len(self.pixels)
        rows = self.ctf.new_empty(m, n_free + 2, 2 * n_pixels)
        ctf, values = self.ctf[images], self.values[images]
        transform, rotation = self.model.transform, poses.rotation
        per_angstrom = 2 * math.pi / (self.box_size * self.pixel_size)
        loops = compiled_loops(transform, ctf, values, rotation, poses.shift)
        if loops is not None and self.magnification.matrix is None:
            both = (rotation, poses.shift)
            loops.slope_rows(transform, both, self.pixels, PADDING, ctf, values, per_angstrom, rows)
            return rows
        model_values, slopes = gather_trilinear_with_slopes(
            transform,
            slice_points(self.magnification.frames(images, rotation), self.pixels, PADDING, transform.shape[0]),
        )
        ctf = torch.view_as_real(torch.complex(ctf, ctf)).flatten(1)
        model = torch.mul(torch.view_as_real(model_values).view(m, -1), ctf, out=rows[:, -2])
        in_map = torch.view_as_real(slopes).view(3, m, -1)
        gx, gy, gz = (_along(rotation[:, axis], in_map).mul_(ctf) for axis in range(3))
        kx, ky = (PADDING * k for k in self.magnification.of_specimen(images, self.k))
        torch.mul(gz, -ky, out=rows[:, 0])
        torch.mul(gz, kx, out=rows[:, 1])
        torch.addcmul(gx.mul_(ky), gy, kx, value=-1, out=rows[:, 2])
        image = torch.view_as_complex(rows[:, -1].unflatten(1, (-1, 2)))
        if not self.model.moves_shift:
            image.copy_(values)
            return rows
        torch.mul(values, self._phase(poses.shift).conj(), out=image)
        turned = torch.view_as_real(torch.view_as_complex(model.unflatten(1, (-1, 2))) * 1j).view(m, -1)
        torch.mul(turned[:, None], self.k * per_angstrom, out=rows[:, 3:5])
        return rows


def _along(direction: Tensor, in_map: Tensor) -> Tensor:
    """Return the component along a direction (n, 3) of each image's gradients (3, n, P)."""
    x, y, z = direction[:, :, None].unbind(dim=1)
    return (x * in_map[0]).addcmul_(y, in_map[1]).addcmul_(z, in_map[2])
