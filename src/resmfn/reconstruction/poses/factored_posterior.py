"""Soft assignment where an image's shift and its rotation are believed apart: almost as cheap as centered images.

The posterior of an image over rotations g and shifts t is taken for a product q(g) q(t), the one nearest to it (mean
field). Its factors determine each other: ``q(g)`` by the score of the image averaged over its shifts, which is the
image moved to their mean and damped where they blur it; ``q(t)`` by the score of the slices averaged over rotations.
All shifts then cost one more product of matrices, in place of one each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.shift import phase_shift
from resmfn.reconstruction.config import ScorePrecision
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.grid_posterior import (
    ChunkPosterior,
    GridPosterior,
    SeveralMaps,
    add_up,
    best_points,
    moments,
    real_rows,
    soften,
)
from resmfn.reconstruction.poses.score_products import SliceProducts


@dataclass(frozen=True)
class ShiftBelief:
    """What is known of the shifts of n images, and where they are looked for."""

    mean: Tensor
    """(n, 2), Å."""
    width: Tensor
    """(n,): standard deviation along an axis, Å; not 0."""
    offsets: Tensor
    """(T, 2): shifts tried around the mean, Å. They need not be few: they cost next to nothing."""
    step: float
    """Å between neighbors of those."""
    spread: float
    """Standard deviation of the shifts of all images along an axis, Å: the prior."""
    log_share: Tensor | None = None
    """(K,): log prior of each map, where there are several."""

    def log_prior(self, shift: Tensor) -> Tensor:
        """Return the log of the prior, but for a constant, at shifts (..., 2)."""
        return -0.5 * shift.square().sum(dim=-1) / self.spread**2

    def divergence(self) -> Tensor:
        """Return how far each image's belief is from the prior, nat (n,): Kullback and Leibler's, of two normals."""
        ratio = (self.width / self.spread).square()
        return ratio - ratio.log() - 1 - self.log_prior(self.mean)


def factored_posterior(
    observations: Observations,
    index: Tensor,
    slices: Tensor,
    belief: ShiftBelief,
    *,
    precision: ScorePrecision = "full",
    temperature: float = 1.0,
    weight: Tensor | None = None,
) -> GridPosterior:
    """Score images against all slices at the shifts that they are believed to have, then find their shifts.

    Parameters
    ----------
    observations, index
        The images, and which of them (n,).
    slices
        Complex (G, P): the map at each rotation, at the first P pixels; of several maps one after the other.
    belief
        Of these images, from the step before.
    precision
        Of the scores.
    temperature
        Log-posteriors are divided by it, of rotations and shifts alike.
    weight
        (n,): how much each image counts in the sums; by default 1.

    Returns
    -------
    GridPosterior
        Its log evidence is a lower bound of the one over all pairs of rotation and shift. The best rotation alone is
        listed, with the mean shift.
    """
    products = SliceProducts(slices, precision)
    moved = _Shifts(observations, belief, slices.shape[1])
    divergence, maps = belief.divergence(), SeveralMaps(belief.log_share, len(slices))

    def scored(rows: Tensor) -> ChunkPosterior:
        values, ctf = observations.batch(index[rows], slices.shape[1])
        centered, power = moved.centered(values * ctf, rows), ctf.square()
        blurred, nothing = real_rows(centered * moved.blur(rows)), power.new_zeros(len(rows), 1)
        flat = maps.with_prior(products.scores(blurred, power, nothing)).flatten(1)
        best, highest = best_points(flat, products, blurred, power, nothing, 1, maps)
        share, log_evidence, entropy, of_map = soften(flat, temperature, highest, maps, with_entropy=False)
        total = share.sum(dim=1)

        shift = belief.mean[rows, None] + belief.offsets
        log_share = belief.log_prior(shift) + moved.scores(centered, products.mean_slices(share / total[:, None]))
        of_shift = torch.softmax(log_share / temperature, dim=1)
        mean, width = moments(of_shift, shift)
        width = (width.square() + belief.step**2 / 12).sqrt()  # each offset stands for the cell around it
        counts = (1 / total if weight is None else weight[rows] / total)[:, None]
        images = real_rows(centered * moved.mean_phase(of_shift).conj()) * counts
        log_evidence = log_evidence - divergence[rows]
        of_map = of_map - divergence[rows, None]
        of_images = (log_evidence, 1 / total, mean, width, best, mean[:, None], entropy, of_map)
        return ChunkPosterior(images, power * counts, share, share, of_images)

    # Of an image and a slice there is one score, of an image and a shift another: memory is for whichever are more.
    per_slice = -(-len(belief.offsets) // len(slices))
    return add_up(observations, index, scored, slices, per_slice, 1, maps.n)


class _Shifts:
    """The phases of the shifts that are tried."""

    def __init__(self, observations: Observations, belief: ShiftBelief, n_pixels: int) -> None:
        self._belief, self._pixels = belief, observations.pixels[:n_pixels]
        self._box = observations.pixel_size, observations.box_size
        self._phases = real_rows(phase_shift(self._pixels, belief.offsets, *self._box))
        per_angstrom = 2 * math.pi / (observations.pixel_size * observations.box_size)
        self._frequency2 = per_angstrom**2 * self._pixels.square().sum(dim=1)

    def centered(self, values: Tensor, rows: Tensor) -> Tensor:
        """Return images (m, P) moved back by their mean shifts."""
        return values * phase_shift(self._pixels, self._belief.mean[rows], *self._box).conj()

    def blur(self, rows: Tensor) -> Tensor:
        """Return the mean phase (m, P) of the shifts around their mean, as they are believed."""
        return torch.exp(-0.5 * self._belief.width[rows, None].square() * self._frequency2)

    def mean_phase(self, share: Tensor) -> Tensor:
        """Return the mean phase (m, P) of the offsets by some weights (m, T)."""
        return _complex(share @ self._phases)

    def scores(self, centered: Tensor, slices: Tensor) -> Tensor:
        """Return ``2 Re <C Y_t, S>`` of centered images (m, P) and a slice each, real rows (m, 2 P): (m, T)."""
        return 2 * real_rows(centered * _complex(slices).conj()) @ self._phases.T


def _complex(rows: Tensor) -> Tensor:
    real, imaginary = rows.chunk(2, dim=1)
    return torch.complex(real.contiguous(), imaginary.contiguous())
