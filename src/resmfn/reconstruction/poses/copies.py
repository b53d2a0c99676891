"""Which of the symmetric copies of its pose an image shows, where a molecule has a point group only nearly.

All copies A S of a pose A give the same image of a symmetric map. What a map without the symmetry has beyond its
symmetric part tells them apart: this difference, and the copy that each image shows, are found together by expectation
maximization over the copies alone, at the shifts and the poses (up to the group) that are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics.trilinear import points_at_a_time
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import SliceSums
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, centered_ctf

_LEAST_CHUNK = 500_000
"""Pixels of slices that are held at a time: a few million bytes."""


@dataclass(frozen=True)
class CopySearch:
    """Among which copies, and how finely, a map without the symmetry is compared with images."""

    group: Tensor
    """(m, 3, 3)."""
    grid: MapGrid
    """Of the map; without symmetry."""
    radius: float
    """Frequencies used, Fourier pixels."""


@dataclass(frozen=True)
class CopyPass:
    """What a pass over images found of the difference between a map and its symmetric part."""

    sums: SliceSums
    """Of what the symmetric part leaves of the images, at all copies of their poses by their probability."""
    gain: Tensor
    """(n,): log of the mean likelihood over the copies, over that of the symmetric part, nat."""


@dataclass(frozen=True)
class CopyLikelihoods:
    """Log-likelihoods of images under a map, over that of noise."""

    of_copy: Tensor
    """(n, m): at each copy of their poses."""
    of_symmetric: Tensor
    """(n,): under the map's symmetric part."""

    def gain(self) -> Tensor:
        """Return the log of the mean likelihood over the copies, over that under the symmetric part, (n,) float64."""
        of_copy = self.of_copy.double()
        return torch.logsumexp(of_copy, dim=1) - math.log(of_copy.shape[1]) - self.of_symmetric.double()


def copies_of(rotation: Tensor, group: Tensor) -> Tensor:
    """Return the copies A S (n, m, 3, 3) of poses (n, 3, 3) by a group (m, 3, 3)."""
    return rotation[:, None] @ group.to(rotation)


def difference_pass(
    observations: Observations,
    posed: PosedImages,
    search: CopySearch,
    symmetric: Tensor,
    difference: Tensor | None,
    *,
    temperature: float = 1.0,
    labels: Tensor | None = None,
) -> CopyPass:
    """Compare images with the copies of their poses, and sum what the symmetric part leaves of them.

    Parameters
    ----------
    observations, posed
        The images and their poses, up to the group.
    search
        Group, grid and band.
    symmetric, difference
        (M, M, M): both parts of the map. Without a difference there must be labels.
    temperature
        Divides the log-likelihoods of copies before they become probabilities.
    labels
        int64 (n,): the copy that each image is taken to show; by default all, by their probability.
    """
    group, grid, n_pixels = search.group, search.grid, observations.n_pixels(search.radius)
    pixels, device = observations.pixels[:n_pixels], observations.device
    base = grid.transform(symmetric)
    beyond = None if difference is None else grid.transform(difference)
    gain, sums = torch.zeros(len(posed.index), device=device), SliceSums(grid, device)

    def found(rows: Tensor) -> tuple[SliceSums, Tensor]:
        values, ctf = observations.batch(posed.index[rows], n_pixels)
        poses = posed.poses.select(rows)
        frames = observations.magnification.frames(posed.index[rows], poses.rotation)
        weights, copies = ctf.square(), copies_of(frames, group)
        rest = values * centered_ctf(observations, ctf, poses.shift) - weights * grid.slices(base, frames, pixels)
        score = torch.zeros(copies.shape[:2], device=device)
        if beyond is not None:
            slices = grid.slices(beyond, copies.flatten(0, 1), pixels).unflatten(0, (len(rows), -1))
            score = _scores(slices, rest, weights)
        share = torch.softmax(score / temperature, dim=1)
        if labels is not None:
            share = torch.nn.functional.one_hot(labels[rows], copies.shape[1]).to(score)
        if posed.particle_probability is not None:
            share = share * posed.particle_probability[rows, None]
        part = SliceSums(grid, device)
        for of_copy, frame in zip(share.unbind(1), copies.unbind(1), strict=True):
            part.add(rest * of_copy[:, None], weights * of_copy[:, None], frame, pixels)
        return part, torch.logsumexp(score, dim=1) - math.log(copies.shape[1])

    for rows, (part, of_rows) in observations.in_chunks(
        "comparing symmetric copies", posed.index, _at_once(observations, n_pixels * len(group)), found
    ):
        sums += part
        gain[rows] = of_rows
    observations.team.sum_(sums.values, sums.weights, gain)
    return CopyPass(sums, gain)


def copy_likelihoods(
    observations: Observations, index: Tensor, poses: Poses, search: CopySearch, volume: Tensor
) -> CopyLikelihoods:
    """Compare images with a map at all copies of their poses, and with its symmetric part.

    Parameters
    ----------
    observations, index, poses
        The images (n,), where one may stand several times, and a pose of each.
    search
        Group, grid and band.
    volume
        (M, M, M): the map, on the grid.

    Notes
    -----
    The symmetric part of a map has at a pose the mean of the slices that the map has at its copies.
    """
    group, grid, n_pixels = search.group, search.grid, observations.n_pixels(search.radius)
    pixels, transform = observations.pixels[:n_pixels], grid.transform(volume)
    scores = torch.zeros(len(index), len(group) + 1, device=observations.device)

    def found(rows: Tensor) -> Tensor:
        values, ctf = observations.batch(index[rows], n_pixels)
        there = poses.select(rows)
        frames = observations.magnification.frames(index[rows], there.rotation)
        copies = copies_of(frames, group).flatten(0, 1)
        slices = grid.slices(transform, copies, pixels).unflatten(0, (len(rows), -1))
        slices = torch.cat((slices, slices.mean(dim=1, keepdim=True)), dim=1)
        return _scores(slices, values * centered_ctf(observations, ctf, there.shift), ctf.square())

    for rows, of_rows in observations.in_chunks(
        "comparing symmetric copies", index, _at_once(observations, n_pixels * len(group)), found
    ):
        scores[rows] = of_rows
    observations.team.sum_(scores)
    return CopyLikelihoods(scores[:, :-1], scores[:, -1])


def likeliest(rotation: Tensor, group: Tensor, scores: Tensor) -> Tensor:
    """Return, of each pose (n, 3, 3), the copy (n, 3, 3) with the highest score (n, m)."""
    best = group.to(rotation)[scores.argmax(dim=1)]
    return rotation @ best


def nearest_copy(rotation: Tensor, to: Tensor, group: Tensor) -> Tensor:
    """Return, of each pose (n, 3, 3), the copy (n, 3, 3) that is nearest to another pose (n, 3, 3)."""
    return likeliest(rotation, group, torch.einsum("nmij,nij->nm", copies_of(rotation, group), to))


def _scores(slices: Tensor, data: Tensor, weights: Tensor) -> Tensor:
    """Return ``2 Re <C Y, S> - <C^2 S, S>`` (n, m) of slices (n, m, P), centered C Y (n, P) and C^2 (n, P)."""
    overlap = torch.einsum("nmp,np->nm", slices, data.conj()).real
    return 2 * overlap - torch.einsum("nmp,np->nm", slices.abs().square(), weights)


def _at_once(observations: Observations, n_pixels: int) -> int:
    return max(1, max(_LEAST_CHUNK, points_at_a_time(observations.device)) // n_pixels)
