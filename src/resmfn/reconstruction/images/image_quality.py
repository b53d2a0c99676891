"""The quality of an image from its fit at its pose: how strong its signal is, and whether there is one.

Two models compete for every image: noise alone, and noise with the molecule at some pose. The second is credited with
its likelihood at the best pose times the share of all poses that do about as well (Laplace's approximation), for
otherwise noise could always be fitted a little. The share of good images is learned from all images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_SHARE = 0.3
"""If a smaller share of the images has a signal, the map is too poor, and no image is judged.
No comparison recorded."""
FIRST_SHARE = 0.95  # start of the iteration; no comparison recorded
STEPS = 8  # of the iteration; no comparison recorded
_SMALLEST, _LARGEST = 0.3, 3.0  # limits of a gain; no comparison recorded


@dataclass(frozen=True)
class Quality:
    """Estimated quality of some images."""

    good: Tensor
    """(n,): probability that the image shows the molecule."""
    gain: Tensor
    """(n,): strength of its signal over its noise, 1 in the mean; drawn towards 1 as far as noise would spread it."""


@dataclass(frozen=True)
class ImageFits:
    """How images (n,) fit a map at their best poses, for a gain of 1."""

    overlap: Tensor
    """Re <C S, Y>, whitened."""
    power: Tensor
    """<C S, C S>."""
    log_share: Tensor
    """Log of the share of all poses that fit about as well."""


def judge_images(fits: ImageFits) -> Quality:
    """Estimate each image's gain, and the probability that it is more than noise.

    Gains are ``overlap / power``, with variance ``1 / (2 power)`` from the noise. What they spread beyond that is
    their own spread t; the estimate is shrunk by it, so that equal gains come out equal. The map's amplitude, which a
    prior may have damped, is taken out as the common factor.
    """
    overlap, power = fits.overlap, fits.power.clamp_min(1e-6)
    good = torch.ones_like(power)
    gain = torch.ones_like(power)
    for _ in range(STEPS):
        amplitude = ((good * overlap).sum() / (good * power).sum()).clamp_min(1e-3)
        raw = (overlap / (amplitude * power)).clamp(_SMALLEST, _LARGEST)
        precision = 2 * amplitude.square() * power
        spread = _own_spread(raw, precision, good)
        gain = 1 + (raw - 1) * spread * precision / (1 + spread * precision)
        scaled = amplitude * gain
        evidence = 2 * scaled * overlap - scaled.square() * power + fits.log_share
        evidence -= 0.5 * torch.log1p(spread * precision)
        evidence -= (gain - 1).square() / (2 * spread.clamp_min(1e-12))
        good = probably_good(evidence)
    return Quality(good, gain)


def probably_good(evidence: Tensor) -> Tensor:
    """Return the probability (n,) of each image to be more than noise, from its log evidence over that of noise."""
    share = torch.tensor(FIRST_SHARE, dtype=evidence.dtype, device=evidence.device)
    good = torch.sigmoid(evidence + torch.logit(share))
    for _ in range(STEPS):
        share = good.mean().clamp(0.01, 0.999)
        good = torch.sigmoid(evidence + torch.logit(share))
    return good if float(good.mean()) > LEAST_SHARE else torch.ones_like(good)


def _own_spread(raw: Tensor, precision: Tensor, good: Tensor) -> Tensor:
    """Return the variance of gains beyond what noise makes of them; 0 where it explains all."""
    weight = good * precision / (good * precision).sum()
    excess = (weight * (raw - 1).square()).sum() - (weight / precision).sum()
    return excess.clamp_min(0.0)
