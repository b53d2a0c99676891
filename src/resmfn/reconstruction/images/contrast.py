"""Molecules made white: what the settings say of their contrast or, if they leave it open, what the images vote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from resmfn.physics import CLEAR, FIRST_SHELLS, vote_certainty, whiteness
from resmfn.reconstruction.config import Contrast
from resmfn.reconstruction.images.observations import Observations

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
    is_clear = abs(vote_certainty(share, len(white))) > CLEAR
    contrast: Contrast = wanted
    if wanted == "auto":
        contrast = "black" if is_clear and share < 0.5 else "white"
    if contrast == "black":
        observations.invert()
    return ContrastVote(contrast, share, wanted != "auto", is_clear)


def _score(observations: Observations, rows: Tensor) -> Tensor:
    """Return how white the images look (m,)."""
    n_pixels = observations.n_pixels(FIRST_SHELLS)
    values, ctf = observations.batch(rows, n_pixels)
    return whiteness(values, ctf, observations.radius[:n_pixels])
