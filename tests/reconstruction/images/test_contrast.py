"""White or black is seen in the images, whatever the molecule, its shifts and its share of bad images."""

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, varied_optics
from resmfn.core import make_generator
from resmfn.fourier import half_plane_pixels
from resmfn.physics import GaussianBlobs, compute_ctf, phase_shift
from resmfn.reconstruction.images.contrast import choose_contrast
from resmfn.reconstruction.images.observations import Observations
from resmfn.rotations import random_rotations

BOX = 32


def images(n: int = 300, *, sign: float = 1.0, seed: int = 0, amplitude: float = 1.0, bad: float = 0.0, hollow=False):
    """Return images of a molecule off center, signal-to-noise near 0.03 at amplitude 1; or of a hollow shell."""
    generator = make_generator(seed)
    rotation = random_rotations(n, generator=generator)
    pixels = half_plane_pixels((BOX - 1) // 2, radius_min=0.5)
    ctf = compute_ctf(varied_optics(n), pixels / (BOX * PIXEL_SIZE))
    if hollow:  # the transform of a thin shell of radius 0.35 boxes is a sinc: negative from frequency 1.43 on
        slices = torch.special.sinc(2 * 0.35 * pixels.float().norm(dim=1)).expand(n, -1)
    else:
        blobs = GaussianBlobs.random(100, radius=0.3 * BOX, generator=generator)
        slices = blobs.transform(rotation, pixels, BOX)
    power = (slices.abs().square() * ctf.square()).mean()
    good = (torch.rand(n, generator=generator) >= bad)[:, None]
    slices = slices * good * amplitude * (0.03 / power).sqrt()
    shift = phase_shift(pixels, 5 * torch.randn(n, 2, generator=generator), PIXEL_SIZE, BOX)
    noise = torch.randn(n, len(pixels), generator=generator, dtype=torch.complex64)
    values = sign * slices * ctf * shift + noise
    return Observations(values, ctf, pixels, box_size=BOX, pixel_size=PIXEL_SIZE, noise_level=torch.ones(n))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_images_tell_and_are_made_white(sign: float, seed: int) -> None:
    observations = images(sign=sign, seed=seed, bad=0.2)
    index = torch.arange(300)
    before = observations.batch(index, 50)[0].clone()
    vote = choose_contrast(observations, "auto")
    assert vote.is_clear
    assert vote.contrast == ("white" if sign > 0 else "black")
    assert f"molecules are {vote.contrast} (" in vote.message
    assert torch.equal(observations.batch(index, 50)[0], sign * before)
    assert choose_contrast(observations, "auto").contrast == "white"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_hollow_shell_has_the_sign_of_its_density(sign: float) -> None:
    vote = choose_contrast(images(sign=sign, hollow=True, amplitude=2.0), "auto")
    assert (vote.is_clear, vote.contrast) == (True, "white" if sign > 0 else "black")


def test_noise_does_not_tell_and_is_left_as_it_is() -> None:
    observations = images(amplitude=0.0)
    before = observations.batch(torch.arange(300), 50)[0].clone()
    vote = choose_contrast(observations, "auto")
    assert (vote.is_clear, vote.contrast, vote.forced) == (False, "white", False)
    assert "contrast is not clear" in vote.message
    assert torch.equal(observations.batch(torch.arange(300), 50)[0], before)


@pytest.mark.parametrize("wanted", ["white", "black"])
def test_the_flag_has_the_last_word(wanted) -> None:
    observations = images()
    before = observations.batch(torch.arange(300), 50)[0].clone()
    vote = choose_contrast(observations, wanted)
    assert (vote.contrast, vote.forced) == (wanted, True)
    assert "as set by --contrast" in vote.message
    assert torch.equal(observations.batch(torch.arange(300), 50)[0], before if wanted == "white" else -before)


def test_a_few_bright_outliers_do_not_outvote_the_others() -> None:
    observations = images(sign=-1.0)
    observations._values[:20] += 1000
    assert choose_contrast(observations, "auto").contrast == "black"
