"""Defocus of each image by its likelihood: tables against the fits of poses, planted offsets, and what the prior is."""

import math
from dataclasses import replace

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, Scene, make_scene, varied_optics
from resmfn.core import make_generator
from resmfn.physics import compute_ctf
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.poses import pose_refinement
from resmfn.reconstruction.poses.defocus import (
    FIRST_SPREAD,
    LEAST_REACH,
    PHASE_STEP,
    likeliest_spread,
    likelihood_table,
    offsets_to_try,
    posterior_offsets,
    refine_defocus,
)
from resmfn.reconstruction.poses.pose_refinement import PoseModel

DOUBLE = torch.float64
BOX, RADIUS = 24, 10.0
MAGNIFICATION = torch.tensor([[1.06, 0.05], [-0.03, 0.94]])
SPREAD = 400.0
"""Å, of planted offsets: pixels of 3 Å see no less."""


def seen_with(scene: Scene, wrong_by: torch.Tensor) -> Observations:
    """Return the images with a file whose defocus is too small by (n,) Å, gains and noise other than 1."""
    true = scene.observations
    n, dtype = len(scene.index), true.noise_level.dtype
    optics = replace(varied_optics(n, dtype), magnification=true.magnification.matrix)
    observations = Observations(
        true._values, true._ctf.clone(), true.pixels, box_size=BOX, pixel_size=PIXEL_SIZE, noise_level=true.noise_level
    )
    observations.magnification = true.magnification
    observations.optics = optics.with_defocus(-wrong_by.to(dtype))
    observations.set_defocus(torch.zeros(n, dtype=dtype))
    return observations


def model_of(scene: Scene, **options: object) -> PoseModel:
    grid = MapGrid(BOX, BOX)
    options = {"radius": RADIUS, "moves_shift": True} | options
    return PoseModel(grid, grid.transform(scene.volume), **options)


def planted(n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return SPREAD * torch.randn(n, generator=make_generator(8), dtype=dtype)


@pytest.mark.parametrize("magnification", [None, MAGNIFICATION])
def test_the_table_holds_the_log_likelihoods_of_images_seen_at_each_offset(magnification: torch.Tensor | None) -> None:
    scene = make_scene(7, noise=0.4, shift=2.0, magnification=magnification, dtype=DOUBLE)
    observations, model = seen_with(scene, planted(7, DOUBLE)), model_of(scene)
    observations.set_noise_power(torch.linspace(0.5, 2.0, BOX // 2 + 1, dtype=DOUBLE))
    observations.set_gain(torch.linspace(0.6, 1.5, 7, dtype=DOUBLE))
    offsets = torch.linspace(-700.0, 700.0, 9, dtype=DOUBLE)
    table = likelihood_table(observations, scene.index, scene.poses, model, offsets)
    for offset, found in zip(offsets, table.T, strict=True):
        observations.set_defocus(offset.expand(7))
        n_pixels = observations.n_pixels(RADIUS)
        climb = pose_refinement._Climb(observations, scene.index, n_pixels, model, scene.poses.shift)
        torch.testing.assert_close(
            found, climb._evaluate(scene.poses, torch.arange(7)).log_likelihood, rtol=1e-7, atol=1e-6
        )


def test_planted_offsets_are_found_and_make_the_ctf_what_it_was() -> None:
    scene = make_scene(300, amplitude=3.0, noise=1.0, shift=2.0)
    wrong_by = planted(300)
    observations = seen_with(scene, wrong_by)
    fit = refine_defocus(observations, scene.index, scene.poses, model_of(scene), FIRST_SPREAD)
    fit = refine_defocus(observations, scene.index, scene.poses, model_of(scene), fit.spread)
    assert fit.spread == pytest.approx(float(wrong_by.square().mean().sqrt()), rel=0.15)
    error = fit.offset - wrong_by
    assert float(error.abs().median()) < 0.3 * SPREAD
    assert float((error / fit.deviation)[fit.told].square().median().sqrt()) == pytest.approx(
        0.67, abs=0.15
    )  # as far off as it says
    assert float(fit.told.float().mean()) > 0.9
    before = float((observations._ctf - scene.observations._ctf).square().mean())
    observations.set_defocus(fit.offset)
    after = float((observations._ctf - scene.observations._ctf).square().mean())
    assert after < 0.3 * before


@pytest.mark.parametrize("amplitude", [0.3, 3.0])
def test_a_defocus_that_is_right_is_left_as_it_is(amplitude: float) -> None:
    scene = make_scene(300, amplitude=amplitude, noise=1.0, shift=2.0)
    observations = seen_with(scene, torch.zeros(300))
    fit = refine_defocus(observations, scene.index, scene.poses, model_of(scene), FIRST_SPREAD)
    free, _ = posterior_offsets(
        likelihood_table(observations, scene.index, scene.poses, model_of(scene), torch.linspace(-900, 900, 61)),
        torch.linspace(-900, 900, 61),
        1e6,
    )
    assert float(fit.offset.square().mean()) < 0.05 * float(free.square().mean())  # than by the images alone


def test_an_image_that_shows_no_particle_says_nothing() -> None:
    scene = make_scene(200, amplitude=3.0, noise=1.0)
    wrong_by = planted(200) * (torch.arange(200) < 100)
    observations, model = seen_with(scene, wrong_by), model_of(scene)
    weight = (torch.arange(200) >= 100).float()
    fit = refine_defocus(observations, scene.index, scene.poses, model, FIRST_SPREAD, weight)
    assert fit.spread < 0.1 * SPREAD
    assert not fit.told[:100].any()
    assert float(fit.offset[:100].abs().max()) < 1.0
    assert refine_defocus(observations, scene.index, scene.poses, model, FIRST_SPREAD).spread > 0.4 * SPREAD


# --- the prior ---------------------------------------------------------------------------------------


def gaussian_table(center: torch.Tensor, error: float) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = torch.linspace(-1500, 1500, 151, dtype=DOUBLE)
    return -0.5 * ((offsets - center[:, None]) / error).square(), offsets


def test_the_spread_of_gaussian_likelihoods_is_what_their_errors_leave_of_the_centers_and_a_fixed_point_of_em() -> None:
    """With centers y of variance s^2 + e^2 it is mean y^2 - e^2, and there equals mean of offset^2 + variance."""
    center = math.hypot(300.0, 150.0) * torch.randn(2000, generator=make_generator(5), dtype=DOUBLE)
    table, offsets = gaussian_table(center, 150.0)
    spread = likeliest_spread(table, offsets)
    expected = math.sqrt(float(center.square().mean()) - 150.0**2)
    assert spread == pytest.approx(expected, rel=0.05)  # steps of 10 %
    offset, deviation = posterior_offsets(table, offsets, expected)
    assert float((offset.square() + deviation.square()).mean()) == pytest.approx(expected**2, rel=0.01)
    shrunk = expected**2 / (expected**2 + 150.0**2)
    torch.testing.assert_close(offset, shrunk * center, rtol=1e-3, atol=0.5)
    torch.testing.assert_close(deviation, torch.full_like(deviation, 150.0 * math.sqrt(shrunk)), rtol=1e-2, atol=0.0)


def test_images_that_cannot_tell_have_no_spread() -> None:
    offsets = torch.linspace(-600, 600, 31)
    assert likeliest_spread(torch.zeros(50, 31), offsets) == 0.0
    offset, deviation = posterior_offsets(torch.randn(50, 31, generator=make_generator(1)), offsets, 0.0)
    assert not offset.any()
    assert not deviation.any()


def test_a_peak_between_offsets_is_found_there_and_one_at_the_end_at_the_end() -> None:
    table, offsets = gaussian_table(torch.tensor([37.0, -411.0, 5000.0], dtype=DOUBLE), 60.0)
    offset, _ = posterior_offsets(table, offsets, 1e7)
    torch.testing.assert_close(offset, torch.tensor([37.0, -411.0, 1500.0], dtype=DOUBLE), rtol=1e-6, atol=1e-3)


def test_offsets_lie_evenly_about_0_and_close_enough_for_the_rim_of_the_band() -> None:
    scene = make_scene(3)
    observations = seen_with(scene, torch.zeros(3))
    for spread, reach in ((0.0, LEAST_REACH), (200.0, 600.0), (1e5, 3000.0)):
        offsets = offsets_to_try(observations, RADIUS, spread)
        assert float(offsets[-1]) == pytest.approx(reach)
        torch.testing.assert_close(offsets, -offsets.flip(0))
        assert float(offsets[len(offsets) // 2]) == 0
    rim = torch.tensor([[RADIUS / (BOX * PIXEL_SIZE), 0.0]], dtype=DOUBLE)
    flat = replace(varied_optics(1, DOUBLE), spherical_aberration=torch.zeros(1, dtype=DOUBLE))
    flat = replace(flat, amplitude_contrast=torch.zeros(1, dtype=DOUBLE), defocus_u=flat.defocus_v * 0)
    flat = replace(flat, defocus_v=flat.defocus_u)
    one_step = flat.with_defocus(offsets.diff()[:1].double())
    assert float(compute_ctf(one_step, rim).asin()) <= PHASE_STEP + 1e-6
