"""Recorded images: effects beyond the CTF, applied in the forward model, and corrected to give plain images.

A plain image is CTF times projection plus noise independent of the CTF. Recorded ones may show the specimen
through a beam tilt (a phase), and may have been processed since:

- phases flipped where the CTF C is negative: sign(C) (C S + N). Times sign(C) it is the plain image, exactly.
- multiplied by the CTF: C (C S + N) = C^2 S + C N: the noise has the color of C. Divided by C it is the plain image.
  Where C vanishes there is nothing left to divide, so the divisor is sqrt(C^2 + :data:`FLOOR`^2) with the sign of C.
  What is lost is information that was not there: below the floor an image has weight C^2 < FLOOR^2 in any sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.physics.aberrations import zernike_phase
from resmfn.physics.ctf import compute_ctf, specimen_frequencies
from resmfn.physics.optics import Optics

FLOOR = 0.03
"""CTF below which a premultiplied image is not fully divided: 2 % of pixels. Each loses at most half of its signal."""


def recorded_transfer(optics: Optics, frequencies: Tensor) -> Tensor:
    """Return what a projection's Fourier pixels are multiplied by in the recorded image; ``(n, ...)``.

    Complex where there are odd aberrations, else real. Frequencies ``(..., 2)``: (fx, fy) of the image in 1/Å.
    """
    ctf = compute_ctf(optics, frequencies)
    transfer = ctf
    if optics.phase_flipped is not None:
        transfer = torch.where(_per_image(optics.phase_flipped, ctf), ctf.abs(), transfer)
    if optics.premultiplied is not None:
        transfer = torch.where(_per_image(optics.premultiplied, ctf), ctf.square(), transfer)
    phase = _odd_phase(optics, frequencies)
    return transfer if phase is None else transfer * torch.polar(torch.ones_like(phase), phase)


def plain_from_recorded(optics: Optics, frequencies: Tensor) -> Tensor | None:
    """Return what a recorded image's Fourier pixels are multiplied by to be those of the plain image; ``(n, ...)``.

    All but the magnification, which says where in the map a pixel is. None where there is nothing to do.
    """
    factor: Tensor | None = None
    if optics.phase_flipped is not None or optics.premultiplied is not None:
        ctf = compute_ctf(optics, frequencies)
        sign = torch.where(ctf < 0, -1.0, 1.0).to(ctf)
        factor = torch.ones_like(ctf)
        if optics.phase_flipped is not None:
            factor = torch.where(_per_image(optics.phase_flipped, ctf), sign, factor)
        if optics.premultiplied is not None:
            divided = sign * (ctf.square() + FLOOR**2).rsqrt()
            factor = torch.where(_per_image(optics.premultiplied, ctf), divided, factor)
    phase = _odd_phase(optics, frequencies)
    if phase is None:
        return factor
    turned = torch.polar(torch.ones_like(phase), -phase)
    return turned if factor is None else factor * turned


def _odd_phase(optics: Optics, frequencies: Tensor) -> Tensor | None:
    if optics.odd_aberration is None:
        return None
    return zernike_phase(optics.odd_aberration, specimen_frequencies(optics, frequencies), odd=True)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))
