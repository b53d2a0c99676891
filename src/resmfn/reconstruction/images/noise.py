"""The spectrum of the noise around the particles, for each optics group, from images all over the set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from resmfn.fourier import shell_average, soft_sphere
from resmfn.fourier.transforms import fft2_centered

MOST_SAMPLED, LEAST_SAMPLED, SAMPLED_IN_ALL = 1000, 100, 4000
"""Images of a group whose noise is looked at: 1,000 give a shell of 8 numbers to 2 %, and many groups share 4,000."""
OUTLIER = 4.0
"""An image counts in a shell only up to so many times the shell's median over the images of its group: more is no
noise but a neighbor or carbon. Of pure noise, where a shell has 8 or more numbers, less than one image in 1,000
exceeds it."""
COMMON_IMAGES = 20.0
"""A group's spectrum is averaged with so many images' worth of the whole set's: what tens of images say of a shell is
off by several per cent."""
_SMALLEST = 1e-3  # of the white level: keeps whitening finite


def sampled_images(group: Tensor) -> Tensor:
    """Return which images are looked at, bool (n,): evenly spread over each group of the groups (n,)."""
    counts = torch.bincount(group)
    most = min(MOST_SAMPLED, max(LEAST_SAMPLED, SAMPLED_IN_ALL // len(counts)))
    order = torch.argsort(group, stable=True)
    first = counts.cumsum(0) - counts
    place = torch.empty_like(group)
    place[order] = torch.arange(len(group)) - first[group[order]]
    size = counts[group]
    taken = size.clamp_max(most)
    # The k-th of the sampled ones stands where k first comes up in place * taken // size.
    return (place == 0) | (place * taken // size != (place - 1) * taken // size)


def corner_spectra(images: Tensor, mask_radius: float) -> Tensor:
    """Return each image's noise power in each shell (n, shells), 1 for white noise of variance 1.

    Parameters
    ----------
    images
        (n, N, N), the background taken off.
    mask_radius
        Pixels; noise is measured beyond.
    """
    box_size = images.shape[-1]
    edge = 0.05 * box_size
    window = 1 - soft_sphere(box_size, min(mask_radius, box_size / 2 - edge), edge, ndim=2, device=images.device)
    power = fft2_centered(images * window).abs().square() / window.square().sum()
    shells = shell_average(power, box_size, 2)
    # The mean and the plane that were taken off each image empty the first shells, and the window the next.
    shells[:, :2] = shells[:, 2:3]
    return shells


def _medians(spectra: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the median of each group (G, shells); of a group of few images, that of all."""
    medians = spectra.median(dim=0).values.repeat(n_groups, 1)
    for number in (torch.bincount(group, minlength=n_groups) >= COMMON_IMAGES).nonzero()[:, 0].tolist():
        medians[number] = spectra[group == number].median(dim=0).values
    return medians


def group_spectra(spectra: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the noise power of each group in each shell (G, shells), from that of some images (m, shells).

    Parameters
    ----------
    spectra
        From :func:`corner_spectra`.
    group
        int64 (m,): of these images.
    n_groups
        G; a group without an image here gets the spectrum of all.
    """
    usual = spectra <= OUTLIER * _medians(spectra, group, n_groups)[group]
    kept = torch.where(usual, spectra, torch.zeros_like(spectra))
    total = spectra.new_zeros(n_groups, spectra.shape[1]).index_add_(0, group, kept)
    count = spectra.new_zeros(n_groups, spectra.shape[1]).index_add_(0, group, usual.to(spectra))
    common = total.sum(dim=0) / count.sum(dim=0).clamp_min(1)
    mean = (total + COMMON_IMAGES * common) / (count + COMMON_IMAGES)
    # The window smears neighboring shells anyway; averaging them steadies the estimate.
    smooth = avg_pool1d(pad(mean[:, None], (2, 2), mode="replicate"), 5, stride=1)
    return smooth[:, 0].clamp_min(_SMALLEST)
