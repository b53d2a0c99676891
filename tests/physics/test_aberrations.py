"""Zernike polynomials against closed forms."""

import math

import pytest
import torch

from resmfn.physics import Optics, compute_ctf, electron_wavelength
from resmfn.physics.aberrations import coma_of_beam_tilt, zernike_phase

CLOSED_FORMS = {
    (True, 0): lambda x, y, r, a: y,
    (True, 1): lambda x, y, r, a: x,
    (True, 2): lambda x, y, r, a: r**3 * (3 * a).sin(),
    (True, 4): lambda x, y, r, a: (3 * r**2 - 2) * x,
    (True, 5): lambda x, y, r, a: r**3 * (3 * a).cos(),
    (True, 9): lambda x, y, r, a: (10 * r**5 - 12 * r**3 + 3 * r) * a.cos(),
    (False, 0): lambda x, y, r, a: torch.ones_like(x),
    (False, 1): lambda x, y, r, a: r**2 * (2 * a).sin(),
    (False, 2): lambda x, y, r, a: 2 * r**2 - 1,
    (False, 5): lambda x, y, r, a: (4 * r**4 - 3 * r**2) * (2 * a).sin(),
    (False, 6): lambda x, y, r, a: 6 * r**4 - 6 * r**2 + 1,
    (False, 8): lambda x, y, r, a: r**4 * (4 * a).cos(),
}


@pytest.fixture
def frequencies(generator: torch.Generator) -> torch.Tensor:
    return 0.4 * torch.randn(1, 50, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("odd", "index"), CLOSED_FORMS)
def test_each_polynomial_has_its_closed_form(frequencies: torch.Tensor, odd: bool, index: int) -> None:
    coefficients = torch.zeros(1, 12, dtype=torch.float64)
    coefficients[0, index] = 2.0
    x, y = frequencies.unbind(-1)
    expected = 2 * CLOSED_FORMS[odd, index](x, y, torch.hypot(x, y), torch.atan2(y, x))
    torch.testing.assert_close(zernike_phase(coefficients, frequencies, odd=odd), expected)


def test_phase_is_linear_and_odd_or_even(frequencies: torch.Tensor, generator: torch.Generator) -> None:
    coefficients = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    for odd, sign in ((True, -1), (False, 1)):
        phase = zernike_phase(coefficients, frequencies, odd=odd)
        assert phase.shape == (3, 50)
        torch.testing.assert_close(zernike_phase(coefficients, -frequencies, odd=odd), sign * phase)
        torch.testing.assert_close(zernike_phase(2 * coefficients, frequencies, odd=odd), 2 * phase)


def test_beam_tilt_is_axial_coma(frequencies: torch.Tensor) -> None:
    tilt = torch.tensor([[1.5, -0.5]], dtype=torch.float64)
    cs, wavelength = torch.tensor([2.7], dtype=torch.float64), torch.tensor([0.0197], dtype=torch.float64)
    phase = zernike_phase(coma_of_beam_tilt(tilt, cs, wavelength), frequencies, odd=True)
    k2 = frequencies.square().sum(-1)
    expected = -2 * math.pi * 2.7e7 * 0.0197**2 * k2 * (frequencies @ (1e-3 * tilt[0]))
    torch.testing.assert_close(phase, expected)


def test_even_aberrations_can_say_defocus_and_cs(frequencies: torch.Tensor) -> None:
    plain = Optics.uniform(1, defocus=9000.0, spherical_aberration=2.7, dtype=torch.float64)
    wavelength = float(electron_wavelength(plain.voltage))
    # Cs as 6 r^4 - 6 r^2 + 1, 2 r^2 - 1 and 1: its phase is -pi/2 Cs lambda^3 k^4.
    fourth = math.pi / 2 * 2.7e7 * wavelength**3 / 6
    coefficients = torch.zeros(1, 9, dtype=torch.float64)
    coefficients[0, 6], coefficients[0, 2], coefficients[0, 0] = fourth, 3 * fourth, 2 * fourth
    fields = vars(plain) | {"spherical_aberration": torch.zeros(1, dtype=torch.float64)}
    said = Optics(**fields | {"even_aberration": coefficients})
    torch.testing.assert_close(compute_ctf(said, frequencies[0]), compute_ctf(plain, frequencies[0]))
