"""Priors of a map: a penalty for each shell."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.fourier import shell_average
from resmfn.fourier.transforms import fftn_centered
from resmfn.inverse.normal_equations import NormalEquations

FAINTEST_SSNR = 0.003
"""Signal-to-noise ratio of a shell below which the prior of a search grows no stronger. With it searches of 300 images
at SNR 0.03 correlate 0.90 to 0.92 with the truth (three seeds); other values were not compared."""
LEAST_SSNR = 0.03
"""Signal-to-noise ratio of a shell below which a prior grows no stronger: what was lost may come back."""


def fsc_prior(equations: NormalEquations, fsc: Tensor, n_shells: int, *, halves_in: int) -> Tensor:
    """Return the penalty of each shell that a half-map FSC implies (as in RELION, Scheres 2012).

    Parameters
    ----------
    equations
        What the penalty will be added to.
    fsc
        Correlation of the half maps by shell, as far as it is known; beyond, it is taken to fall on.
    n_shells
        Shells wanted.
    halves_in
        1 if the equations hold one half of the images, 2 if all.
    """
    weights = equations.shell_weights()[:n_shells]
    known = fsc[:n_shells].clamp(1e-3, 0.999)
    beyond = known[-1] * 0.7 ** torch.arange(1, n_shells - len(known) + 1, device=known.device)
    correlation = torch.cat((known, beyond))
    ssnr = halves_in * correlation / (1 - correlation)
    return weights / ssnr.clamp_min(LEAST_SSNR)


def power_prior(volume: Tensor, mask: Tensor, n_shells: int) -> Tensor:
    """Return the penalty of each shell that a map's own power implies.

    Voxels inside the mask of a map with power p in a shell have variance ``s^2 = p / (share of the mask * M^3)``
    there; the penalty is ``1 / (2 s^2)``.
    """
    size = volume.shape[0]
    power = shell_average(fftn_centered(volume).abs().square(), size)
    share = float(mask.square().mean())
    penalty = share * size**3 / (2 * power.clamp_min(1e-9 * power.max()))
    return penalty[:n_shells]


def posterior_prior(equations: NormalEquations, volume: Tensor, mask: Tensor, prior: Tensor) -> Tensor:
    """Return the penalty of each shell that a solved map implies: one step of expectation maximization.

    With a penalty p the prior variance of a voxel's part in a shell is ``1 / (2 p)``, and that of its posterior
    ``1 / (2 (K + p))``. The update of the prior variance is the power of the posterior mean plus the posterior variance
    (Dempster, Laird and Rubin 1977). Its fixed point is the power that the map really has, whatever the signal-to-noise
    ratio; with the power of the mean alone every shell below a ratio of some 3 shrinks to nothing.

    Parameters
    ----------
    equations, mask, prior
        What the map was solved from.
    volume
        (M, M, M): the solution.
    """
    weights = equations.shell_weights()[: len(prior)]
    penalty = 1 / (1 / power_prior(volume, mask, len(prior)) + 1 / (weights + prior))
    return torch.minimum(penalty, weights / FAINTEST_SSNR)


def carried_prior(prior: Tensor, n_shells: int, size: int, new_size: int) -> Tensor:
    """Return a prior on the grid of another size (pixels), with so many shells; new ones begin like the last known.

    Gray values do not depend on the grid, so a coefficient's expected power grows as its volume does.
    """
    known = prior[:n_shells] * (size / new_size) ** 3
    return torch.cat((known, known[-1:].expand(n_shells - len(known))))
