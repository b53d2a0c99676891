"""A model of what is in images that show no particle: shapeless things, each shell of which has some power.

Clumps, edges of carbon, ice and broken particles have nothing in common but that they are seen through the same optics
and are stronger than noise at low frequency. A random field with a spectrum of its own is what they have least in
common. It is a fair rival of a map: where a view of the map fits, its phases fit too, which no spectrum can tell, and
the map wins by far; where no view fits, what an image has beyond noise is explained by the spectrum alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resmfn.reconstruction.images.observations import Observations

STRENGTHS = (0.3, 1.0, 3.0)
"""Power of an image's junk over the mean of all junk: a clump of three and a faint edge are ten times apart."""
FIRST_STRENGTH = 1.0
"""The first spectrum is what all images hold beyond noise, times this."""


@dataclass(frozen=True)
class JunkSpectrum:
    """The power of shapeless things by shell, before the CTF, in the scale of whitened images."""

    power: Tensor
    """(shells,)."""
    share: Tensor
    """(strengths,): of junk, by its strength."""

    @classmethod
    def of_images(cls, observations: Observations, index: Tensor, radius: float) -> JunkSpectrum:
        """Return a first spectrum: the power that images have beyond noise."""
        n_pixels = observations.n_pixels(radius)
        shell = observations.shell[:n_pixels]
        excess, ctf2 = torch.zeros(2, int(shell.max()) + 1, device=shell.device)

        def powers(rows: Tensor) -> tuple[Tensor, Tensor]:
            values, ctf = observations.batch(index[rows], n_pixels)
            return (values.abs().square() - 1).sum(dim=0), ctf.square().sum(dim=0)

        for _, (of_values, of_ctf) in observations.in_chunks("measuring power", index, 1000, powers):
            excess.index_add_(0, shell, of_values)
            ctf2.index_add_(0, shell, of_ctf)
        observations.team.sum_(excess, ctf2)
        power = (excess / ctf2.clamp_min(1e-6)).clamp_min(1e-6) * FIRST_STRENGTH
        return cls(power, torch.full((len(STRENGTHS),), 1 / len(STRENGTHS), device=shell.device))

    def asked(self, observations: Observations, index: Tensor, weight: Tensor) -> tuple[Tensor, JunkSpectrum]:
        """Ask images, and learn from those that are junk: one step of expectation maximization.

        Parameters
        ----------
        observations, index
            The images, and which of them (n,).
        weight
            (n,): probability of each to be junk.

        Returns
        -------
        tuple
            Log evidence (n,) of each image over that of noise, and the next spectrum.
        """
        shell = observations.shell
        n_pixels = int((shell < len(self.power)).sum())
        shell = shell[:n_pixels]
        strengths = torch.tensor(STRENGTHS, device=shell.device)
        evidence = torch.zeros(len(index), device=shell.device)
        moments = torch.zeros(2, len(self.power), device=shell.device)
        share = torch.zeros(len(STRENGTHS), device=shell.device)

        def asked(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            values, ctf = observations.batch(index[rows], n_pixels)
            seen = ctf.square() * self.power[shell]
            power = values.abs().square()
            of_strength = torch.stack(
                [(power * (s * seen / (1 + s * seen)) - torch.log1p(s * seen)).sum(dim=1) for s in strengths], dim=1
            )
            joint = of_strength + self.share.log()
            found = torch.logsumexp(joint, dim=1)
            of_image = torch.softmax(joint, dim=1)
            mine = weight[rows]
            sums = torch.zeros(2, len(self.power), device=shell.device)
            for number, s in enumerate(strengths):
                amount = mine * of_image[:, number]
                # Of a pixel: power of the posterior mean, plus the posterior's variance, both at strength 1.
                known = self.power[shell] * (1 + s * seen * power / (1 + s * seen)) / (1 + s * seen)
                sums[0].index_add_(0, shell, amount @ known)
                sums[1] += amount.sum() * torch.bincount(shell, minlength=len(self.power))
            return found, sums, mine @ of_image

        for rows, (found, sums, shares) in observations.in_chunks("asking for junk", index, 1000, asked):
            evidence[rows] = found
            moments += sums
            share += shares
        observations.team.sum_(evidence, moments, share)
        if not float(share.sum()) > 1:
            return evidence, self
        share = (share / share.sum()).clamp_min(0.02)
        power = (moments[0] / moments[1].clamp_min(1e-6)).clamp_min(1e-6)
        return evidence, replace(self, power=power, share=share / share.sum())
