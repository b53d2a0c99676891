"""Whether molecules are white or black in images, by the sign of the lowest frequencies.

Averaged over views, a molecule of positive density that lies within the box has a positive Fourier term at the first
shell, about its center. An image times its CTF should show it; the share of the images that do, rather than their
mean, decides: a few images with dust or a steep background cannot dominate.
"""

from __future__ import annotations

from torch import Tensor

FIRST_SHELLS, WIDTH = 3.0, 1.0
"""Frequencies that are looked at, and the Gaussian weight over them, Fourier pixels: the first counts most, for in
hollow molecules the second is negative."""
CLEAR = 4.0
"""Standard deviations of a binomial count with p = 1/2 beyond which the majority is significant.
No comparison recorded."""


def contrast_score(values: Tensor, ctf: Tensor, radius: Tensor) -> Tensor:
    """Return the correlation (n,) of images, times their CTF, with a blob at the center: above 0 if they look white.

    Parameters
    ----------
    values, ctf
        (n, P): Fourier pixels of images, (0, 0) not among them, and their CTF.
    radius
        (P,): of the pixels, at most :data:`FIRST_SHELLS`.
    """
    return (values.real * ctf) @ (-(radius / WIDTH).square()).exp().to(ctf)


def majority_significance(share_white: float, n_images: int) -> float:
    """Return by how many standard deviations of a binomial count with p = 1/2 images look white; negative if black.

    Beyond :data:`CLEAR` either way it is significant.
    """
    return float((2 * share_white - 1) * n_images**0.5)
