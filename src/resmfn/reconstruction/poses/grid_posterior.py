"""Exhaustive soft assignment: every image against every rotation and shift of a grid, as matrix products.

The log-likelihood of image i at rotation g and shift t, less that of no signal at all, is
``2 Re <C Y_t, S_g> - <C^2, |S_g|^2>``: two products of an image matrix with a slice matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.shift import phase_shift
from resmfn.reconstruction.config import ScorePrecision
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.score_products import RESCORED, SliceProducts

_CPU_BUDGET = 1_500_000
_GPU_BUDGET = 100_000_000
_BLOCK = 32
_LEAST_EXPONENT = -60.0
"""Of a weight, over the largest of its image: 1e-26 is nothing beside 1 in single precision, and below -87, where most
scores are, results underflow, for which a CPU takes twenty times as long (24 against 1.1 ns each)."""


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
class ChunkPosterior:
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
    """Of each image: log evidence, largest probability, mean shift, width, best slices, their shifts, entropy, log
    evidence of each map."""


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
    shift_width: Tensor
    """(n,): posterior standard deviation along an axis, Å."""
    max_probability: Tensor
    """(n,): largest posterior probability of a single grid point; of a rotation, where shifts are apart."""
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
    n_slices, n_pixels = slices.shape
    n_offsets = len(grid.offsets)
    products = SliceProducts(slices, grid.precision)
    maps = SeveralMaps(grid.log_share, n_slices)

    def scored(rows: Tensor) -> ChunkPosterior:
        values, ctf = observations.batch(index[rows], n_pixels)
        shift = center[rows, None] + grid.offsets
        images = _shifted(observations, values * ctf, shift)
        power = ctf.square()
        log_prior = _log_prior(shift, grid.spread)
        flat = maps.with_prior(products.scores(images, power, log_prior)).flatten(1)
        best, highest = best_points(flat, products, images, power, log_prior, n_top, maps)
        share, log_evidence, entropy, of_map = soften(flat, temperature, highest, maps, with_entropy=n_top > 1)
        share = share.view(-1, n_slices)
        of_shift = share.sum(dim=1).view(len(rows), n_offsets)
        total = of_shift.sum(dim=1)
        mean_shift, width = moments(of_shift / total[:, None], shift)
        top_shift = torch.take_along_dim(shift, (best // n_slices)[:, :, None].expand(-1, -1, 2), dim=1)
        of_images = (log_evidence, 1 / total, mean_shift, width, best % n_slices, top_shift, entropy, of_map)
        # What an image counts divides its own rows, not those of its many poses.
        counts = 1 / total if weight is None else weight[rows] / total
        images *= counts.repeat_interleave(n_offsets)[:, None]
        power *= counts[:, None]
        of_rotation = share if n_offsets == 1 else share.view(len(rows), n_offsets, n_slices).sum(dim=1)
        return ChunkPosterior(images, power, share, of_rotation, of_images)

    return add_up(observations, index, scored, slices, n_offsets, n_top, maps.n)


class SeveralMaps:
    """The maps that slices (K G, P) are of, one after the other.

    Parameters
    ----------
    log_share
        (K,): log prior of each; None is one map.
    n_slices
        K G.
    """

    def __init__(self, log_share: Tensor | None, n_slices: int) -> None:
        self.n = 1 if log_share is None else len(log_share)
        self.log_prior = None if log_share is None else log_share.repeat_interleave(n_slices // self.n)
        """(K G,)."""
        self._log_share, self._n_rotations = log_share, n_slices // self.n

    def with_prior(self, score: Tensor) -> Tensor:
        """Add each map's prior to scores (..., K G), in place."""
        if self.log_prior is not None:
            score += self.log_prior
        return score

    def totals(self, likelihood: Tensor) -> Tensor:
        """Return the sums (n, K) of values (n, T K G) over the points of each map."""
        if self.n == 1:
            return likelihood.sum(dim=1, keepdim=True)
        return likelihood.view(len(likelihood), -1, self.n, self._n_rotations).sum(dim=(1, 3))

    def evidence(self, totals: Tensor, highest: Tensor) -> Tensor:
        """Return the log sums (n, K) of each map without its prior, from sums that were divided by exp(``highest``)."""
        if self._log_share is None:
            return highest + totals.log()
        smallest = torch.finfo(totals.dtype).tiny  # a map that is this much worse than the best is out of the question
        return highest + totals.clamp_min(smallest).log() - self._log_share


def add_up(
    observations: Observations,
    index: Tensor,
    scored: Callable[[Tensor], ChunkPosterior],
    slices: Tensor,
    n_offsets: int,
    n_top: int,
    n_maps: int = 1,
) -> GridPosterior:
    """Score images chunk by chunk, and sum what they say of each slice (G, P).

    Parameters
    ----------
    observations, index
        The images, and which of them (n,).
    scored
        Scores those at some positions in ``index``.
    slices
        (G, P).
    n_offsets
        Scores of an image at each slice.
    n_top
        Best points listed for each image.
    n_maps
        That the slices are of.
    """
    n_slices, n_pixels = slices.shape
    budget = _GPU_BUDGET if slices.is_cuda else _CPU_BUDGET
    sums = torch.zeros(n_slices, 2 * n_pixels, device=slices.device)
    weights = torch.zeros(n_slices, n_pixels, device=slices.device)
    of_all = _nothing_yet(len(index), n_top, n_maps, slices.device)
    at_once = max(1, budget // (n_slices * n_offsets))
    for rows, found in observations.in_chunks("scoring images", index, at_once, scored):
        # In place, so that nothing here can run out of memory halfway.
        sums.addmm_(found.share.T, found.images)
        weights.addmm_(found.share_of_rotation.T, found.power)
        for whole, part in zip(of_all, found.of_images, strict=True):
            whole[rows] = part
    # What another process holds is 0 here: the sum puts the images' own figures together too.
    observations.team.sum_(sums, weights, *of_all)
    evidence, probability, mean_shift, width, top_rotation, top_shift, entropy, of_map = of_all
    log_n_rotations = math.log(n_slices // n_maps)
    return GridPosterior(
        torch.complex(sums[:, :n_pixels].contiguous(), sums[:, n_pixels:].contiguous()),
        weights,
        evidence - log_n_rotations,
        mean_shift,
        width,
        probability,
        top_rotation,
        top_shift,
        entropy,
        of_map - log_n_rotations,
    )


def _nothing_yet(n: int, n_top: int, n_maps: int, device: torch.device) -> list[Tensor]:
    """Return zeros in place of the figures of all images, as ``ChunkPosterior.of_images`` lists them."""
    evidence, largest, width, entropy = (torch.zeros(n, device=device) for _ in range(4))
    best = torch.zeros(n, n_top, dtype=torch.int64, device=device)
    mean, top_shift = torch.zeros(n, 2, device=device), torch.zeros(n, n_top, 2, device=device)
    return [evidence, largest, mean, width, best, top_shift, entropy, torch.zeros(n, n_maps, device=device)]


def moments(share: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (n, 2), and standard deviation along an axis (n,), of shifts (n, T, 2) of some weights (n, T)."""
    mean = torch.einsum("nt,ntd->nd", share, shift)
    variance = torch.einsum("nt,ntd->n", share, (shift - mean[:, None]).square()) / 2
    return mean, variance.sqrt()


def best_points(
    flat: Tensor,
    products: SliceProducts,
    images: Tensor,
    power: Tensor,
    log_prior: Tensor,
    n_top: int,
    maps: SeveralMaps,
) -> tuple[Tensor, Tensor]:
    """Return the best points (n, k) and the highest score (n, 1); what was scored roughly is put right in ``flat``."""
    if products.exact:
        best, highest = _largest_of(flat, n_top)
        return best, highest[:, :1]
    kept, _ = _largest_of(flat, min(n_top + RESCORED, flat.shape[1]))
    n_slices = flat.shape[1] // log_prior.shape[1]
    again = products.scores_again(images, power, kept) + log_prior.gather(1, kept // n_slices)
    if maps.log_prior is not None:
        again += maps.log_prior[kept % n_slices]
    flat.scatter_(1, kept, again)
    top = again.topk(n_top, dim=1)
    return kept.gather(1, top.indices), top.values[:, :1]


def _largest_of(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return where the k largest of each row (n, m) are, and what, largest first.

    They are within the k blocks whose maxima are largest: most of the row need not be sorted.
    """
    n_blocks = values.shape[1] // _BLOCK
    if n_blocks <= k:
        top = values.topk(k, dim=1)
        return top.indices, top.values
    whole = n_blocks * _BLOCK  # of block b are the columns b, b + n_blocks, ...
    leading = values[:, :whole].view(-1, _BLOCK, n_blocks).amax(dim=1).topk(k, dim=1).indices
    column = (leading[:, None] + torch.arange(0, whole, n_blocks, device=values.device)[:, None]).flatten(1)
    rest = torch.arange(whole, values.shape[1], device=values.device)
    column = torch.cat((column, rest.expand(len(values), -1)), dim=1)
    top = values.gather(1, column).topk(k, dim=1)
    return column.gather(1, top.indices), top.values


def _shifted(observations: Observations, values: Tensor, shift: Tensor) -> Tensor:
    """Return images (n, P) moved back by each of their shifts, as real rows (n * T, 2 P)."""
    n_images, n_offsets, _ = shift.shape
    n_pixels = values.shape[1]
    if n_offsets > 1 or bool(shift.any()):
        pixels = observations.pixels[:n_pixels]
        flat = phase_shift(pixels, shift.reshape(-1, 2), observations.pixel_size, observations.box_size)
        values = (values[:, None] * flat.view(n_images, n_offsets, n_pixels).conj()).view(-1, n_pixels)
    return real_rows(values)


def real_rows(values: Tensor) -> Tensor:
    """Return complex rows (n, P) as real ones (n, 2 P): real parts, then imaginary ones."""
    return torch.cat((values.real, values.imag), dim=1)


def _log_prior(shift: Tensor, spread: float | None) -> Tensor:
    """Log prior (n, T) of the shifts tried, normalized over them."""
    if spread is None:
        return shift.new_full(shift.shape[:2], -math.log(shift.shape[1]))
    return torch.log_softmax(-0.5 * shift.square().sum(dim=-1) / spread**2, dim=1)


def soften(
    flat: Tensor, temperature: float, highest: Tensor, maps: SeveralMaps, *, with_entropy: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights of the posterior (n, m), 1 for the best pose, from scores, which are used up.

    With the log sum exp of the scores at temperature 1, the posterior's entropy (nan if that is not asked for), and the
    log sum exp (n, K) of each map's scores.
    """
    flat -= highest
    totals = maps.totals(flat.clamp(min=_LEAST_EXPONENT).exp_()) if temperature != 1 else None
    if temperature != 1:
        flat *= 1 / temperature
    share = (flat.clamp(min=_LEAST_EXPONENT) if with_entropy else flat.clamp_(min=_LEAST_EXPONENT)).exp_()
    totals = maps.totals(share) if totals is None else totals
    entropy = torch.full_like(highest[:, 0], math.nan)
    if with_entropy:
        log_total = share.sum(dim=1).log()
        entropy = log_total - torch.linalg.vecdot(share, flat) / log_total.exp()
    return share, highest[:, 0] + totals.sum(dim=1).log(), entropy, maps.evidence(totals, highest)
