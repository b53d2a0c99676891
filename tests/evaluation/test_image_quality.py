"""Measures of images: closed forms, and scikit-image's word."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as skimage_ssim

from resmfn.core import ShapeError
from resmfn.evaluation import mean_squared_error, peak_signal_to_noise, structural_similarity


@pytest.fixture
def pair(generator):
    truth = torch.rand(32, 27, 3, generator=generator, dtype=torch.float64)
    return truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64), truth


def test_psnr_of_a_constant_error_is_its_size_in_decibels():
    truth = torch.zeros(5, 4)
    assert mean_squared_error(truth + 0.1, truth) == pytest.approx(0.01)
    assert peak_signal_to_noise(truth + 0.1, truth) == pytest.approx(20)
    assert peak_signal_to_noise(truth + 0.1, truth, data_range=10) == pytest.approx(40)
    assert peak_signal_to_noise(truth, truth) == math.inf


def test_psnr_and_ssim_are_scikit_images(pair):
    image, truth = pair
    reference = peak_signal_noise_ratio(truth.numpy(), image.numpy(), data_range=1)
    assert peak_signal_to_noise(image, truth) == pytest.approx(reference, rel=1e-12)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    reference = skimage_ssim(truth.numpy(), image.numpy(), data_range=2.0, channel_axis=2, **settings)
    assert structural_similarity(image, truth, data_range=2.0) == pytest.approx(reference, rel=1e-10)


def test_ssim_of_volumes_is_scikit_images(generator):
    truth = torch.rand(13, 14, 15, generator=generator, dtype=torch.float64)
    image = truth.roll(1, 2)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    reference = skimage_ssim(truth.numpy(), image.numpy(), data_range=1.0, **settings)
    assert structural_similarity(image, truth, dim=3) == pytest.approx(reference, rel=1e-10)


def test_ssim_is_one_for_equal_images_alone(pair):
    image, truth = pair
    assert structural_similarity(truth, truth) == pytest.approx(1)
    assert structural_similarity(image, truth) < 0.99


def test_shapes_must_agree_and_hold_the_window(pair):
    image, truth = pair
    with pytest.raises(ShapeError, match="one shape"):
        mean_squared_error(image[1:], truth)
    with pytest.raises(ShapeError, match="at least 11"):
        structural_similarity(image[:10], truth[:10])
