"""Recorded images and the plain ones that they are made into, by closed forms and against the forward model."""

from dataclasses import replace

import pytest
import torch

from resmfn.fourier import half_plane_from_images, images_from_half_plane
from resmfn.physics import FourierSliceProjector, ImageFormation, Optics, compute_ctf
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.physics.recorded import (
    FLOOR,
    plain_from_recorded,
    recorded_transfer,
)
from resmfn.rotations import random_rotations

BOX, PIXEL, N = 32, 2.0, 5


@pytest.fixture
def optics() -> Optics:
    plain = Optics.uniform(N, defocus=11000.0, dtype=torch.float64)
    return replace(plain, defocus_angle=torch.linspace(0, 90, N).double(), defocus_v=plain.defocus_v - 600)


@pytest.fixture
def form() -> ImageFormation:
    return ImageFormation(FourierSliceProjector(BOX, padding=3), PIXEL)


@pytest.fixture
def scene(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    volume = GaussianBlobs.random(10, radius=7, width=1.6, generator=generator).volume(BOX).double()
    shift = 2 * torch.randn(N, 2, generator=generator, dtype=torch.float64)
    return volume, random_rotations(N, generator=generator).double(), shift


def frequencies(form: ImageFormation) -> torch.Tensor:
    return form.projector.pixels.double() / (BOX * PIXEL)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)).min())


def test_nothing_recorded_is_the_ctf_and_has_nothing_to_undo(form: ImageFormation, optics: Optics) -> None:
    assert torch.equal(recorded_transfer(optics, frequencies(form)), compute_ctf(optics, frequencies(form)))
    assert plain_from_recorded(optics, frequencies(form)) is None


@pytest.mark.parametrize("treatment", ["premultiplied", "phase_flipped"])
def test_treated_transfer_is_square_or_absolute_value(form: ImageFormation, optics: Optics, treatment: str) -> None:
    some = torch.tensor([True, False, True, False, True])
    ctf = compute_ctf(optics, frequencies(form))
    found = recorded_transfer(replace(optics, **{treatment: some}), frequencies(form))
    expected = ctf.square() if treatment == "premultiplied" else ctf.abs()
    assert torch.equal(found, torch.where(some[:, None], expected, ctf))


def test_noise_of_treated_images_becomes_white_again(form: ImageFormation, optics: Optics) -> None:
    """Signal C^2 S and noise C N become C S and N, but for what lies below the floor."""
    everyone = torch.ones(N, dtype=torch.bool)
    ctf = compute_ctf(optics, frequencies(form))
    for treatment, signal, noise in (("phase_flipped", ctf.abs(), ctf.sign()), ("premultiplied", ctf**2, ctf)):
        factor = plain_from_recorded(replace(optics, **{treatment: everyone}), frequencies(form))
        assert factor is not None
        strong = ctf.abs() > 10 * FLOOR
        assert strong.double().mean() > 0.75
        torch.testing.assert_close((factor * signal)[strong], ctf[strong], rtol=5.1e-3, atol=0)
        torch.testing.assert_close((factor * noise)[strong], torch.ones_like(ctf)[strong], rtol=5.1e-3, atol=0)
        assert (factor * noise).abs().max() <= 1
        # What is lost of the signal-to-noise ratio, against that of the plain image: information is C^2.
        kept = ((factor * signal) * ctf).sum() ** 2 / ((factor * noise * ctf).square().sum() * ctf.square().sum())
        assert 0.998 < float(kept) <= 1 + 1e-9


def test_odd_aberration_is_a_phase_that_is_undone_exactly(
    form: ImageFormation, optics: Optics, scene: tuple[torch.Tensor, ...]
) -> None:
    odd = replace(optics, odd_aberration=torch.tensor([[0.3, 0.2, -900, 0, 0, 700.0]]).double().expand(N, 6))
    recorded, plain = form(*scene, odd), form(*scene, optics)
    assert correlation(recorded, plain) < 0.99
    factor = plain_from_recorded(odd, frequencies(form))
    undone = half_plane_from_images(recorded, form.projector.pixels) * factor
    torch.testing.assert_close(images_from_half_plane(undone, form.projector.pixels, BOX), plain)


def test_magnified_image_shows_the_specimen_at_m_times_the_frequency(
    form: ImageFormation, optics: Optics, scene: tuple[torch.Tensor, ...]
) -> None:
    """With M = m times the identity the image is that of 1 / m times the pixel size."""
    volume, rotation, _ = scene
    larger = replace(optics, magnification=torch.eye(2, dtype=torch.float64).expand(N, 2, 2) * 0.8)
    found = form.coefficients(form.projector.transform(volume), rotation, None, larger)
    other = ImageFormation(FourierSliceProjector(BOX, padding=3), PIXEL / 0.8)
    ctf = compute_ctf(optics, form.projector.pixels.double() / (BOX * other.pixel_size))
    torch.testing.assert_close(found / form.coefficients(other.projector.transform(volume), 0.8 * rotation), ctf + 0j)


def test_undistorted_optics_keep_what_the_ctf_needs(optics: Optics) -> None:
    full = replace(
        optics,
        scale=torch.full((N,), 0.5),
        even_aberration=torch.ones(N, 3),
        odd_aberration=torch.ones(N, 3),
        magnification=torch.eye(2).expand(N, 2, 2),
        premultiplied=torch.ones(N, dtype=torch.bool),
        phase_flipped=torch.zeros(N, dtype=torch.bool),
    )
    kept = full.undistorted()
    assert kept.scale is not None
    assert kept.even_aberration is not None
    assert kept.magnification is full.magnification
    assert kept.odd_aberration is kept.premultiplied is kept.phase_flipped is None
    chosen = full.select(torch.tensor([1, 3])).to(dtype=torch.float32)
    assert chosen.premultiplied is not None
    assert chosen.premultiplied.dtype == torch.bool
    assert chosen.magnification is not None
    assert chosen.magnification.shape == (2, 2, 2)


def test_scale_is_a_factor_of_the_ctf(form: ImageFormation, optics: Optics) -> None:
    scaled = replace(optics, scale=torch.linspace(0.5, 2, N).double())
    expected = scaled.scale[:, None] * compute_ctf(optics, frequencies(form))
    torch.testing.assert_close(compute_ctf(scaled, frequencies(form)), expected)
