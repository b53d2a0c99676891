"""Molecules made white: by the contrast of the settings or, by default, as measured from the images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from resmfn.physics import CLEAR, FIRST_SHELLS, contrast_score, majority_significance
from resmfn.reconstruction.config import Contrast
from resmfn.reconstruction.images.observations import Observations

_BATCH = 10_000


@dataclass(frozen=True)
class ContrastChoice:
    """The contrast that was chosen, and why."""

    contrast: Contrast
    """White or black, never auto."""
    share_white: float
    """Share of the images that look white."""
    forced: bool
    """Whether the settings state it."""
    is_clear: bool
    """Whether the images' majority is significant."""

    @property
    def message(self) -> str:
        """One line for the log."""
        share = f"{100 * self.share_white:.0f} % of the images look white, {100 - 100 * self.share_white:.0f} % black"
        if self.forced:
            return f"molecules are {self.contrast}, as set by --contrast ({share})"
        if not self.is_clear:
            return f"contrast is not clear ({share}): {self.contrast} is assumed; give --contrast if that is wrong"
        return f"molecules are {self.contrast} ({share})"


def choose_contrast(observations: Observations, wanted: Contrast) -> ContrastChoice:
    """Decide whether molecules are white or black, and make them white, in place.

    Parameters
    ----------
    observations
        The images; inverted if they are black.
    wanted
        The setting; auto measures it on the images, and assumes white if they are inconclusive.
    """
    everyone = torch.arange(len(observations), device=observations.device)
    white = torch.zeros(len(observations), device=observations.device)
    looked_at = observations.in_chunks("judging contrast", everyone, _BATCH, partial(_score, observations))
    for rows, score in looked_at:
        white[rows] = (score > 0).float()
    observations.team.sum_(white)
    share = float(white.mean())
    is_clear = abs(majority_significance(share, len(white))) > CLEAR
    contrast: Contrast = wanted
    if wanted == "auto":
        contrast = "black" if is_clear and share < 0.5 else "white"
    if contrast == "black":
        observations.invert()
    return ContrastChoice(contrast, share, wanted != "auto", is_clear)


def _score(observations: Observations, rows: Tensor) -> Tensor:
    """Return how white the images look (m,)."""
    n_pixels = observations.n_pixels(FIRST_SHELLS)
    values, ctf = observations.batch(rows, n_pixels)
    return contrast_score(values, ctf, observations.radius[:n_pixels])
