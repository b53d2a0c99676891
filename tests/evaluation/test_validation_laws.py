"""What must hold of sharpening, local and directional resolution and of the figures that are made of them."""

import math

import pytest
import torch

from resmfn.evaluation import FscCurve, contour_level, directional_fsc, fsc_weight, local_resolution, sharpen
from resmfn.evaluation.local_resolution import _Surroundings
from resmfn.evaluation.validation import Validation
from resmfn.fourier import radius_grid, soft_sphere
from resmfn.fourier.grids import centered_indices
from resmfn.fourier.transforms import fftn_centered, ifftn_centered

SIZE, PIXEL = 20, 8.0


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flat_curve(height: float) -> FscCurve:
    n = SIZE // 2 + 1
    return FscCurve(torch.arange(n).double() / (SIZE * PIXEL), torch.full((n,), height).double())


def test_the_weight_of_a_shell_is_the_correlation_of_the_whole_map_with_the_truth() -> None:
    """Rosenthal and Henderson 2003: sqrt(2 F / (1 + F)); at 0.143 it is a half."""
    for correlation, weight in ((1.0, 1.0), (0.143, 0.5), (1 / 3, math.sqrt(0.5)), (-0.2, 0.0)):
        assert float(fsc_weight(flat_curve(correlation))[3]) == pytest.approx(weight, abs=1e-3)


def test_the_sharpened_map_ends_at_its_resolution() -> None:
    radius = radius_grid(SIZE, 3)
    power = fftn_centered(sharpen(noise(1), flat_curve(0.9), -100.0, SIZE * PIXEL / 5)).abs().square()
    assert float(power[radius < 3].mean()) > 1
    assert float(power[radius > 8].max()) < 1e-12 * float(power.max())


def test_a_steep_fall_is_undone_up_to_the_resolution_and_overflows_nowhere() -> None:
    """Three shells at 8 to 10 Å may give any B-factor; beyond the filter nothing is amplified."""
    steep = -160.0 * (2 * PIXEL) ** 2  # exp(160 / 4) at Nyquist, three times the exponent in the corners
    for volume in (noise(1), noise(1).float()):
        sharpened = sharpen(volume, flat_curve(0.9), steep, 2 * PIXEL)
        assert bool(torch.isfinite(sharpened).all())
    mild = sharpen(noise(1), flat_curve(0.9), -100.0, SIZE * PIXEL / 5)
    gain = (fftn_centered(mild).abs() / fftn_centered(noise(1)).abs())[radius_grid(SIZE, 3) == 4]
    expected = float(fsc_weight(flat_curve(0.9))[4]) * math.exp(100.0 / 4 * (4 / (SIZE * PIXEL)) ** 2)
    torch.testing.assert_close(gain, torch.full_like(gain, expected), rtol=1e-3, atol=0.0)


def test_local_resolution_is_finest_where_the_halves_agree() -> None:
    """Halves with the same noise in a ball off the center on each axis, and different noise elsewhere."""
    place = torch.tensor([2.0, -3.0, 1.0])
    axis = centered_indices(SIZE, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = ((z - place[0]) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2).sqrt() < 4
    halves = [torch.where(inside, 3 * noise(1), noise(seed)) for seed in (2, 3)]
    found = local_resolution(*halves, soft_sphere(SIZE, 8.0, 1.0), PIXEL, generator=torch.Generator().manual_seed(0))
    weight = torch.where(found > 0, 1 / found.clamp_min(1e-9), 0.0)
    weight = (weight - weight[found > 0].median()).clamp_min(0)
    centroid = torch.stack([(weight * c).sum() / weight.sum() for c in (z, y, x)])
    assert float((centroid - place).abs().max()) < 1.0
    assert float(found[found > 0].min()) == pytest.approx(2 * PIXEL, rel=0.1)


@pytest.mark.parametrize("centers", [((3, 9, 16), (5, 9, 19)), ((10, 10, 10), (12, 9, 11))])
def test_windows_see_the_map_around_their_center_and_nothing_beyond_its_box(centers: tuple[tuple[int, ...]]) -> None:
    volume, window = noise(1), 8
    around = _Surroundings.of(torch.tensor(centers), window, SIZE)
    part = around.cut(volume)
    padded = torch.nn.functional.pad(volume, [window] * 6)
    covered = torch.zeros(SIZE, SIZE, SIZE, dtype=torch.bool)
    for center in centers:
        first = [c - window // 2 for c in center]
        here = tuple(slice(f + window, f + 2 * window) for f in first)
        assert torch.equal(part[around.window(center)], padded[here])
        covered[tuple(slice(max(f, 0), f + window) for f in first)] = True
    back = around.put_back(part)
    assert torch.equal(back[covered], volume[covered])
    assert back.shape == volume.shape
    assert bool((back[back != 0] == volume[back != 0]).all())


def test_where_no_mask_is_nothing_has_a_local_resolution() -> None:
    nothing = torch.zeros(SIZE, SIZE, SIZE)
    found = local_resolution(noise(1), noise(2), nothing, PIXEL, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found, nothing.double())


def test_noise_has_no_local_resolution_finer_than_where_phases_are_randomized() -> None:
    """What a window makes alike is taken out from 25 Å on: halves of independent noise stay coarse."""
    halves = [noise(seed) for seed in (5, 6)]
    mask = soft_sphere(SIZE, 6.0, 1.0)
    found = local_resolution(*halves, mask, PIXEL, generator=torch.Generator().manual_seed(0))
    assert float(found[found > 0].median()) > 25


def test_neither_a_window_nor_a_direction_is_finer_than_the_maps_go() -> None:
    """Equal halves to shell 6 agree in whatever leaks beyond it, within a window and within a mask."""
    ends = radius_grid(SIZE, 3).round() <= 6
    whole = noise(1) * soft_sphere(SIZE, 4.0, 2.0)
    half = ifftn_centered(fftn_centered(whole) * ends).real.float()
    mask, finest = soft_sphere(SIZE, 6.0, 2.0), SIZE * PIXEL / 6
    generator = torch.Generator().manual_seed(0)
    local = local_resolution(half, half, mask, PIXEL, generator=generator)
    assert float(local[local > 0].min()) >= finest * (1 - 1e-5)
    assert float(directional_fsc(half, half, PIXEL, mask).resolutions().min()) >= finest * (1 - 1e-5)
    assert float(directional_fsc(whole, whole, PIXEL, mask).resolutions().max()) < finest


def test_the_figures_of_local_resolution_are_the_5_50_and_95_percent() -> None:
    local = torch.zeros(SIZE, SIZE, SIZE)
    local.view(-1)[:5001] = torch.linspace(3, 13, 5001)
    found = Validation(None, None, 0.0, None, local, local)._local_figures()  # type: ignore[arg-type]
    assert found == pytest.approx({"p05": 3.5, "median": 8.0, "p95": 12.5}, abs=2e-3)


def test_the_curve_along_an_axis_is_that_of_the_axis() -> None:
    """Halves that agree along x only, in Fourier space."""
    axis = centered_indices(SIZE, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    near_x = x.abs() >= 0.9 * (x * x + y * y + z * z).sqrt()
    common = ifftn_centered(torch.where(near_x, fftn_centered(noise(7)), 0)).real
    halves = [10 * common + noise(seed) for seed in (8, 9)]
    directions = directional_fsc(*halves, PIXEL)
    curves = Validation(None, None, 0.0, directions, halves[0], halves[0]).directional_curves()  # type: ignore[arg-type]
    heights = {name: float(curves[f"along_{name}"].correlation[4:9].mean()) for name in "xyz"}
    assert heights["x"] > 0.9
    assert max(heights["y"], heights["z"]) < 0.5
    lowest, median, highest = (curves[name].correlation for name in ("lowest", "median", "highest"))
    assert bool((lowest <= median).all() and (median <= highest).all())


# --- the contour level ---------------------------------------------------------------------------


def ball(height: float, radius: float = 5.0) -> torch.Tensor:
    return height * soft_sphere(SIZE, radius, 1.0).double()


EVERYWHERE = torch.ones(SIZE, SIZE, SIZE, dtype=torch.float64)


def test_at_most_one_percent_of_what_the_contour_encloses_is_noise() -> None:
    """A bright ball that noise does not reach: what is above the level outside of it is noise."""
    level = contour_level(ball(8.0) + noise(3), EVERYWHERE, noise(4))
    assert level is not None
    above = (ball(8.0) + noise(3)) > level
    false = above & (ball(8.0) < 0.1)
    assert int(above.sum()) > 400
    assert int(false.sum()) <= 0.02 * int(above.sum())


def test_in_a_map_without_noise_the_contour_is_where_dark_and_bright_part() -> None:
    level = contour_level(ball(8.0), EVERYWHERE, 1e-6 * noise(1))
    assert level == pytest.approx(4.0, abs=2.5)


def test_the_contour_scales_with_the_map() -> None:
    volume, difference = ball(6.0) + noise(3), noise(4)
    level = contour_level(volume, EVERYWHERE, difference)
    assert contour_level(1e-4 * volume, EVERYWHERE, 1e-4 * difference) == pytest.approx(1e-4 * level)


def test_noise_alone_has_no_contour() -> None:
    assert contour_level(0.5 * noise(1), EVERYWHERE, noise(2)) is None
    assert contour_level(ball(8.0), torch.zeros_like(EVERYWHERE), noise(2)) is None
