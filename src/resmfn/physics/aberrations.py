"""Aberrations beyond defocus, astigmatism and Cs: Zernike polynomials of the frequency, as RELION has them.

A polynomial of frequencies (x, y) in 1/Å, not normalized to any radius: its coefficients are in radians Å^n. Order, by
degree n and then by angular order m = -n, -n + 2, ... n: even 1, then n = 2, 4, ...; odd n = 1, 3, ... With m < 0 it is
R(|m|, n) sin(|m| angle), otherwise R(m, n) cos(m angle).

Zivanov, Nakane and Scheres, "Estimation of high-order aberrations and anisotropic magnification from cryo-EM data sets
in RELION-3.1", IUCrJ 7 (2020), 253.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

COMA_X, COMA_Y = 4, 3
"""Odd polynomials (3 r^2 - 2) x and (3 r^2 - 2) y."""
SHIFT_X, SHIFT_Y = 1, 0
"""Odd polynomials x and y."""


def zernike_phase(coefficients: Tensor, frequencies: Tensor, *, odd: bool) -> Tensor:
    """Return the sum of Zernike polynomials, in radians.

    Parameters
    ----------
    coefficients
        ``(n, K)``, of the even polynomials or of the odd ones.
    frequencies
        ``(m, ..., 2)``: (fx, fy) in 1/Å; m is n, or 1 for the same of all.
    odd
        Which polynomials they are.

    Returns
    -------
        Real ``(n, ...)``.
    """
    x, y = frequencies.double().unbind(-1)  # of high order they are differences of large numbers
    phase = torch.zeros(len(coefficients), *x.shape[1:], dtype=frequencies.dtype, device=frequencies.device)
    for index, (degree, order) in enumerate(_orders(coefficients.shape[1], odd=odd)):
        column = coefficients[:, index].to(phase)
        if bool((column != 0).any()):
            polynomial = _zernike(degree, order, x, y).to(phase)
            phase = torch.addcmul(phase, column.reshape(-1, *[1] * (x.ndim - 1)), polynomial)
    return phase


def coma_of_beam_tilt(tilt: Tensor, spherical_aberration: Tensor, wavelength: Tensor) -> Tensor:
    """Return the odd Zernike coefficients ``(n, 5)`` of a beam tilt.

    Its phase is -2 pi Cs lambda^2 k^2 (k . tilt).

    Parameters
    ----------
    tilt
        ``(n, 2)`` in mrad, rlnBeamTiltX and Y.
    spherical_aberration
        ``(n,)`` in mm.
    wavelength
        ``(n,)`` in Å.
    """
    strength = 2e4 * math.pi * spherical_aberration * wavelength.square()  # mm to Å, mrad to rad
    coma = -strength[:, None] * tilt / 3
    coefficients = tilt.new_zeros(len(tilt), 5)
    for axis, (cubic, linear) in enumerate(((COMA_X, SHIFT_X), (COMA_Y, SHIFT_Y))):
        coefficients[:, cubic] = coma[:, axis]
        coefficients[:, linear] = 2 * coma[:, axis]
    return coefficients


def _orders(count: int, *, odd: bool) -> list[tuple[int, int]]:
    """Return degree and angular order (n, m) of the first polynomials."""
    found: list[tuple[int, int]] = []
    degree = 1 if odd else 0
    while len(found) < count:
        found += [(degree, order) for order in range(-degree, degree + 1, 2)]
        degree += 2
    return found[:count]


def _zernike(degree: int, order: int, x: Tensor, y: Tensor) -> Tensor:
    """Return one polynomial, as a polynomial of x and y: no angle at the origin."""
    m = abs(order)
    r2 = x.square() + y.square()
    power = torch.complex(x, y) ** m  # r^m (cos + i sin)(m angle)
    angular = power.imag if order < 0 else power.real
    radial = sum(term * r2**exponent for exponent, term in _radial_terms(degree, m))
    return angular * radial


@cache
def _radial_terms(degree: int, m: int) -> tuple[tuple[int, float], ...]:
    """Return exponents of r^2 and factors of R(m, n) / r^m."""
    terms = []
    for k in range((degree - m) // 2 + 1):
        below = math.factorial(k) * math.factorial((degree + m) // 2 - k) * math.factorial((degree - m) // 2 - k)
        terms.append(((degree - m) // 2 - k, (-1) ** k * math.factorial(degree - k) / below))
    return tuple(terms)
