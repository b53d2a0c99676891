"""Whether molecules are white or black in the images: their sign at the lowest frequencies tells.

Averaged over views, a molecule of positive density that lies within the box has a positive Fourier term at the first
shell, about its center. An image times its CTF should show it; the share of the images that does, and not their
mean, decides: a few images with dust or a steep background cannot outvote the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from resmfn.reconstruction.config import Contrast
from resmfn.reconstruction.observations import Observations

FIRST_SHELLS, WIDTH = 3.0, 1.0
"""Frequencies that are looked at, and the Gaussian weight over them, Fourier pixels: the first counts most, for in
hollow molecules the second is negative."""
CLEAR = 4.0
"""Standard deviations of a fair coin's count beyond which the images' vote is clear."""
_BATCH = 10_000


@dataclass(frozen=True)
class ContrastVote:
    """What was decided, and on what ground."""

    contrast: Contrast
    """White or black, never auto."""
    share_white: float
    """Of the images, those that look white."""
    forced: bool
    """Whether the settings say it."""
    is_clear: bool
    """Whether the images' vote could not be chance."""

    @property
    def message(self) -> str:
        """One line for the log."""
        share = f"{100 * self.share_white:.0f} % of the images look white, {100 - 100 * self.share_white:.0f} % black"
        if self.forced:
            return f"molecules are {self.contrast}, as --contrast says ({share})"
        if not self.is_clear:
            return f"contrast is not clear ({share}): {self.contrast} is assumed; --contrast black forces the other"
        return f"molecules are {self.contrast} ({share})"


def settle_contrast(observations: Observations, wanted: Contrast) -> ContrastVote:
    """Decide whether molecules are white or black, and make them white, in place.

    Parameters
    ----------
    observations
        The images; inverted if they are black.
    wanted
        What the settings say; auto asks the images, and is white where they do not tell.
    """
    everyone = torch.arange(len(observations), device=observations.device)
    white = torch.zeros(len(observations), device=observations.device)
    looked_at = observations.in_chunks("judging contrast", everyone, _BATCH, partial(_score, observations))
    for rows, score in looked_at:
        white[rows] = (score > 0).float()
    observations.team.sum_(white)
    share = float(white.mean())
    is_clear = abs(2 * share - 1) * len(white) ** 0.5 > CLEAR
    contrast: Contrast = wanted
    if wanted == "auto":
        contrast = "black" if is_clear and share < 0.5 else "white"
    if contrast == "black":
        observations.invert()
    return ContrastVote(contrast, share, wanted != "auto", is_clear)


def _score(observations: Observations, rows: Tensor) -> Tensor:
    """Return the correlation (m,) of images, times their CTF, with a blob at the center."""
    n_pixels = observations.n_pixels(FIRST_SHELLS)
    values, ctf = observations.batch(rows, n_pixels)
    weight = (-(observations.radius[:n_pixels] / WIDTH).square()).exp().to(ctf)
    return (values.real * ctf) @ weight
