"""Find the rotation, shift and hand that bring one map's Fourier coefficients onto another's.

Works on whitened coefficients inside a band. A candidate says
``aligned(x) = moving(hand R^T x + s)``, hence ``aligned^(k) = moving^(hand R^T k) exp(2 pi i k.t / N)``, t = hand R s:
here t, in voxels, in the reference's frame, is what is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.fourier.grids import centered_indices, shell_average
from resmfn.fourier.transforms import fftn_centered
from resmfn.physics.projection import padded_transform
from resmfn.rotations import exp_so3, super_fibonacci

PADDING = 2  # of trilinear interpolation, as in the projectors
N_ROTATIONS = 4608  # 7 degrees apart, enough for about eight shells
CHUNK = 512  # rotations at a time: memory only
SMALLEST_STEP = 3e-4
"""Radians plus voxels: a refinement ends when every candidate moves less."""


@dataclass(frozen=True)
class Candidates:
    """Trial alignments, best first where they have been scored."""

    rotation: Tensor
    """Proper rotations R, (n, 3, 3)."""
    translation: Tensor
    """t in voxels, x, y, z in the reference's frame, (n, 3)."""
    hand: Tensor
    """+1 or -1, (n,)."""
    score: Tensor
    """Weighted correlation of the coefficients, -1 to 1, (n,)."""

    def select(self, index: Tensor) -> Candidates:
        """Keep these candidates, in this order."""
        return Candidates(self.rotation[index], self.translation[index], self.hand[index], self.score[index])

    def best(self, n: int, hand: int) -> Candidates:
        """Keep the ``n`` best of one hand."""
        index = (self.hand == hand).nonzero().flatten()
        return self.select(index[torch.argsort(self.score[index], descending=True)[:n]])


def join(a: Candidates, b: Candidates) -> Candidates:
    """Put two lists of candidates behind each other."""
    pairs = ((a.rotation, b.rotation), (a.translation, b.translation), (a.hand, b.hand), (a.score, b.score))
    return Candidates(*(torch.cat(pair) for pair in pairs))


class MapPair:
    """Two maps whose coefficients can be compared at any rotation, shift and hand.

    Parameters
    ----------
    moving, reference
        Maps, (N, N, N), masked, of one size and voxel size.
    """

    def __init__(self, moving: Tensor, reference: Tensor) -> None:
        self.box_size = moving.shape[-1]
        self._transform = torch.view_as_real(padded_transform(moving, PADDING)).permute(3, 0, 1, 2)[None].contiguous()
        self._moving_amplitude = _shell_amplitude(fftn_centered(moving))
        self._reference = fftn_centered(reference)
        self._reference_amplitude = _shell_amplitude(self._reference)

    def points(self, radius_min: float, radius_max: float) -> Tensor:
        """Integer frequencies (kx, ky, kz) of a half space between two radii, (P, 3)."""
        return half_space_points(radius_max, radius_min).to(self._reference.real)

    def reference_at(self, points: Tensor) -> Tensor:
        """Whitened coefficients of the reference at integer frequencies (P, 3); (P,) complex."""
        x, y, z = (points.long() + self.box_size // 2).unbind(-1)
        return self._reference[z, y, x] / self._reference_amplitude[_shell(points)]

    def moving_at(self, rotation: Tensor, points: Tensor) -> Tensor:
        """Whitened coefficients of the moving map at ``R^T k``; (n, 3, 3) and (P, 3) to (n, P) complex."""
        size = self.box_size * PADDING
        grid = (2 * ((points @ rotation) * PADDING + size // 2) + 1) / size - 1
        values = torch.nn.functional.grid_sample(self._transform, grid[None, None], align_corners=False)[0, :, 0]
        return torch.complex(values[0], values[1]) / self._moving_amplitude[_shell(points)]

    def aligned_at(self, rotation: Tensor, translation: Tensor, hand: Tensor, points: Tensor) -> Tensor:
        """Whitened coefficients of the moving map after alignment, at integer frequencies (P, 3); (n, P) complex."""
        moved = self.moving_at(rotation, points)
        moved = torch.complex(moved.real, moved.imag * hand[:, None].to(moved.real))
        phase = 2 * math.pi / self.box_size * (translation @ points.T)
        return moved * torch.polar(torch.ones_like(phase), phase)

    def score(self, candidates: Candidates, points: Tensor, weight: Tensor) -> Tensor:
        """Weighted correlation of every candidate, (n,)."""
        moved = self.aligned_at(candidates.rotation, candidates.translation, candidates.hand, points)
        reference = self.reference_at(points)
        cross = (moved * reference.conj()).real @ weight
        power = (moved.abs().square() @ weight) * (reference.abs().square() @ weight)
        return cross / power.clamp(min=torch.finfo(power.dtype).tiny).sqrt()

    def shell_correlation(self, candidate: Candidates, radius_max: int) -> Tensor:
        """Correlation of one candidate in shells 0 to ``radius_max``; shell 0 counts as 0."""
        points = self.points(0.6, radius_max + 0.5)
        shells = _shell(points)
        out = [torch.zeros_like(points[0, 0])]
        for k in range(1, radius_max + 1):
            inside = points[shells == k]
            out.append(self.score(candidate, inside, torch.ones_like(inside[:, 0]))[0])
        return torch.stack(out)


def half_space_points(radius_max: float, radius_min: float) -> Tensor:
    """Integer frequencies between two radii, one of each pair k, -k; int64 (P, 3) as (kx, ky, kz)."""
    reach = int(radius_max)
    axis = torch.arange(-reach, reach + 1)
    z, y, x = torch.meshgrid(axis[reach:], axis, axis, indexing="ij")
    points = torch.stack((x.flatten(), y.flatten(), z.flatten()), -1)
    squared = points.square().sum(-1)
    first = (points[:, 2] > 0) | (points[:, 1] > 0) | ((points[:, 1] == 0) & (points[:, 0] > 0))
    return points[(squared >= radius_min**2) & (squared <= radius_max**2) & first]


def exhaustive_search(pair: MapPair, radius: float, reach: float, keep: int, separation_deg: float) -> Candidates:
    """Score every rotation of an even grid at every translation of a ball, for both hands.

    The grid has 4608 rotations (super-Fibonacci, mean cover 7 degrees), enough for about eight shells. Translations
    are tried all at once as a matrix product.

    Parameters
    ----------
    radius
        Band limit in Fourier pixels.
    reach
        Longest translation in voxels.
    keep
        Candidates kept of each hand, no two nearer than ``separation_deg``.
    """
    points = pair.points(1.0, radius)
    reference = pair.reference_at(points)
    shifts = ball(reach, step=pair.box_size / (3 * radius)).to(points)
    phase = 2 * math.pi / pair.box_size * (points @ shifts.T)
    rotations = super_fibonacci(N_ROTATIONS, points.dtype)
    found: dict[int, list[tuple[Tensor, Tensor]]] = {1: [], -1: []}
    basis = torch.cat((phase.cos(), -phase.sin()))
    for chunk in rotations.split(CHUNK):
        moved = pair.moving_at(chunk, points)
        norm = moved.abs().square().sum(-1).sqrt() * torch.linalg.vector_norm(reference)
        for hand, coefficients in ((1, moved), (-1, moved.conj())):
            product = coefficients * reference.conj()
            score = torch.cat((product.real, product.imag), -1) @ basis
            best = score.max(-1)
            found[hand].append((best.values / norm, best.indices))
    lists = []
    for hand, parts in found.items():
        score, index = (torch.cat(x) for x in zip(*parts, strict=True))
        kept = _distinct(rotations, score, keep, separation_deg)
        lists.append(Candidates(rotations[kept], shifts[index[kept]], torch.full((len(kept),), hand), score[kept]))
    return join(*lists)


def refine(pair: MapPair, candidates: Candidates, points: Tensor, weight: Tensor, n_steps: int) -> Candidates:
    """Climb from every candidate to its nearest maximum of the score.

    Levenberg-Marquardt on the weighted coefficients, all candidates at once: six parameters each, three of rotation
    in the tangent space (derivatives by central differences over a quarter of a Fourier pixel at the band's edge) and
    three of translation. The correlation so far scales the curvature, which keeps steps long where maps agree little.
    """
    n = len(candidates.score)
    current = Candidates(
        candidates.rotation, candidates.translation, candidates.hand, pair.score(candidates, points, weight)
    )
    damping = torch.full((n,), 1e-2, dtype=points.dtype)
    reference = pair.reference_at(points)
    for _ in range(n_steps):
        jacobian = _jacobian(pair, current, points)
        weighted = jacobian * weight
        slope = (weighted * reference.conj()).real.sum(-1)
        curvature = (weighted @ jacobian.conj().mT).real * current.score.clamp(min=0.1)[:, None, None]
        diagonal = curvature.diagonal(dim1=-2, dim2=-1)
        ridge = torch.diag_embed(diagonal * damping[:, None] + 1e-6 * diagonal.amax(-1, keepdim=True))
        step = torch.linalg.solve(curvature + ridge, slope)
        trial = Candidates(
            exp_so3(step[:, :3]) @ current.rotation, current.translation + step[:, 3:], current.hand, current.score
        )
        score = pair.score(trial, points, weight)
        better = score > current.score
        damping = torch.where(better, damping / 5, damping * 8)
        if float((step[:, :3].abs().amax(-1) + step[:, 3:].abs().amax(-1)).max()) < SMALLEST_STEP:
            break
        current = Candidates(
            torch.where(better[:, None, None], trial.rotation, current.rotation),
            torch.where(better[:, None], trial.translation, current.translation),
            current.hand,
            torch.where(better, score, current.score),
        )
    return current


def _jacobian(pair: MapPair, candidates: Candidates, points: Tensor) -> Tensor:
    """Derivatives of every candidate's coefficients by rotation (3) and translation (3); (n, 6, P) complex."""
    delta = 0.25 / float(torch.linalg.vector_norm(points, dim=-1).max())
    turns = exp_so3(delta * torch.eye(3, dtype=points.dtype))
    turns = torch.cat((turns, turns.mT, torch.eye(3, dtype=points.dtype)[None]))
    moved = pair.aligned_at(
        (turns @ candidates.rotation[:, None]).flatten(0, 1),
        candidates.translation.repeat_interleave(7, 0),
        candidates.hand.repeat_interleave(7),
        points,
    ).unflatten(0, (-1, 7))
    by_rotation = (moved[:, :3] - moved[:, 3:6]) / (2 * delta)
    by_translation = moved[:, 6:] * (2j * math.pi / pair.box_size * points.T)
    return torch.cat((by_rotation, by_translation), 1)


def _shell(points: Tensor) -> Tensor:
    return torch.linalg.vector_norm(points, dim=-1).round().long()


def _shell_amplitude(transform: Tensor) -> Tensor:
    """Root mean square of each shell, (N // 2 + 1,); never 0."""
    amplitude = shell_average(transform.abs().square(), transform.shape[-1]).sqrt()
    return amplitude.clamp(min=1e-6 * float(amplitude.max()) + torch.finfo(amplitude.dtype).tiny)


def ball(radius: float, step: float) -> Tensor:
    """Return the vectors of a cubic lattice inside a ball, (T, 3)."""
    n = int(radius / step)
    axis = centered_indices(2 * n + 1) * step
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return grid[torch.linalg.vector_norm(grid, dim=-1) <= radius + 1e-6]


def _distinct(rotations: Tensor, score: Tensor, keep: int, separation_deg: float) -> Tensor:
    """Indices of the best rotations, each at least ``separation_deg`` from those before."""
    order = torch.argsort(score, descending=True)[: 100 * keep]
    flat = rotations[order].flatten(1)
    near = flat @ flat.T > 1 + 2 * math.cos(math.radians(separation_deg))  # trace of the relative rotation
    free = torch.ones(len(order), dtype=torch.bool)
    kept: list[int] = []
    for i in range(len(order)):
        if bool(free[i]) and len(kept) < keep:
            kept.append(i)
            free &= ~near[i]
    return order[torch.tensor(kept)]
