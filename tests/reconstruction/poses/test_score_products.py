"""Scores whose operands have 10 bits behind the point: what it costs, and that the best are put right."""

import math

import pytest
import torch

from reconstruction.scenes import make_scene
from resmfn.core import make_generator
from resmfn.core.errors import ShapeError
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.score_products import SliceProducts, rounded_to_tf32
from resmfn.rotations import super_fibonacci

SNR = 0.1
BOX = 32


def test_rounding_keeps_ten_bits_and_goes_to_the_nearest() -> None:
    step = 2.0**-10
    values = torch.tensor([0.0, 1.0, 1 + step, 1 + 0.4 * step, 1 + 0.6 * step, -1 - 0.6 * step, 1 + 0.5 * step, 3e30])
    expected = [0.0, 1.0, 1 + step, 1.0, 1 + step, -1 - step, 1.0]
    assert rounded_to_tf32(values)[:-1].tolist() == expected
    many = torch.randn(10_000, generator=make_generator(1))
    error = (rounded_to_tf32(many) / many - 1).abs()
    assert 0.4 * step < float(error.max()) <= 0.5 * step
    assert torch.equal(rounded_to_tf32(rounded_to_tf32(many)), rounded_to_tf32(many))


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ShapeError, match="rounding of float32, got torch.float64"):
        rounded_to_tf32(torch.zeros(1, dtype=torch.float64))


def noisy_case(n: int = 1000, n_rotations: int = 2304) -> tuple:
    """Return images at SNR 0.1 over all their pixels, and slices of the true map within a third of Nyquist."""
    clean = make_scene(200, box_size=BOX)
    values, _ = clean.observations.batch(clean.index, len(clean.observations.pixels))
    amplitude = math.sqrt(SNR / float(values.abs().square().mean()))
    scene = make_scene(n, box_size=BOX, amplitude=amplitude, noise=1.0)
    rotations = super_fibonacci(n_rotations)
    n_pixels = scene.observations.n_pixels(7.0)
    return scene, rotations, scene.blobs.transform(rotations, scene.observations.pixels[:n_pixels], BOX) / BOX


def test_products_in_tf32_are_close_and_the_best_are_exact() -> None:
    scene, _, slices = noisy_case(20, 300)
    values, ctf = scene.observations.batch(scene.index, slices.shape[1])
    images, power = torch.cat(((values * ctf).real, (values * ctf).imag), 1), ctf.square()
    exact, rough = (SliceProducts(slices, precision) for precision in ("full", "tf32"))
    whole, rounded = exact.scores(images, power), rough.scores(images, power)
    assert 1e-4 < float((whole - rounded).abs().max()) < 0.1  # nat
    kept = rounded.view(20, -1).topk(5, dim=1).indices
    again = rough.scores_again(images, power, kept)
    torch.testing.assert_close(again, whole.view(20, -1).gather(1, kept), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_tf32_keeps_the_winner_of_every_image_and_nearly_all_weight(temperature: float) -> None:
    """What --score-precision auto rests on: of 1,000 images at SNR 0.1 no winner is lost, hardly any weight moves."""
    scene, rotations, slices = noisy_case()
    found = [
        grid_posterior(
            scene.observations,
            scene.index,
            slices,
            PoseGrid(rotations, torch.zeros(1, 2), precision=precision),
            scene.shift,
            temperature=temperature,
            n_top=1,
        )
        for precision in ("full", "tf32")
    ]
    full, tf32 = found
    assert float((full.top_rotation == tf32.top_rotation).float().mean()) >= 0.999
    assert float((full.log_evidence - tf32.log_evidence).abs().max()) < 0.01
    assert float((full.max_probability - tf32.max_probability).abs().max()) < 1e-3
    moved = (full.weights - tf32.weights).abs().sum() / full.weights.sum()
    assert 0 < float(moved) < 1e-3
    assert float(full.max_probability.median()) < 0.9  # a certain case would say nothing of weights


def test_shifts_and_their_prior_count_in_what_is_scored_again() -> None:
    scene, rotations, slices = noisy_case(30, 200)
    offsets = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, -4.0]])
    full, tf32 = (
        grid_posterior(
            scene.observations, scene.index, slices, PoseGrid(rotations, offsets, 2.5, precision), scene.shift, n_top=4
        )
        for precision in ("full", "tf32")
    )
    assert torch.equal(full.top_rotation, tf32.top_rotation)
    assert torch.equal(full.top_shift, tf32.top_shift)
    torch.testing.assert_close(full.shift, tf32.shift, rtol=0, atol=0.02)
    torch.testing.assert_close(full.entropy, tf32.entropy, rtol=0, atol=0.02)
