"""What the fit of an image at its poses says of the image itself: how strong its signal is, and what it shows.

Models compete for every image: noise alone; a stray field, that is something shapeless (a clump, carbon, ice, a broken
particle) of which only the power by shell is modeled; a map at some pose; and a map at some pose beside a stray field,
for a good particle may have a neighbor. A map is credited with its likelihood at the best pose times the share of all
poses that do about as well (Laplace's approximation), for otherwise noise could always be fitted a little. The share of
each model, and the spectrum of stray fields, are learned from all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEAST_SHARE = 0.3
"""If fewer images than this have a signal, it is the map that is poor: none is judged then."""
FIRST_SHARE = 0.95
STEPS = 8
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
"""Power of a stray field over the mean of all: a faint neighbor and a clump are tens of times apart."""
LEAST_OF_A_MODEL = 0.002
"""Share that a model keeps, so that it may come back."""
_SMALLEST, _LARGEST = 0.3, 3.0


@dataclass(frozen=True)
class Quality:
    """Estimated quality of some images."""

    of_map: Tensor
    """(n, maps): probability that the image shows each map."""
    gain: Tensor
    """(n,): strength of its signal over its noise, 1 in the mean; drawn towards 1 as far as noise would spread it."""

    @property
    def particle_probability(self) -> Tensor:
        """Probability (n,) that the image shows a particle."""
        return self.of_map.sum(dim=1)


@dataclass(frozen=True)
class ImageFits:
    """How images (n,) fit a map at their best poses, shell by shell (n, shells), for the gains that they have."""

    overlap: Tensor
    """Re <C S, Y>, whitened."""
    power: Tensor
    """<C S, C S>."""
    image_power: Tensor
    """<Y, Y>; of noise it is the number of pixels."""
    ctf_power: Tensor
    """<C, C>."""
    log_occam_factor: Tensor
    """(n,): log of the share of all poses that fit about as well; -inf if the image was not compared with the map."""
    n_pixels: Tensor
    """(shells,): complex pixels of the half plane."""

    def at_gain(self, gain: Tensor) -> ImageFits:
        """Return the fits at a gain of 1, of images that had gains (n,)."""
        gain = gain[:, None]
        return replace(
            self,
            overlap=self.overlap / gain,
            power=self.power / gain.square(),
            ctf_power=self.ctf_power / gain.square(),
        )


@dataclass(frozen=True)
class StrayField:
    """A random field seen through the optics: what is in an image that no map explains."""

    power: Tensor
    """(shells,): before the CTF."""
    share: Tensor
    """(strengths,)."""

    @classmethod
    def first(cls, fits: ImageFits) -> StrayField:
        """Return half of what images hold beyond noise, of any strength alike."""
        excess = (fits.image_power - fits.n_pixels).mean(dim=0) / fits.ctf_power.mean(dim=0).clamp_min(1e-6)
        share = torch.full((len(STRENGTHS),), 1 / len(STRENGTHS), device=excess.device, dtype=excess.dtype)
        return cls((0.5 * excess).clamp_min(1e-6), share)

    def evidence(self, fits: ImageFits, power: Tensor) -> Tensor:
        """Return the log likelihood (n, strengths), over that of noise, of images with some power (n, shells) left."""
        seen = self._seen(fits)
        explained = power[:, None] * seen / (1 + seen) - fits.n_pixels * torch.log1p(seen)
        return explained.sum(dim=2) + self.share.log()

    def learned(self, fits: ImageFits, parts: Sequence[tuple[Tensor, Tensor]]) -> StrayField:
        """Return what images say of the field: one step of expectation maximization.

        Parameters
        ----------
        fits
            The images.
        parts
            Pairs of the probability of each image to have a field of each strength (n, strengths), and the power that
            it has then (n, shells).
        """
        seen = self._seen(fits)
        pixels = fits.n_pixels.clamp_min(1)
        moment, count = torch.zeros_like(self.power), torch.zeros_like(self.share)
        for amount, power in parts:
            # Of a pixel: power of the posterior mean, plus the posterior's variance.
            mean = seen * (power / pixels)[:, None] / (1 + seen)
            known = self.power * (1 + mean) / (1 + seen)
            moment += torch.einsum("ns,nsk->k", amount, known)
            count += amount.sum(dim=0)
        if not float(count.sum()) > 1:
            return self
        share = (count / count.sum()).clamp_min(LEAST_OF_A_MODEL)
        return StrayField((moment / count.sum()).clamp_min(1e-6), share / share.sum())

    def _strengths(self) -> Tensor:
        return torch.tensor(STRENGTHS, device=self.power.device, dtype=self.power.dtype)

    def _seen(self, fits: ImageFits) -> Tensor:
        """Return the power of each strength in a pixel of each shell of each image (n, strengths, shells)."""
        of_ctf = fits.ctf_power / fits.n_pixels.clamp_min(1)
        return self._strengths()[:, None] * (self.power * of_ctf)[:, None]


def judge_images(fits: Sequence[ImageFits]) -> Quality:
    """Estimate each image's gain, and the probability that it shows each map.

    Gains are ``overlap / power``, with variance ``1 / (2 power)`` from the noise. What they spread beyond that is
    their own spread t; the estimate is shrunk by it, so that equal gains come out equal. The map's amplitude, which a
    prior may have damped, is taken out as the common factor.

    Parameters
    ----------
    fits
        Of the same images to each map, for a gain of 1; maps may be compared up to shells of their own, but what they
        say of images and CTFs is the same.
    """
    field = StrayField.first(fits[0])
    compared = torch.stack([of_map.log_occam_factor.isfinite() for of_map in fits], dim=1)
    of_map = compared / compared.sum(dim=1, keepdim=True).clamp_min(1)
    n_maps = len(fits)
    shares = of_map.new_tensor([0.5 * (1 - FIRST_SHARE)] * 2 + [0.5 * FIRST_SHARE / n_maps] * 2 * n_maps)
    gains = torch.ones_like(of_map)
    for _ in range(STEPS):
        fitted = [_fit_of_map(*pair) for pair in zip(fits, of_map.unbind(dim=1), strict=True)]
        gains = torch.stack([found.gain for found in fitted], dim=1)
        alone = field.evidence(fits[0], fits[0].image_power)
        beside = [field.evidence(fits[0], found.rest) + found.evidence[:, None] for found in fitted]
        evidence = torch.stack(
            [
                torch.zeros_like(alone[:, 0]),
                alone.logsumexp(dim=1),
                *(found.evidence for found in fitted),
                *(of_field.logsumexp(dim=1) for of_field in beside),
            ],
            dim=1,
        )
        posterior = torch.softmax(evidence + shares.log(), dim=1)
        of_map = posterior[:, 2 : 2 + n_maps] + posterior[:, 2 + n_maps :]
        shares = posterior.mean(dim=0).clamp_min(LEAST_OF_A_MODEL / n_maps)
        shares = shares / shares.sum()
        amounts = [_by_strength(posterior[:, 1], alone)]
        amounts += [_by_strength(*pair) for pair in zip(posterior[:, 2 + n_maps :].T, beside, strict=True)]
        powers = [fits[0].image_power, *(found.rest for found in fitted)]
        field = field.learned(fits[0], list(zip(amounts, powers, strict=True)))
    if float(of_map.sum(dim=1).mean()) <= LEAST_SHARE:
        of_map = torch.softmax(torch.stack([found.evidence for found in fitted], dim=1), dim=1)
    share_of_map = of_map / of_map.sum(dim=1, keepdim=True).clamp_min(1e-12)
    gain = torch.where(of_map.sum(dim=1) > 0, (share_of_map * gains).sum(dim=1), torch.ones_like(gains[:, 0]))
    return Quality(of_map, gain)


@dataclass(frozen=True)
class _MapFit:
    """A map's fit to images, each at its own gain."""

    gain: Tensor
    """(n,)."""
    evidence: Tensor
    """(n,): log, over that of noise."""
    rest: Tensor
    """(n, shells): power that is left."""


def _fit_of_map(fits: ImageFits, particle_probability: Tensor) -> _MapFit:
    overlap, power = fits.overlap.sum(dim=1), fits.power.sum(dim=1).clamp_min(1e-6)
    amplitude = (
        (particle_probability * overlap).sum() / (particle_probability * power).sum().clamp_min(1e-6)
    ).clamp_min(1e-3)
    raw = (overlap / (amplitude * power)).clamp(_SMALLEST, _LARGEST)
    precision = 2 * amplitude.square() * power
    spread = _own_spread(raw, precision, particle_probability)
    gain = 1 + (raw - 1) * spread * precision / (1 + spread * precision)
    scaled = amplitude * gain
    evidence = 2 * scaled * overlap - scaled.square() * power + fits.log_occam_factor
    evidence = evidence - 0.5 * torch.log1p(spread * precision)
    evidence = evidence - (gain - 1).square() / (2 * spread.clamp_min(1e-12))
    scaled, shells = scaled[:, None], slice(fits.image_power.shape[1])
    rest = fits.image_power - 2 * scaled * fits.overlap[:, shells] + scaled.square() * fits.power[:, shells]
    return _MapFit(gain, evidence, rest)


def _by_strength(probability: Tensor, evidence: Tensor) -> Tensor:
    """Share out the probability (n,) of a field by the evidence of each strength (n, strengths)."""
    there = torch.where(evidence.isfinite(), evidence, torch.zeros_like(evidence))
    return probability[:, None] * torch.softmax(there, dim=1)


def rival_evidence(fits: ImageFits, evidence: Tensor) -> Tensor:
    """Return the log evidence (n,) that images show no particle: noise alone, or a stray field.

    Both with their shares, which are learned, against that of the particles.

    Parameters
    ----------
    fits
        Power of the images by shell.
    evidence
        (n,): of the images under all maps together, averaged over poses, over that of noise.
    """
    field = StrayField.first(fits)
    shares = evidence.new_tensor([0.5 * (1 - FIRST_SHARE), 0.5 * (1 - FIRST_SHARE), FIRST_SHARE])
    rivals = torch.zeros(len(evidence), 2, device=evidence.device)
    for _ in range(STEPS):
        alone = field.evidence(fits, fits.image_power)
        rivals = torch.stack([torch.zeros_like(evidence), alone.logsumexp(dim=1)], dim=1)
        posterior = torch.softmax(torch.cat((rivals, evidence[:, None]), dim=1) + shares.log(), dim=1)
        if float(posterior[:, 2].mean()) <= LEAST_SHARE:  # the maps are poor yet
            return torch.full_like(evidence, -torch.inf)
        shares = posterior.mean(dim=0).clamp_min(LEAST_OF_A_MODEL)
        shares = shares / shares.sum()
        field = field.learned(fits, [(_by_strength(posterior[:, 1], alone), fits.image_power)])
    return torch.logsumexp(rivals + shares[:2].log(), dim=1) - shares[2].log()


def probability_of_particle(evidence: Tensor) -> Tensor:
    """Return the probability (n,) of each image to be more than noise, from its log evidence over that of noise."""
    share = torch.tensor(FIRST_SHARE, dtype=evidence.dtype, device=evidence.device)
    particle_probability = torch.sigmoid(evidence + torch.logit(share))
    for _ in range(STEPS):
        share = particle_probability.mean().clamp(0.01, 0.999)
        particle_probability = torch.sigmoid(evidence + torch.logit(share))
    return (
        particle_probability
        if float(particle_probability.mean()) > LEAST_SHARE
        else torch.ones_like(particle_probability)
    )


def _own_spread(raw: Tensor, precision: Tensor, particle_probability: Tensor) -> Tensor:
    """Return the variance of gains beyond what noise makes of them; 0 where it explains all."""
    weight = particle_probability * precision / (particle_probability * precision).sum().clamp_min(1e-6)
    excess = (weight * (raw - 1).square()).sum() - (weight / precision).sum()
    return excess.clamp_min(0.0)
