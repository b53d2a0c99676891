"""The contrast transfer function against RELION's conventions."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core import ShapeError
from resmfn.physics import Optics, compute_ctf, ctf_along_defocus, electron_wavelength

DOUBLE = torch.float64


def optics(n: int = 1, **changes: float) -> Optics:
    values = {
        "defocus_u": 18000.0,
        "defocus_v": 16000.0,
        "defocus_angle": 30.0,
        "phase_shift": 0.0,
        "b_factor": 0.0,
        "voltage": 300.0,
        "spherical_aberration": 2.7,
        "amplitude_contrast": 0.1,
    } | changes
    return Optics(**{name: torch.full((n,), value, dtype=DOUBLE) for name, value in values.items()})


def frequency(angle_deg: float, k: float) -> torch.Tensor:
    angle = math.radians(angle_deg)
    return torch.tensor([[k * math.cos(angle), k * math.sin(angle)]], dtype=DOUBLE)


def by_the_book(k: float, defocus: float, w: float = 0.1, cs: float = 2.7e7, phase: float = 0.0) -> float:
    """The isotropic formula as the conventions state it, in plain numbers, at 300 kV."""
    wavelength = 0.019687
    gamma = math.pi * wavelength * defocus * k**2 - math.pi / 2 * cs * wavelength**3 * k**4 + phase
    return math.sqrt(1 - w * w) * math.sin(gamma) + w * math.cos(gamma)


@pytest.mark.parametrize(("kilovolts", "wavelength"), [(100, 0.037014), (200, 0.025079), (300, 0.019687)])
def test_wavelengths_of_the_textbook(kilovolts: float, wavelength: float) -> None:
    assert electron_wavelength(float(kilovolts)) == pytest.approx(wavelength, abs=1e-6)


@given(w=st.floats(0, 1), angle=st.floats(0, 180), defocus=st.floats(-30000, 30000))
def test_at_frequency_zero_it_is_plus_the_amplitude_contrast(w: float, angle: float, defocus: float) -> None:
    value = compute_ctf(optics(amplitude_contrast=w, defocus_angle=angle, defocus_u=defocus), frequency(0, 0.0))
    assert value.item() == pytest.approx(w, abs=1e-12)


@pytest.mark.parametrize("k", [0.01, 0.03, 0.1, 0.3])
def test_without_astigmatism_it_is_the_formula_of_the_conventions(k: float) -> None:
    value = compute_ctf(optics(defocus_u=15000.0, defocus_v=15000.0), frequency(77.0, k))
    assert value.item() == pytest.approx(by_the_book(k, 15000.0), abs=2e-3)


def test_underfocus_makes_a_protein_brighter_at_low_frequency() -> None:
    assert compute_ctf(optics(), frequency(0.0, 0.02)).item() > 0.1
    assert compute_ctf(optics(defocus_u=-18000.0, defocus_v=-16000.0), frequency(0.0, 0.02)).item() < 0.1


@pytest.mark.parametrize(("defocus_angle", "seen_by_x"), [(0.0, 18000.0), (90.0, 16000.0), (180.0, 18000.0)])
@pytest.mark.parametrize("k", [0.02, 0.05])
def test_at_angle_0_the_x_axis_sees_defocus_u_and_at_90_the_y_axis(
    defocus_angle: float, seen_by_x: float, k: float
) -> None:
    seen_by_y = 34000.0 - seen_by_x
    astigmatic = optics(defocus_angle=defocus_angle)
    assert compute_ctf(astigmatic, frequency(0, k)).item() == pytest.approx(by_the_book(k, seen_by_x), abs=1e-4)
    assert compute_ctf(astigmatic, frequency(90, k)).item() == pytest.approx(by_the_book(k, seen_by_y), abs=1e-4)


@given(angle=st.floats(-180, 180), k=st.floats(0.001, 0.3))
def test_the_defocus_angle_runs_from_x_towards_y(angle: float, k: float) -> None:
    turned = compute_ctf(optics(defocus_angle=angle), frequency(angle, k))
    torch.testing.assert_close(turned, compute_ctf(optics(defocus_angle=0.0), frequency(0.0, k)), rtol=0, atol=1e-9)


@given(angle=st.floats(-180, 180), k=st.floats(0.001, 0.3))
def test_mates_see_the_same_and_swapped_axes_are_a_quarter_turn(angle: float, k: float) -> None:
    f = frequency(angle, k)
    value = compute_ctf(optics(), f)
    torch.testing.assert_close(compute_ctf(optics(), -f), value)
    swapped = optics(defocus_u=16000.0, defocus_v=18000.0, defocus_angle=120.0)
    torch.testing.assert_close(compute_ctf(swapped, f), value, rtol=0, atol=1e-9)


@given(k=st.floats(0, 0.3), b=st.floats(0, 200))
def test_the_b_factor_is_an_envelope(k: float, b: float) -> None:
    ratio = compute_ctf(optics(b_factor=b), frequency(20, k)) / compute_ctf(optics(), frequency(20, k))
    assert ratio.item() == pytest.approx(math.exp(-b * k**2 / 4), rel=1e-9)


def test_a_phase_plate_of_90_degrees_turns_sine_into_cosine() -> None:
    k = 0.04
    value = compute_ctf(optics(phase_shift=90.0, defocus_u=9000.0, defocus_v=9000.0), frequency(0, k))
    assert value.item() == pytest.approx(by_the_book(k, 9000.0, phase=math.pi / 2), abs=1e-3)


def test_spherical_aberration_opposes_underfocus() -> None:
    f = frequency(0, 0.25)
    no_aberration = optics(defocus_u=15000.0, defocus_v=15000.0, spherical_aberration=0.0)
    wavelength = electron_wavelength(300.0)
    equivalent = 15000.0 - 0.5 * 2.7e7 * (wavelength * 0.25) ** 2
    expected = compute_ctf(
        replace(no_aberration, defocus_u=torch.tensor([equivalent]), defocus_v=torch.tensor([equivalent])), f
    )
    value = compute_ctf(optics(defocus_u=15000.0, defocus_v=15000.0), f)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-4)


def test_each_image_has_its_own_optics_on_any_grid(generator: torch.Generator) -> None:
    f = 0.2 * torch.randn(3, 4, 2, generator=generator, dtype=DOUBLE)
    both = optics(2)
    both = replace(both, defocus_u=torch.tensor([float(both.defocus_u[0]), 9000.0], dtype=DOUBLE))
    values = compute_ctf(both, f)
    assert values.shape == (2, 3, 4)
    torch.testing.assert_close(values[1], compute_ctf(optics(defocus_u=9000.0), f)[0])


def test_gradients_to_optics_and_frequencies_also_at_zero(generator: torch.Generator) -> None:
    f = torch.cat((torch.zeros(1, 2, dtype=DOUBLE), 0.02 * torch.randn(3, 2, generator=generator, dtype=DOUBLE)))
    magnification = 1.02 * torch.eye(2, dtype=DOUBLE).repeat(2, 1, 1)
    given = replace(optics(2), scale=torch.full((2,), 0.8, dtype=DOUBLE), magnification=magnification)
    fields = {name: value for name, value in vars(given).items() if value is not None}
    fields["even_aberration"] = torch.randn(2, 9, generator=generator, dtype=DOUBLE)
    names, values = tuple(fields), tuple(value.clone().requires_grad_() for value in fields.values())

    def ctf(grid: torch.Tensor, *fields: torch.Tensor) -> torch.Tensor:
        return compute_ctf(Optics(**dict(zip(names, fields, strict=True))), grid)

    assert torch.autograd.gradcheck(ctf, (f.requires_grad_(), *values), eps=1e-6, atol=1e-6)


def test_along_defocus_it_turns_by_a_rate_and_its_slope_is_that_of_finite_differences(
    generator: torch.Generator,
) -> None:
    f = 0.2 * torch.randn(5, 2, generator=generator, dtype=DOUBLE)
    given = replace(optics(2, b_factor=30.0, phase_shift=20.0), scale=torch.tensor([0.8, 1.3], dtype=DOUBLE))
    given = replace(given, even_aberration=torch.randn(2, 9, generator=generator, dtype=DOUBLE))
    given = replace(given, magnification=torch.tensor([[1.02, 0.03], [-0.01, 0.97]], dtype=DOUBLE).repeat(2, 1, 1))
    z, rate = ctf_along_defocus(given, f)
    assert (z.dtype, rate.dtype) == (torch.complex128, DOUBLE)
    torch.testing.assert_close(z.imag, compute_ctf(given, f), rtol=0, atol=1e-12)
    offset = torch.tensor([350.0, -120.0], dtype=DOUBLE)
    turned = z * torch.polar(torch.ones_like(rate), rate * offset[:, None])
    torch.testing.assert_close(turned.imag, compute_ctf(given.with_defocus(offset), f), rtol=0, atol=1e-10)
    step = 1e-2
    ahead, behind = (compute_ctf(given.with_defocus(offset + sign * step), f) for sign in (1, -1))
    torch.testing.assert_close(rate * turned.real, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-9)


def test_frequencies_must_be_pairs() -> None:
    with pytest.raises(ShapeError, match=r"axis of 2, \(fx, fy\), got shape \(5, 3\)"):
        compute_ctf(optics(), torch.zeros(5, 3))
