"""Images read, normalized and whitened: what the reconstruction takes for noise has variance 1."""

import math
from pathlib import Path

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, draw_blobs, varied_optics, write_particle_files
from resmfn.core import InputError, make_generator
from resmfn.data import read_particles
from resmfn.fourier import half_plane_pixels, radius_grid, soft_sphere
from resmfn.physics import compute_ctf
from resmfn.reconstruction.images import image_chunks, noise, observations
from resmfn.reconstruction.images.observations import Observations, observe

BOX = 32
CPU = torch.device("cpu")


def white(n: int, box_size: int = BOX, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, box_size, box_size, generator=make_generator(seed))


def colored(n: int, box_size: int = BOX, seed: int = 1) -> torch.Tensor:
    """Return noise whose power falls smoothly, to a sixth at Nyquist."""
    radius = torch.fft.ifftshift(radius_grid(box_size, 2)) / (box_size / 2)
    amplitude = (-0.9 * radius.square()).exp()
    return torch.fft.ifft2(torch.fft.fft2(white(n, box_size, seed)) * amplitude).real


def observed(folder: Path, images: torch.Tensor, mask_radius: float = 11.0, **files: object) -> Observations:
    return observe(read_particles(write_particle_files(folder, images, **files)), mask_radius=mask_radius, device=CPU)


def power_by_shell(observations: Observations) -> torch.Tensor:
    values, _ = observations.batch(torch.arange(len(observations)), len(observations.pixels))
    mean = values.abs().square().mean(dim=0)
    shells = observations.shell
    total = torch.zeros(int(shells.max()) + 1).index_add_(0, shells, mean)
    return (total / torch.bincount(shells))[1:]


@pytest.mark.parametrize("make", [white, colored])
@pytest.mark.parametrize("box_size", [32, 33])
def test_whitened_noise_has_variance_1_in_every_shell(make, box_size: int, tmp_path) -> None:
    power = power_by_shell(observed(tmp_path, make(400, box_size)))[2:]
    torch.testing.assert_close(power, torch.ones_like(power), rtol=0.1, atol=0.0)
    torch.testing.assert_close(power.mean(), torch.tensor(1.0), rtol=0.03, atol=0.0)


@pytest.mark.parametrize("make", [white, colored])
def test_whitened_noise_has_variance_1_in_the_first_shells_too(make, tmp_path) -> None:
    power = power_by_shell(observed(tmp_path, make(400)))[:2]
    torch.testing.assert_close(power, torch.ones_like(power), rtol=0.15, atol=0.0)


def test_real_and_imaginary_part_have_half_of_it_each(tmp_path) -> None:
    observations = observed(tmp_path, white(400))
    values, _ = observations.batch(torch.arange(400), len(observations.pixels))
    off_axis = (observations.pixels != 0).all(dim=1)
    torch.testing.assert_close(values[:, off_axis].real.var(), torch.tensor(0.5), rtol=0.03, atol=0.0)
    torch.testing.assert_close(values[:, off_axis].imag.var(), torch.tensor(0.5), rtol=0.03, atol=0.0)


def test_grey_scale_and_offset_of_an_image_do_not_matter(tmp_path) -> None:
    images = white(60) + 3 * draw_blobs(BOX).volume(BOX).sum(dim=0)
    scale = torch.linspace(0.2, 50, 60)[:, None, None]
    plain = observed(tmp_path / "plain", images)
    changed = observed(tmp_path / "changed", images * scale + 7 * scale.flip(0))
    index = torch.arange(60)
    torch.testing.assert_close(changed.batch(index, 300)[0], plain.batch(index, 300)[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(changed.noise_level, plain.noise_level * scale.flatten(), rtol=1e-4, atol=0.0)


def test_the_noise_is_measured_outside_the_mask_only(tmp_path) -> None:
    """A bright particle inside the mask neither raises the noise nor colors it."""
    particle = 40 * soft_sphere(BOX, 7.0, 2.0, ndim=2)
    empty = observed(tmp_path / "empty", white(200))
    bright = observed(tmp_path / "bright", white(200) + particle)
    torch.testing.assert_close(bright.noise_level, empty.noise_level)
    torch.testing.assert_close(bright.noise_power, empty.noise_power, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(empty.noise_level.mean(), torch.tensor(1.0), rtol=0.02, atol=0.0)


def test_a_mask_as_large_as_the_box_leaves_the_corners_to_measure(tmp_path) -> None:
    power = power_by_shell(observed(tmp_path, white(400), mask_radius=BOX / 2))
    torch.testing.assert_close(power[3:], torch.ones_like(power[3:]), rtol=0.15, atol=0.0)


def test_pixels_are_the_half_plane_by_growing_radius_without_the_mean(tmp_path) -> None:
    for box_size in (32, 33):
        observations = observed(tmp_path / str(box_size), white(60, box_size))
        pixels = observations.pixels
        assert torch.equal(pixels, half_plane_pixels((box_size - 1) // 2, radius_min=0.5))
        assert bool((observations.radius.diff() >= 0).all())
        assert observations.radius[0] == 1.0
        assert observations.radius_max == (box_size - 1) // 2
        assert observations.noise_power.shape == (1, box_size // 2 + 1)
        assert len(observations) == 60
        assert observations.noise_level.shape == (60,)
        values, ctf = observations.batch(torch.tensor([5, 2, 5]), 17)
        assert (values.shape, ctf.shape) == ((3, 17), (3, 17))
        assert values.is_complex()
        assert torch.equal(values[0], values[2])


def test_the_number_of_pixels_within_a_radius_is_a_count(tmp_path) -> None:
    observations = observed(tmp_path, white(60))
    for radius in (1.0, 2.5, 5.0, 7.3, 15.0):
        inside = observations.pixels.double().norm(dim=1) <= radius
        assert observations.n_pixels(radius) == int(inside.sum())
        assert bool(inside[: observations.n_pixels(radius)].all())


def test_a_known_image_has_its_transform(tmp_path) -> None:
    """A plane wave inside the noise stands at its pixel, with its amplitude over the noise level."""
    n = torch.arange(BOX) - BOX // 2
    wave = torch.cos(2 * math.pi * (3 * n[None, :] - 2 * n[:, None]) / BOX)  # kx = 3, ky = -2
    noise = 1e-3 * white(60)
    outside = radius_grid(BOX, 2) > 11
    images = noise + wave * ~outside
    observations = observed(tmp_path, images)
    observations.set_noise_power(torch.ones(BOX // 2 + 1))
    values, _ = observations.batch(torch.arange(60), len(observations.pixels))
    spectrum = torch.fft.fft2(torch.fft.ifftshift(wave * ~outside)) / BOX
    expected = spectrum[observations.pixels[:, 1], observations.pixels[:, 0]] / observations.noise_level[:, None]
    torch.testing.assert_close(values, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
    brightest = observations.pixels[values[0].abs().argmax()]
    assert brightest.tolist() == [3, -2]


def test_each_image_has_its_own_ctf_and_none_means_ones(tmp_path) -> None:
    optics = varied_optics(60)
    observations = observed(tmp_path / "with", white(60), optics=optics)
    observations.set_noise_power(torch.ones(BOX // 2 + 1))
    _, ctf = observations.batch(torch.arange(60), 200)
    expected = compute_ctf(optics, observations.pixels[:200].float() / (BOX * PIXEL_SIZE))
    torch.testing.assert_close(ctf, expected, rtol=1e-3, atol=1e-3)
    plain = observed(tmp_path / "without", white(60))
    plain.set_noise_power(torch.ones(BOX // 2 + 1))
    assert torch.equal(plain.batch(torch.arange(60), 200)[1], torch.ones(60, 200))


def test_whitening_divides_values_and_ctf_alike(tmp_path) -> None:
    observations = observed(tmp_path, white(60), optics=varied_optics(60))
    index = torch.arange(60)
    observations.set_noise_power(torch.ones(BOX // 2 + 1))
    values, ctf = observations.batch(index, 250)
    power = torch.linspace(0.5, 4.0, BOX // 2 + 1)
    observations.set_noise_power(power)
    gain = power[observations.shell[:250]].rsqrt()
    whitened = observations.batch(index, 250)
    torch.testing.assert_close(whitened[0], values * gain)
    torch.testing.assert_close(whitened[1], ctf * gain)


def test_images_read_in_parts_are_the_same(tmp_path, monkeypatch) -> None:
    path = write_particle_files(tmp_path, white(60), optics=varied_optics(60))
    whole = observe(read_particles(path), mask_radius=11.0, device=CPU)
    monkeypatch.setattr(image_chunks, "READ_IMAGES", 20)
    parts = observe(read_particles(path), mask_radius=11.0, device=CPU)
    index = torch.arange(60)
    for expected, found in zip(whole.batch(index, 300), parts.batch(index, 300), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_image_without_noise_around_the_particle_is_named(tmp_path) -> None:
    images = white(60)
    images[41] *= radius_grid(BOX, 2) < 8
    with pytest.raises(InputError, match=r"particles\.star: row 42: the image is constant outside the mask"):
        observed(tmp_path, images)


def test_what_was_held_is_given_up_before_images_are_read_again(tmp_path, monkeypatch) -> None:
    particles = read_particles(write_particle_files(tmp_path, colored(30), optics=varied_optics(30)))
    part = observe(particles, mask_radius=11.0, device=CPU, radius_max=6)
    held = []

    def read(*arguments: object, **settings: object) -> object:
        held.extend(kept.untyped_storage().nbytes() for kept in (part._values, part._ctf))
        return usual(*arguments, **settings)

    usual = observations._read
    monkeypatch.setattr(observations, "_read", read)
    part.read_again(particles, mask_radius=11.0, radius_max=8)
    assert held == [0, 0]


def test_images_read_again_to_a_larger_radius_are_the_same_images(tmp_path) -> None:
    particles = read_particles(write_particle_files(tmp_path, colored(30), optics=varied_optics(30)))
    whole = observe(particles, mask_radius=11.0, device=CPU)
    part = observe(particles, mask_radius=11.0, device=CPU, radius_max=6)
    assert part.radius_max == 6.0
    everyone = torch.arange(30)
    for each in (whole, part):
        each.invert()
        each.set_gain(torch.linspace(0.8, 1.2, 30))
        each.set_noise_power(torch.linspace(1.5, 0.5, BOX // 2 + 1))
    n_pixels = len(part.pixels)
    for mine, its in zip(part.batch(everyone, n_pixels), whole.batch(everyone, n_pixels), strict=True):
        assert torch.equal(mine, its)
    part.read_again(particles, mask_radius=11.0, radius_max=int(whole.radius_max))
    assert torch.equal(part.pixels, whole.pixels)
    for mine, its in zip(
        part.batch(everyone, len(whole.pixels)), whole.batch(everyone, len(whole.pixels)), strict=True
    ):
        assert torch.equal(mine, its)


def test_chunks_without_an_image_whose_noise_is_looked_at_are_read_all_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(image_chunks, "READ_IMAGES", 3)
    monkeypatch.setattr(noise, "MOST_SAMPLED", 4)
    assert power_by_shell(observed(tmp_path, white(60)))[2:].isfinite().all()
