"""Rounds: priors from the halves' agreement, how far the next round goes, images inserted at their poses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reconstruction.scenes import make_scene, relative_error, turned
from resmfn.core import make_generator
from resmfn.fourier import low_pass, resize_map
from resmfn.reconstruction.maps.agreement import half_map_fsc, next_radius
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.priors import LEAST_SSNR, fsc_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.rounds import RoundPlan, move_poses
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, insert_images
from resmfn.rotations import geodesic_degrees

BOX = 24
curves = st.lists(st.floats(-0.3, 1.0), min_size=3, max_size=40).map(lambda v: torch.tensor([1.0, *v]))


# --- the next radius ---------------------------------------------------------------------------------


@given(fsc=curves, most=st.floats(8.0, 100.0))
def test_a_round_goes_at_most_a_quarter_further_and_never_beyond_the_images(fsc: torch.Tensor, most: float) -> None:
    radius = min(len(fsc) - 1.0, most)
    found = next_radius(fsc, radius, most)
    assert found <= most
    assert found <= 1.25 * radius + 1 + 1e-6


@given(fsc=curves, gain=st.floats(0.0, 1.0))
def test_halves_that_agree_better_go_no_less_far(fsc: torch.Tensor, gain: float) -> None:
    radius = len(fsc) - 1.0
    better = fsc + gain * (1 - fsc)
    assert next_radius(better, radius, 500.0) >= next_radius(fsc, radius, 500.0) - 1e-6


@given(n=st.integers(3, 60))
def test_halves_that_agree_everywhere_go_on_until_the_images_end(n: int) -> None:
    assert next_radius(torch.ones(n + 1), float(n), 500.0) > n + 1
    assert next_radius(torch.ones(n + 1), float(n), float(n)) == n


def test_a_round_goes_back_to_where_the_halves_agree() -> None:
    fsc = torch.ones(31)
    fsc[10:] = 0.0
    assert next_radius(fsc, 30.0, 60.0) == pytest.approx(9 * 1.15 + 2)


def test_the_first_shell_that_disagrees_counts_not_a_later_one() -> None:
    fsc = torch.ones(31)
    fsc[10] = 0.0
    assert next_radius(fsc, 12.0, 60.0) == pytest.approx(9 * 1.15 + 2)
    fsc[5] = 0.0
    assert next_radius(fsc, 12.0, 60.0) == pytest.approx(4 * 1.15 + 2)


# --- priors ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def equations() -> MapEquations:
    scene = make_scene(100, noise=1.0)
    return MapEquations(insert_images(scene.observations, PosedImages(scene.index, scene.poses), MapGrid(BOX, 20), 8))


def test_the_better_the_halves_agree_the_weaker_the_prior(equations) -> None:
    levels = [fsc_prior(equations, torch.full((9,), level), 9, halves_in=1) for level in (0.1, 0.5, 0.9, 0.99)]
    for more, less in zip(levels, levels[1:], strict=False):
        assert bool((less < more).all())
    assert all(bool(((level > 0) & level.isfinite()).all()) for level in levels)


def test_a_prior_is_the_weight_of_the_data_over_its_signal_to_noise_ratio(equations) -> None:
    """FSC = SSNR / (1 + SSNR) of one half; all images have twice that of a half."""
    weights = equations.shell_weights()[:9]
    torch.testing.assert_close(fsc_prior(equations, torch.full((9,), 0.75), 9, halves_in=1), weights / 3)
    torch.testing.assert_close(fsc_prior(equations, torch.full((9,), 0.75), 9, halves_in=2), weights / 6)


def test_beyond_the_known_shells_the_prior_grows_to_its_limit(equations) -> None:
    prior = fsc_prior(equations, torch.full((5,), 0.5), 12, halves_in=1)
    ratio = equations.shell_weights()[:12] / prior
    assert prior.shape == (12,)
    assert bool((ratio[5:].diff() <= 1e-6).all())
    torch.testing.assert_close(ratio[5], torch.tensor(0.35 / 0.65))
    assert float(ratio.min()) >= LEAST_SSNR - 1e-6


@pytest.mark.parametrize("level", [-0.4, 0.0, 1.0])
def test_no_correlation_makes_a_prior_without_end(equations, level: float) -> None:
    prior = fsc_prior(equations, torch.full((9,), level), 9, halves_in=1)
    assert bool((prior.isfinite() & (prior > 0)).all())


def test_more_shells_than_are_wanted_are_dropped(equations) -> None:
    fsc = torch.linspace(0.9, 0.1, 15)
    torch.testing.assert_close(fsc_prior(equations, fsc, 6, halves_in=1), fsc_prior(equations, fsc[:6], 6, halves_in=1))


# --- images ------------------------------------------------------------------------------------------


def test_shifted_images_are_inserted_where_centered_ones_are() -> None:
    centered, shifted = make_scene(30), make_scene(30, shift=4.0)
    shifted = make_scene(30, shift=4.0)
    grid = MapGrid(BOX, 20)
    poses = Poses(shifted.rotation, shifted.shift)
    sums = insert_images(shifted.observations, PosedImages(shifted.index, poses), grid, 8)
    # The two scenes draw the same rotations: their shifts come after.
    assert torch.equal(centered.rotation, shifted.rotation)
    expected = insert_images(centered.observations, PosedImages(centered.index, centered.poses), grid, 8)
    assert relative_error(sums.values, expected.values) < 1e-4
    torch.testing.assert_close(sums.weights, expected.weights)


def test_only_pixels_within_the_radius_are_inserted() -> None:
    scene = make_scene(30)
    wide, narrow = (
        insert_images(scene.observations, PosedImages(scene.index, scene.poses), MapGrid(BOX, BOX), r) for r in (10, 5)
    )
    center = torch.arange(2 * BOX) - BOX
    radius = torch.stack(torch.meshgrid(center, center, center, indexing="ij")).float().norm(dim=0) / 2
    assert float(narrow.weights[radius > 6].abs().max()) == 0
    assert float(wide.weights[radius > 6].max()) > 0


def test_poses_of_a_branch_move_in_place_and_the_report_says_how_far() -> None:
    scene = make_scene(30, amplitude=3.0, noise=1.0, shift=2.0)
    start = Poses(turned(scene.rotation, 3.0), scene.shift + 1.0)
    posed = PosedImages(scene.index, start)
    report = move_poses(scene.observations, posed, scene.volume, RoundPlan(8.0, 5, moves_shift=True))
    after = geodesic_degrees(posed.poses.rotation, scene.rotation)
    assert float(after.median()) < 1.5
    assert report.pose_change == pytest.approx(
        float(geodesic_degrees(posed.poses.rotation, start.rotation).median()), abs=1e-3
    )
    assert report.shift_change == pytest.approx(float((posed.poses.shift - start.shift).norm(dim=1).median()), abs=1e-4)
    assert report.log_likelihood > 0
    assert float(report.residual_power[0, 1:].mean()) == pytest.approx(1.0, abs=0.1)


def test_half_maps_are_compared_up_to_the_radius() -> None:
    volume, everywhere = make_scene(1).volume, torch.ones(BOX, BOX, BOX)
    noise = torch.randn(BOX, BOX, BOX, generator=make_generator(1))
    other = low_pass(volume, 5.0, 0.0) + low_pass(noise, 12.0, 0.0) - low_pass(noise, 5.0, 0.0)
    curve = half_map_fsc(volume, other, everywhere, 9.4, generator=make_generator(2))
    assert curve.shape == (10,)
    torch.testing.assert_close(curve[:5], torch.ones(5).to(curve), rtol=1e-3, atol=0.0)
    assert float(curve[7:].abs().max()) < 0.35
    nothing = half_map_fsc(volume, torch.zeros_like(volume), everywhere, 9.4, generator=make_generator(2))
    assert bool((nothing == 0).all())


def test_a_map_on_its_own_grid_is_itself() -> None:
    volume = make_scene(1).volume
    assert resized(volume, BOX) is volume
    assert torch.equal(resized(volume, 16), resize_map(volume, 16))
