"""Gains and bad images: found where they are, and nothing found where there is nothing."""

from dataclasses import replace

import pytest
import torch

from reconstruction.scenes import make_scene, turned
from resmfn.core import make_generator
from resmfn.reconstruction.images.image_quality import ImageFits, judge_images, probability_of_particle
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, insert_images
from resmfn.rotations import exp_so3

N_PIXELS = torch.tensor([0, 3, 6, 9, 12])
"""Of the shells of these images."""


def fits(
    gain: torch.Tensor, *, power: float = 80.0, amplitude: float = 1.0, seed: int = 0, stray: torch.Tensor | None = None
) -> ImageFits:
    """Return how images of some gain fit a map that is ``1 / amplitude`` times too strong, with their noise.

    ``stray`` (n,) is the power, in every pixel, of something else that is in the image.
    """
    generator, n = make_generator(seed), len(gain)
    stray = torch.zeros(n) if stray is None else stray
    share = N_PIXELS / N_PIXELS.sum()
    seen = power * share.expand(n, -1)
    level = (1 + stray)[:, None].sqrt()
    overlap = gain[:, None] * seen + level * torch.randn(n, 5, generator=generator) * (seen / 2).sqrt()
    rest = level.square() * torch.stack([_of_noise(int(k), n, generator) for k in N_PIXELS], dim=1)
    image_power = gain[:, None].square() * seen + 2 * gain[:, None] * (overlap - gain[:, None] * seen) + rest
    ctf_power = 0.5 * N_PIXELS.expand(n, -1)
    log_occam_factor = torch.full_like(gain, -12.0)
    return ImageFits(overlap / amplitude, seen / amplitude**2, image_power, ctf_power, log_occam_factor, N_PIXELS)


def _of_noise(n_pixels: int, n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, max(1, 2 * n_pixels), generator=generator).square().sum(dim=1) / 2 * (n_pixels > 0)


@pytest.mark.parametrize("amplitude", [1.0, 0.5, 2.0])
def test_equal_gains_come_out_equal(amplitude: float) -> None:
    quality = judge_images([fits(torch.ones(3000), amplitude=amplitude)])
    assert float((quality.gain - 1).abs().max()) < 0.06
    assert float(quality.gain.std()) < 0.02
    assert float(quality.particle_probability.min()) > 0.99


@pytest.mark.parametrize("amplitude", [1.0, 0.7, 1.3])
def test_gains_are_found_whatever_the_maps_amplitude(amplitude: float) -> None:
    gain = torch.linspace(0.6, 1.4, 1000)
    quality = judge_images([fits(gain, amplitude=amplitude)])
    assert float(quality.gain.mean()) == pytest.approx(1.0, abs=0.02)
    assert float((quality.gain - gain).square().mean().sqrt()) < 0.08  # raw: 0.079
    assert float(torch.corrcoef(torch.stack((quality.gain, gain)))[0, 1]) > 0.93
    assert float(quality.particle_probability.min()) > 0.9


def test_noise_is_told_from_weak_images() -> None:
    gain = torch.cat((torch.linspace(0.7, 1.3, 900), torch.zeros(100)))
    found = fits(gain)
    found.overlap[900:] += 10 * N_PIXELS / N_PIXELS.sum()  # what the best of many poses makes of noise
    quality = judge_images([found])
    assert bool((quality.particle_probability[:900] > 0.5).all())
    assert bool((quality.particle_probability[900:] < 0.5).all())


def test_what_is_strong_and_fits_no_view_is_not_taken_for_a_particle() -> None:
    gain = torch.cat((torch.ones(900), torch.full((100,), 0.4)))  # the best view of a clump explains a part of it
    stray = torch.cat((torch.zeros(900), torch.full((100,), 20.0)))
    found = fits(gain, stray=stray)
    assert bool(((2 * found.overlap - found.power).sum(dim=1)[900:] - 12 > 0).float().mean() > 0.3)  # as noise alone
    particle_probability = judge_images([found]).particle_probability
    assert float((particle_probability[:900] > 0.5).float().mean()) > 0.995
    assert float((particle_probability[900:] < 0.5).float().mean()) > 0.9


def test_a_particle_with_a_neighbor_is_a_particle() -> None:
    stray = torch.cat((torch.zeros(700), torch.full((300,), 2.0)))
    particle_probability = judge_images([fits(torch.ones(1000), power=150.0, stray=stray)]).particle_probability
    assert float((particle_probability > 0.5).float().mean()) > 0.99


def test_of_two_maps_each_image_shows_the_one_that_fits() -> None:
    first, second = fits(torch.cat((torch.ones(300), torch.full((200,), 0.5)))), fits(torch.ones(500), seed=1)
    weaker = replace(second, overlap=torch.where(torch.arange(500)[:, None] < 300, 0.5, 1.0) * second.overlap)
    weaker = replace(
        weaker,
        image_power=first.image_power,
        log_occam_factor=weaker.log_occam_factor.index_fill(0, torch.tensor([7]), -torch.inf),
    )
    quality = judge_images([first, weaker])
    assert bool((quality.of_map[:300].argmax(dim=1) == 0).float().mean() > 0.97)
    assert bool((quality.of_map[300:].argmax(dim=1) == 1).float().mean() > 0.97)
    assert float(quality.of_map[7, 1]) == 0.0  # it was not compared with the second
    torch.testing.assert_close(quality.particle_probability, quality.of_map.sum(dim=1))


def test_where_no_image_can_be_told_none_is_judged() -> None:
    assert torch.equal(probability_of_particle(torch.full((50,), -30.0)), torch.ones(50))
    evidence = torch.cat((torch.full((40,), 20.0), torch.full((10,), -20.0)))
    assert torch.equal(probability_of_particle(evidence) > 0.5, evidence > 0)


def test_images_of_noise_among_others_are_found_at_their_best_poses() -> None:
    scene = make_scene(60, noise=1.0, amplitude=0.5)
    observations = scene.observations
    bad = torch.zeros(60, dtype=torch.bool)
    bad[::5] = True
    shape = observations._values[bad].shape
    observations._values[bad] = torch.randn(shape, generator=make_generator(9), dtype=torch.complex64)
    grid = MapGrid(scene.box_size, scene.box_size)
    model = PoseModel(grid, grid.transform(scene.volume), 9.0, moves_shift=False)
    poses = Poses(turned(scene.rotation, 3.0), scene.shift)
    found = refine_poses(observations, scene.index, poses, model, weight=(~bad).float())
    quality = judge_images([found.images])
    assert torch.equal(quality.particle_probability < 0.5, bad)
    shells = found.residual_power[0, 2:9]
    torch.testing.assert_close(shells, torch.ones_like(shells), rtol=0.25, atol=0.0)  # of the good ones alone


def test_the_share_of_poses_is_that_of_a_sharp_peak() -> None:
    """Against an integral over turns and shifts by brute force, close to the peak of one clear image."""
    scene = make_scene(1, noise=0.0, amplitude=0.25)
    grid = MapGrid(scene.box_size, scene.box_size)
    model = PoseModel(grid, grid.transform(scene.volume), 9.0, moves_shift=False)
    fit = refine_poses(scene.observations, scene.index, scene.poses, model, iterations=3)
    generator = make_generator(3)
    width = 0.12
    turn = width * torch.randn(4000, 3, generator=generator)
    many = Poses(exp_so3(turn) @ fit.poses.rotation, scene.shift.expand(4000, 2))
    still = refine_poses(scene.observations, torch.zeros(4000, dtype=torch.int64), many, model, iterations=0)
    density = torch.exp(-0.5 * turn.square().sum(dim=1) / width**2) / (2 * torch.pi * width**2) ** 1.5
    share = torch.exp(still.log_likelihood - fit.log_likelihood) / density / (8 * torch.pi**2)
    assert float(share.mean().log()) == pytest.approx(float(fit.images.log_occam_factor), abs=0.3)


def test_bad_images_do_not_count() -> None:
    scene = make_scene(20)
    grid = MapGrid(scene.box_size, 16)
    particle_probability = torch.ones(20)
    particle_probability[10:] = 0
    weighted = insert_images(scene.observations, PosedImages(scene.index, scene.poses, particle_probability), grid, 5.0)
    half = scene.index[:10]
    alone = insert_images(scene.observations, PosedImages(half, scene.poses.select(half)), grid, 5.0)
    torch.testing.assert_close(weighted.values, alone.values)
    torch.testing.assert_close(weighted.weights, alone.weights)


def test_a_gain_multiplies_what_is_expected_of_an_image() -> None:
    observations = make_scene(5).observations
    index = torch.arange(5)
    before = observations.batch(index, 20)
    gain = torch.linspace(0.5, 1.5, 5)
    observations.set_gain(gain)
    after = observations.batch(index, 20)
    assert torch.equal(after[0], before[0])
    torch.testing.assert_close(after[1], before[1] * gain[:, None])
