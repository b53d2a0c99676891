"""A few distinct poses of each image from an exhaustive pass, each refined, the likeliest kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.grid_posterior import GridPosterior
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import Poses

N_LISTED = 16
"""Grid points listed for each image, which include neighbors of one peak. No comparison recorded."""
N_KEPT = 3
"""Distinct peaks kept of those. No comparison recorded."""
_LEAST_APART = math.radians(20.0)  # no comparison recorded
_SAME_PEAK = math.radians(10.0)
"""A point of a grid of 9,216 rotations, 12 degrees apart, that is nearer to a refined pose stands for its peak."""


@dataclass(frozen=True)
class Candidates:
    """Several poses of each of some images, the best known first."""

    rotation: Tensor
    """(n, K, 3, 3)."""
    shift: Tensor
    """(n, K, 2), Å."""

    @classmethod
    def of(cls, poses: Poses) -> Candidates:
        """Return one candidate of each image."""
        return cls(poses.rotation[:, None], poses.shift[:, None])

    @property
    def first(self) -> Poses:
        """The first candidate of each image."""
        return Poses(self.rotation[:, 0], self.shift[:, 0])

    @property
    def flat(self) -> Poses:
        """All candidates, (n K,): those of an image follow one another."""
        return Poses(self.rotation.reshape(-1, 3, 3), self.shift.reshape(-1, 2))

    def after(self, poses: Poses) -> Candidates:
        """Return these behind another pose of each image, which also replaces those of its own peak."""
        first = Candidates.of(poses)
        near = _cosine(first.rotation, self.rotation)[:, 0] >= math.cos(_SAME_PEAK)
        rotation = torch.where(near[:, :, None, None], first.rotation, self.rotation)
        shift = torch.where(near[:, :, None], first.shift, self.shift)
        return Candidates(torch.cat((first.rotation, rotation), 1), torch.cat((first.shift, shift), 1))

    def repeated(self) -> Tensor:
        """Say which candidates (n, K) are an earlier one of their image once more."""
        pose = torch.cat((self.rotation.flatten(2), self.shift), dim=2)
        alike = (pose[:, :, None] == pose[:, None]).all(dim=3)
        return alike.tril(-1).any(dim=2)

    def select(self, index: Tensor) -> Candidates:
        """Return those of some images."""
        return Candidates(self.rotation[index], self.shift[index])


def distinct_candidates(posterior: GridPosterior, rotations: Tensor) -> Candidates:
    """Return the best grid points of each image that lie well apart.

    ``rotations`` (G, 3, 3) are those that the posterior's indices mean. Where an image has fewer peaks than K, its best
    one is listed again.
    """
    rotation, shift = rotations[posterior.top_rotation], posterior.top_shift
    cosine = _cosine(rotation[:, :1], rotation)[:, 0]
    threshold = math.cos(_LEAST_APART)
    chosen = [torch.zeros(len(rotation), dtype=torch.long, device=rotation.device)]
    far = cosine < threshold
    for _ in range(N_KEPT - 1):
        pick = torch.where(far.any(dim=1), far.float().argmax(dim=1), torch.zeros_like(chosen[0]))
        chosen.append(pick)
        picked = rotation.gather(1, pick[:, None, None, None].expand(-1, 1, 3, 3))
        far &= _cosine(picked, rotation)[:, 0] < threshold
    index = torch.stack(chosen, dim=1)
    return Candidates(
        rotation.gather(1, index[:, :, None, None].expand(-1, -1, 3, 3)),
        shift.gather(1, index[:, :, None].expand(-1, -1, 2)),
    )


def best_of(
    observations: Observations, index: Tensor, candidates: Candidates, model: PoseModel, iterations: int
) -> Poses:
    """Refine every candidate of every image and return the likeliest.

    Parameters
    ----------
    observations, index
        The images, and which of them (n,).
    candidates
        (n, K): of these images.
    model, iterations
        As for :func:`refine_poses`.
    """
    n, k = candidates.shift.shape[:2]
    rows = (~candidates.repeated()).flatten().nonzero()[:, 0]
    fit = refine_poses(observations, index.repeat_interleave(k)[rows], candidates.flat.select(rows), model, iterations)
    likelihood = fit.log_likelihood.new_full((n * k,), -math.inf)
    likelihood[rows] = fit.log_likelihood
    best = likelihood.view(n, k).argmax(dim=1) + torch.arange(n, device=rows.device) * k
    return fit.poses.select(torch.searchsorted(rows, best))


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine (n, j, k) of the angle between some rotations (n, j, 3, 3) and others (n, k, 3, 3)."""
    return (torch.einsum("njab,nkab->njk", first, second) - 1) / 2
