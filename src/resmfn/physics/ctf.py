"""The contrast transfer function: the only one in the package."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError
from resmfn.physics.aberrations import zernike_phase
from resmfn.physics.optics import Optics

Voltage = TypeVar("Voltage", float, Tensor)


def electron_wavelength(voltage_kv: Voltage) -> Voltage:
    """Return the relativistic wavelength in Å of electrons accelerated by ``voltage_kv`` kV (0.0197 at 300)."""
    volts = voltage_kv * 1e3
    return 12.2643247 / (volts * (1.0 + volts * 0.978466e-6)) ** 0.5


def compute_ctf(optics: Optics, frequencies: Tensor) -> Tensor:
    """Return the contrast transfer function of a weak-phase object; +amplitude_contrast at frequency 0.

    ``s (sqrt(1 - w^2) sin g + w cos g) exp(-B k^2 / 4)``, where ``g = pi lambda dZ k^2 - pi/2 Cs lambda^3 k^4 + phase
    shift - even aberrations`` and ``dZ = ((dU + dV) + (dU - dV) cos 2 (angle of k - defocus_angle)) / 2``, written
    without the angle of k so that gradients exist at k = 0. With a magnification M, k is M times the image's frequency.
    What was done to the recorded image is not in it: :func:`resmfn.physics.recorded.recorded_transfer`.

    Parameters
    ----------
    optics
        One entry per image.
    frequencies
        ``(..., 2)``: (fx, fy) of the image in 1/Å.

    Returns
    -------
        Real ``(n, ...)``; differentiable in optics and frequencies.

    References
    ----------
    Mindell and Grigorieff (2003), J. Struct. Biol. 142, 334; RELION's sign, positive (white) molecules.
    """
    phase, envelope, _ = _phase_of_ctf(optics, frequencies)
    ctf = phase.sin() * envelope
    return ctf if optics.scale is None else ctf * _column(optics.scale, frequencies)


def ctf_along_defocus(optics: Optics, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the contrast transfer function goes on as defocus changes.

    With d Å more of both ``defocus_u`` and ``defocus_v`` it is ``Im(z exp(i r d))``: its phase g grows by
    ``pi lambda d k^2``, and nothing else changes. Its slope in d is ``r Re(z exp(i r d))``.

    Parameters
    ----------
    optics, frequencies
        As for :func:`compute_ctf`.

    Returns
    -------
        z, complex ``(n, ...)``, and r, radians per Å, real ``(n, ...)``.
    """
    phase, envelope, k2 = _phase_of_ctf(optics, frequencies)
    strength = envelope if optics.scale is None else envelope * _column(optics.scale, frequencies)
    rate = math.pi * electron_wavelength(_column(optics.voltage, frequencies)) * k2
    return torch.polar(strength.expand_as(phase).contiguous(), phase), rate


def _phase_of_ctf(optics: Optics, frequencies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return phase g, asin w included, envelope, and k^2 at the specimen."""
    if frequencies.shape[-1:] != (2,):
        raise ShapeError(f"frequencies must end in an axis of 2, (fx, fy), got shape {tuple(frequencies.shape)}")

    def column(values: Tensor) -> Tensor:
        return _column(values, frequencies)

    at_specimen = specimen_frequencies(optics, frequencies)
    fx, fy = at_specimen[..., 0], at_specimen[..., 1]
    k2 = fx.square() + fy.square()
    twice_angle = 2 * torch.deg2rad(column(optics.defocus_angle))
    along_u = twice_angle.cos() * (fx.square() - fy.square()) + twice_angle.sin() * 2 * fx * fy
    u, v = column(optics.defocus_u), column(optics.defocus_v)
    defocus_k2 = 0.5 * ((u + v) * k2 + (u - v) * along_u)

    wavelength = electron_wavelength(column(optics.voltage))
    cs = 1e7 * column(optics.spherical_aberration)  # mm to Å
    offset = torch.deg2rad(column(optics.phase_shift)) + column(optics.amplitude_contrast).asin()
    gamma = math.pi * wavelength * (defocus_k2 - 0.5 * cs * wavelength.square() * k2.square())
    if optics.even_aberration is not None:
        offset = offset - zernike_phase(optics.even_aberration, at_specimen, odd=False)
    return gamma + offset, (-0.25 * column(optics.b_factor) * k2).exp(), k2


def _column(values: Tensor, frequencies: Tensor) -> Tensor:
    """Return one value an image (n,) so that it multiplies those at frequencies ``(..., 2)``."""
    return values.reshape(-1, *[1] * (frequencies.ndim - 1))


def specimen_frequencies(optics: Optics, frequencies: Tensor) -> Tensor:
    """Return the frequencies of the specimen that an image's ``(..., 2)`` show: ``(n, ..., 2)``, or ``(1, ..., 2)``."""
    if optics.magnification is None:
        return frequencies[None]
    return magnified(frequencies.to(optics.magnification), optics.magnification)


def magnified(frequencies: Tensor, magnification: Tensor) -> Tensor:
    """Return M k of frequencies ``(..., 2)`` by matrices ``(n, 2, 2)``; ``(n, ..., 2)``.

    Not a matrix product, which a GPU may be allowed to round to ten bits.
    """
    m = magnification.reshape(-1, 2, 2, *[1] * (frequencies.ndim - 1))
    x, y = frequencies.unbind(dim=-1)
    return torch.stack((m[:, 0, 0] * x + m[:, 0, 1] * y, m[:, 1, 0] * x + m[:, 1, 1] * y), dim=-1)
