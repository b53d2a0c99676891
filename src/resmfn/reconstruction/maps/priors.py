"""What a map is expected to be before the images are asked: a penalty for each shell."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.fourier import shell_average
from resmfn.fourier.transforms import fftn_centered
from resmfn.inverse.normal_equations import NormalEquations

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


def limited_prior(equations: NormalEquations, shells: Tensor) -> Tensor:
    """Return a penalty of each shell, at most what a signal-to-noise ratio of ``LEAST_SSNR`` gives."""
    return torch.minimum(shells, equations.shell_weights()[: len(shells)] / LEAST_SSNR)
