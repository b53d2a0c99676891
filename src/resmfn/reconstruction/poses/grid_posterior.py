"""Exhaustive soft assignment: every image against every rotation and shift of a grid, as matrix products.

The log-likelihood of image i at rotation g and shift t, less that of no signal at all, is
``2 Re <C Y_t, S_g> - <C^2, |S_g|^2>``: two products of an image matrix with a slice matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.shift import phase_shift
from resmfn.reconstruction.config import ScorePrecision
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.score_products import RESCORED, SliceProducts

_CPU_BUDGET = 12_000_000
_GPU_BUDGET = 100_000_000


@dataclass(frozen=True)
class PoseGrid:
    """Rotations and shifts that are tried, and maps."""

    rotations: Tensor
    """(G, 3, 3)."""
    offsets: Tensor
    """(T, 2) in Å, around each image's center."""
    spread: float | None = None
    """Standard deviation of shifts along an axis, Å: the prior; None is flat."""
    precision: ScorePrecision = "full"
    """Of the scores; the best poses of each image are scored in full precision all the same."""
    log_share: Tensor | None = None
    """(K,): log prior of each map, where there are several; which of them an image shows is then one more unknown."""


@dataclass(frozen=True)
class _Scores:
    """What a chunk of m images says of P pixels, T shifts and G rotations: all that grows with the chunk."""

    images: Tensor
    """(m T, 2 P): moved back by each shift, as real rows."""
    power: Tensor
    """(m, P): C^2."""
    share: Tensor
    """(m T, G): posterior."""
    share_of_rotation: Tensor
    """(m, G)."""
    of_images: tuple[Tensor, ...]
    """Of each image: log evidence, largest probability, mean shift, best slices, their shifts, entropy, of each map."""


@dataclass(frozen=True)
class GridPosterior:
    """What an exhaustive pass leaves behind."""

    values: Tensor
    """Complex (G, P): posterior-weighted sums of ``C Y`` at each rotation."""
    weights: Tensor
    """(G, P): the same of ``C^2``."""
    log_evidence: Tensor
    """(n,): log of the likelihood's mean over the grid, over that of pure noise."""
    shift: Tensor
    """(n, 2): posterior mean, Å."""
    max_probability: Tensor
    """(n,): largest posterior probability of a single grid point."""
    top_rotation: Tensor
    """int64 (n, k): grid rotations of the k best points, best first."""
    top_shift: Tensor
    """(n, k, 2): their shifts, Å."""
    entropy: Tensor
    """(n,): of the posterior over the grid, nat: 0 is one certain pose; nan where points are not listed (n_top 1)."""
    evidence_of_map: Tensor
    """(n, maps): as ``log_evidence``, of each map alone."""


def grid_posterior(
    observations: Observations,
    index: Tensor,
    slices: Tensor,
    grid: PoseGrid,
    center: Tensor,
    *,
    temperature: float = 1.0,
    n_top: int = 1,
    weight: Tensor | None = None,
) -> GridPosterior:
    """Score images against all slices and sum them by their posterior.

    Parameters
    ----------
    observations
        The images.
    index
        int64 (n,): which of them.
    slices
        Complex (G, P): the map at each rotation, at the first P pixels. Of several maps (K G, P), one after the other;
        ``values``, ``weights`` and ``top_rotation`` then count the slices of all.
    grid
        Rotations, shifts and maps.
    center
        (n, 2): the shift of each image, in Å, that the offsets start from.
    temperature
        The log-posterior is divided by it; above 1 assignments are softer than the likelihood says.
    n_top
        How many of the best points to list for each image.
    weight
        (n,): how much each image counts in the sums; by default 1.
    """
    log_share = grid.log_share
    n_slices, n_pixels = slices.shape
    n_maps = 1 if log_share is None else len(log_share)
    n_rotations = n_slices // n_maps
    n_offsets = len(grid.offsets)
    budget = _GPU_BUDGET if slices.is_cuda else _CPU_BUDGET
    chunk = max(1, budget // (n_slices * n_offsets))
    products = SliceProducts(slices, grid.precision)
    sums = torch.zeros(n_slices, 2 * n_pixels, device=slices.device)
    weights = torch.zeros(n_slices, n_pixels, device=slices.device)
    of_all = _nothing_yet(center, n_top, n_maps)

    def scored(rows: Tensor) -> _Scores:
        values, ctf = observations.batch(index[rows], n_pixels)
        shift = center[rows, None] + grid.offsets
        images = _shifted(observations, values * ctf, shift)
        power = ctf.square()
        score = products.scores(images, power)
        log_prior = _log_prior(shift, grid.spread)
        score += log_prior[:, :, None]
        if log_share is not None:
            score += log_share.repeat_interleave(n_rotations)
        flat = score.view(len(rows), -1)
        best, highest = _best(flat, products, images, power, log_prior, n_top)
        of_map = None if log_share is None else _evidence_of_maps(score, log_share)
        log_evidence, largest = _soften(flat, temperature, highest)
        # Known where poses are listed; elsewhere it is not worth a pass over all scores.
        entropy = torch.special.entr(flat).sum(dim=1) if n_top > 1 else torch.full_like(largest, math.nan)
        score = flat.view(len(rows), n_offsets, n_slices)
        mean_shift = torch.einsum("nt,ntd->nd", score.sum(dim=2), shift)
        top_shift = torch.take_along_dim(shift, (best // n_slices)[:, :, None].expand(-1, -1, 2), dim=1)
        of_map = log_evidence[:, None] if of_map is None else of_map
        of_images = (log_evidence, largest, mean_shift, best % n_slices, top_shift, entropy, of_map)
        if weight is not None:
            score *= weight[rows, None, None]
        return _Scores(images, power, flat.view(-1, n_slices), score.sum(dim=1), of_images)

    for rows, found in observations.in_chunks("scoring images", index, chunk, scored):
        # In place, so that nothing here can run out of memory halfway.
        sums.addmm_(found.share.T, found.images)
        weights.addmm_(found.share_of_rotation.T, found.power)
        for whole, part in zip(of_all, found.of_images, strict=True):
            whole[rows] = part
    # What another process holds is 0 here: the sum puts the images' own figures together too.
    observations.team.sum_(sums, weights, *of_all)
    evidence, probability, mean_shift, top_rotation, top_shift, entropy, of_map = of_all
    return GridPosterior(
        torch.complex(sums[:, :n_pixels].contiguous(), sums[:, n_pixels:].contiguous()),
        weights,
        evidence - math.log(n_rotations),
        mean_shift,
        probability,
        top_rotation,
        top_shift,
        entropy,
        of_map - math.log(n_rotations),
    )


def _evidence_of_maps(score: Tensor, log_share: Tensor) -> Tensor:
    """Return the log evidence (m, K) of each map, from scores (m, T, K G) to which the maps' priors were added."""
    n_maps = len(log_share)
    of_map = score.view(len(score), score.shape[1], n_maps, -1)
    return torch.logsumexp(of_map.logsumexp(dim=3), dim=1) - log_share


def _nothing_yet(center: Tensor, n_top: int, n_maps: int) -> list[Tensor]:
    """Return zeros in place of the figures of all images, as ``_Scores.of_images`` lists them."""
    n = len(center)
    evidence, largest, entropy = (torch.zeros(n, device=center.device) for _ in range(3))
    best = torch.zeros(n, n_top, dtype=torch.int64, device=center.device)
    of_map = torch.zeros(n, n_maps, device=center.device)
    return [evidence, largest, center.new_zeros(n, 2), best, center.new_zeros(n, n_top, 2), entropy, of_map]


def _best(
    flat: Tensor, products: SliceProducts, images: Tensor, power: Tensor, log_prior: Tensor, n_top: int
) -> tuple[Tensor, Tensor]:
    """Return the best points (n, k) and the highest score (n, 1); what was scored roughly is put right in ``flat``."""
    if products.exact:
        top = flat.topk(n_top, dim=1)
        return top.indices, top.values[:, :1]
    kept = flat.topk(min(n_top + RESCORED, flat.shape[1]), dim=1).indices
    n_rotations = flat.shape[1] // log_prior.shape[1]
    again = products.scores_again(images, power, kept) + log_prior.gather(1, kept // n_rotations)
    flat.scatter_(1, kept, again)
    top = again.topk(n_top, dim=1)
    return kept.gather(1, top.indices), top.values[:, :1]


def _shifted(observations: Observations, values: Tensor, shift: Tensor) -> Tensor:
    """Return images (n, P) moved back by each of their shifts, as real rows (n * T, 2 P)."""
    n_images, n_offsets, _ = shift.shape
    n_pixels = values.shape[1]
    if n_offsets > 1 or bool(shift.any()):
        pixels = observations.pixels[:n_pixels]
        flat = phase_shift(pixels, shift.reshape(-1, 2), observations.pixel_size, observations.box_size)
        values = (values[:, None] * flat.view(n_images, n_offsets, n_pixels).conj()).view(-1, n_pixels)
    return torch.cat((values.real, values.imag), dim=1)


def _log_prior(shift: Tensor, spread: float | None) -> Tensor:
    """Log prior (n, T) of the shifts tried, normalized over them."""
    if spread is None:
        return shift.new_full(shift.shape[:2], -math.log(shift.shape[1]))
    return torch.log_softmax(-0.5 * shift.square().sum(dim=-1) / spread**2, dim=1)


def _soften(flat: Tensor, temperature: float, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Turn scores into posterior weights in place; return log sum exp at temperature 1 and the largest weight."""
    flat -= highest
    evidence = None
    if temperature != 1:
        evidence = highest[:, 0] + torch.logsumexp(flat, dim=1)
        flat /= temperature
    flat.exp_()
    total = flat.sum(dim=1, keepdim=True)
    flat /= total
    if evidence is None:
        evidence = highest[:, 0] + total[:, 0].log()
    return evidence, 1 / total[:, 0]
