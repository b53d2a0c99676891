"""The hand of a map against a structure that is known."""

import pytest
import torch

from resmfn.core import make_generator
from resmfn.evaluation import judge_hand
from resmfn.fourier import soft_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import exp_so3

SIZE = 32
MASK = soft_sphere(SIZE, 11.0, 3.0)
TURN = exp_so3(torch.tensor([0.4, -0.9, 0.6], dtype=torch.float64))


def molecule(seed: int = 0) -> GaussianBlobs:
    return GaussianBlobs.random(12, radius=7.0, width=1.4, generator=make_generator(seed), dtype=torch.float64)


def seen(blobs: GaussianBlobs, hand: int, noise: float = 0.05) -> torch.Tensor:
    """The blobs, or their mirror image, turned, with noise."""
    turned = GaussianBlobs(centers=hand * blobs.centers @ TURN.T, widths=blobs.widths, amplitudes=blobs.amplitudes)
    volume = turned.volume(SIZE).float()
    return volume + noise * torch.randn(volume.shape, generator=make_generator(5))


@pytest.mark.parametrize("hand", [1, -1])
def test_the_right_hand_is_found_and_its_curve_is_the_better_one(hand: int) -> None:
    blobs = molecule()
    verdict = judge_hand(seen(blobs, hand), blobs.volume(SIZE).float(), 2.0, MASK)
    assert verdict.hand == hand
    assert verdict.margin > 0.1
    assert verdict.significance > 10
    assert verdict.curve.resolution_at(0.5) < verdict.curve_other.resolution_at(0.5)


def test_an_object_that_is_its_own_mirror_image_has_no_hand() -> None:
    blobs = molecule()
    flat = GaussianBlobs(
        centers=blobs.centers * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64),
        widths=blobs.widths,
        amplitudes=blobs.amplitudes,
    )
    verdict = judge_hand(seen(flat, -1), flat.volume(SIZE).float(), 2.0, MASK)
    assert verdict.hand == 0
    assert abs(verdict.margin) < 0.02


def test_noise_has_no_hand() -> None:
    noise = torch.randn(SIZE, SIZE, SIZE, generator=make_generator(3))
    assert judge_hand(noise, molecule().volume(SIZE).float(), 2.0, MASK).hand == 0
