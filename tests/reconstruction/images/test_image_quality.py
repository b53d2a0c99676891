"""Gains and bad images: found where they are, and nothing found where there is nothing."""

import pytest
import torch

from reconstruction.scenes import make_scene, turned
from resmfn.core import make_generator
from resmfn.reconstruction.images.image_quality import ImageFits, judge_images, probably_good
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, insert_images
from resmfn.rotations import exp_so3


def fits(gain: torch.Tensor, *, power: float = 80.0, amplitude: float = 1.0, seed: int = 0) -> ImageFits:
    """Return how images of some gain fit a map that is ``1 / amplitude`` times too strong, with its noise."""
    noise = torch.randn(len(gain), generator=make_generator(seed)) * (power / 2) ** 0.5
    overlap = (gain * power + noise) / amplitude
    return ImageFits(overlap, torch.full_like(gain, power) / amplitude**2, torch.full_like(gain, -12.0))


def test_equal_gains_come_out_equal() -> None:
    quality = judge_images(fits(torch.ones(3000)))
    assert float((quality.gain - 1).abs().max()) < 0.06
    assert float(quality.gain.std()) < 0.02
    assert float(quality.good.min()) > 0.99


@pytest.mark.parametrize("amplitude", [1.0, 0.7, 1.3])
def test_gains_are_found_whatever_the_maps_amplitude(amplitude: float) -> None:
    gain = torch.linspace(0.6, 1.4, 1000)
    quality = judge_images(fits(gain, amplitude=amplitude))
    assert float(quality.gain.mean()) == pytest.approx(1.0, abs=0.02)
    assert float((quality.gain - gain).square().mean().sqrt()) < 0.08  # raw: 0.079
    assert float(torch.corrcoef(torch.stack((quality.gain, gain)))[0, 1]) > 0.93
    assert float(quality.good.min()) > 0.9


def test_noise_is_told_from_weak_images() -> None:
    gain = torch.cat((torch.linspace(0.7, 1.3, 900), torch.zeros(100)))
    found = fits(gain)
    found.overlap[900:] += 10  # what the best of many poses makes of noise
    quality = judge_images(found)
    assert bool((quality.good[:900] > 0.5).all())
    assert bool((quality.good[900:] < 0.5).all())


def test_where_no_image_can_be_told_none_is_judged() -> None:
    assert torch.equal(probably_good(torch.full((50,), -30.0)), torch.ones(50))
    evidence = torch.cat((torch.full((40,), 20.0), torch.full((10,), -20.0)))
    assert torch.equal(probably_good(evidence) > 0.5, evidence > 0)


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
    quality = judge_images(found.images)
    assert torch.equal(quality.good < 0.5, bad)
    shells = found.residual_power[2:9]
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
    assert float(share.mean().log()) == pytest.approx(float(fit.images.log_share), abs=0.3)


def test_bad_images_do_not_count() -> None:
    scene = make_scene(20)
    grid = MapGrid(scene.box_size, 16)
    good = torch.ones(20)
    good[10:] = 0
    weighted = insert_images(scene.observations, PosedImages(scene.index, scene.poses, good), grid, 5.0)
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
