"""Which class each image shows, decided anew by each half from how its refined poses fit the maps of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from resmfn.reconstruction.images.image_quality import ImageFits, judge_images
from resmfn.reconstruction.poses.posed_images import PosedImages
from resmfn.reconstruction.run.context import RunContext, already_set

LEAST_CHANCE = 1e-3
"""Probability of a class below which an image is not compared with it in a round, but where all are compared anew."""

LEAST_PROBABILITY = 0.5
"""Of an image's likeliest class, noise and stray fields counted: below, it belongs to none, and is listed as bad."""


def class_probabilities(run: RunContext) -> Tensor:
    """Return the probability (K, n) of each image to show each class; what is left to 1 is of no particle."""
    return torch.stack([already_set(state.qualities.good) for state in run.state.classes])


def candidates_of_class(run: RunContext, number: int) -> Tensor:
    """Return the images, int64 (m,), that may show a class; each is at least in the likeliest one."""
    probability = class_probabilities(run)
    return ((probability[number] >= LEAST_CHANCE) | (probability.argmax(dim=0) == number)).nonzero()[:, 0]


def members_of_classes(run: RunContext) -> list[Tensor]:
    """Return the images, int64 (m,), that belong to each class."""
    probability, of_image = class_probabilities(run).max(dim=0)
    belongs = probability >= LEAST_PROBABILITY
    return [(belongs & (of_image == number)).nonzero()[:, 0] for number in range(len(run.state.classes))]


def judge_classes(
    run: RunContext, runs: Sequence[RunContext], index: Tensor, found: Sequence[tuple[PosedImages, ImageFits]]
) -> None:
    """Decide anew which class some images show, how strong they are, and which show none.

    Parameters
    ----------
    run, runs
        The whole, and each class.
    index
        int64 (m,), growing: the images; all that ``found`` speaks of.
    found
        Of each class: images with their poses, and how they fit its map.
    """
    in_use = run.observations.gain[index]
    quality = judge_images([fits.at_gain(in_use) for fits in _of_all(index, found)])
    before = run.state.qualities.gain
    gain = torch.ones(len(run.particles), device=run.device) if before is None else before.clone()
    gain[index] = quality.gain
    run.state.qualities = replace(run.state.qualities, gain=gain)
    run.observations.set_gain(gain)
    for number, (class_run, (posed, _)) in enumerate(zip(runs, found, strict=True)):
        particle_probability = already_set(class_run.state.qualities.good).clone()
        particle_probability[index] = quality.of_map[:, number]
        class_run.state.qualities = replace(class_run.state.qualities, good=particle_probability, gain=gain)
        posed.particle_probability = particle_probability[posed.index]


def _of_all(index: Tensor, found: Sequence[tuple[PosedImages, ImageFits]]) -> list[ImageFits]:
    """Return the fits of all images (m,) to each map; images that were not compared with one have no share in it."""
    n_shells = min(fits.image_power.shape[1] for _, fits in found)
    n_pixels = found[0][1].n_pixels[:n_shells]
    of_image = torch.zeros(2, len(index), n_shells, device=index.device)
    for posed, fits in found:
        rows = torch.searchsorted(index, posed.index)
        of_image[0, rows], of_image[1, rows] = fits.image_power[:, :n_shells], fits.ctf_power[:, :n_shells]
    expanded = []
    for posed, fits in found:
        rows = torch.searchsorted(index, posed.index)
        of_map = torch.zeros(2, len(index), fits.overlap.shape[1], device=index.device)
        of_map[0, rows], of_map[1, rows] = fits.overlap, fits.power
        log_occam_factor = torch.full((len(index),), -torch.inf, device=index.device)
        log_occam_factor[rows] = fits.log_occam_factor
        expanded.append(ImageFits(of_map[0], of_map[1], of_image[0], of_image[1], log_occam_factor, n_pixels))
    return expanded
