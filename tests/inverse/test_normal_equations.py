"""The quadratic of images at known poses: against the images themselves, against a dense matrix, and solved."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reconstruction.scenes import Scene, draw_blobs, make_scene, relative_error
from resmfn.core import make_generator
from resmfn.evaluation import fourier_shell_correlation
from resmfn.fourier import half_plane_pixels, low_pass, resize_map, soft_sphere
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.priors import fsc_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.rotations import random_rotations, super_fibonacci

SLICE_ERROR = 0.025
"""Of slices by trilinear interpolation in a transform that is padded twice, against closed forms."""
KERNEL_EXCESS = 0.06
"""Of the quadratic term, for 300 images: the kernel is cut off at 0 where gridding would make it negative."""


def equations_of(scene: Scene, grid: MapGrid, radius: float = 99.0) -> MapEquations:
    return MapEquations(insert_images(scene.observations, PosedImages(scene.index, scene.poses), grid, radius))


def random_sums(grid: MapGrid, n: int = 30, seed: int = 3) -> SliceSums:
    """Insert random images with random weights at random poses."""
    generator = make_generator(seed)
    pixels = half_plane_pixels((grid.size - 2) // 2, radius_min=0.5)
    sums = SliceSums(grid, torch.device("cpu"))
    sums.add(
        torch.randn(n, len(pixels), generator=generator, dtype=torch.complex64),
        torch.rand(n, len(pixels), generator=generator),
        random_rotations(n, generator=generator),
        pixels,
    )
    return sums


# --- the grid ----------------------------------------------------------------------------------------


@given(box_size=st.integers(8, 300), radius=st.floats(0.5, 200))
def test_a_grid_is_even_no_larger_than_the_box_and_has_room_for_its_radius(box_size: int, radius: float) -> None:
    grid = MapGrid.for_radius(box_size, radius)
    assert grid.box_size == box_size
    assert grid.size <= box_size
    assert grid.size == box_size or (grid.size % 2 == 0 and grid.size / 2 >= radius + 0.5)
    assert MapGrid.for_radius(box_size, radius + 5).size >= grid.size


@pytest.mark.parametrize("size", [14, 15, 18, 24])
def test_slices_do_not_depend_on_the_grid_of_a_band_limited_map(size: int) -> None:
    """The map has nothing beyond 5 Fourier pixels: a grid of 14 holds all of it."""
    volume = low_pass(draw_blobs(24).volume(24), 4.0, 1.0)
    rotation = random_rotations(20, generator=make_generator(4))
    pixels = half_plane_pixels(5.0, radius_min=0.5)
    full, coarse = MapGrid(24, 24), MapGrid(24, size)
    expected = full.slices(full.transform(volume), rotation, pixels)
    found = coarse.slices(coarse.transform(resize_map(volume, size)), rotation, pixels)
    assert relative_error(found, expected) < 0.01


def test_slices_have_the_scale_of_observations() -> None:
    scene = make_scene(10, ctf=False)
    grid = MapGrid(24, 24)
    values, _ = scene.observations.batch(scene.index, len(scene.observations.pixels))
    slices = grid.slices(grid.transform(scene.volume), scene.rotation, scene.observations.pixels)
    assert relative_error(slices, values) < SLICE_ERROR


# --- the quadratic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [16, 24])
def test_the_objective_is_the_squared_residual_less_that_of_an_empty_map(size: int, masked: bool) -> None:
    """sum |Y - C S|^2 - sum |Y|^2, with slices by the same projector, for a map that the images are not of."""
    scene = make_scene(300, noise=0.5)
    grid = MapGrid(24, size)
    n_pixels = scene.observations.n_pixels(size / 2 - 2)
    values, ctf = scene.observations.batch(scene.index, n_pixels)
    mask = soft_sphere(size, 7.0 * size / 24, 2.0 * size / 24)
    other = mask * resize_map(draw_blobs(24, amplitude=0.7, seed=99).volume(24), size)
    slices = grid.slices(grid.transform(other), scene.rotation, scene.observations.pixels[:n_pixels])
    residual = (values - ctf * slices).abs().square().sum() - values.abs().square().sum()
    sums = insert_images(scene.observations, PosedImages(scene.index, scene.poses), grid, size / 2 - 2)
    excess = MapEquations(sums, mask if masked else None).objective(other) - residual
    model_power = float((ctf * slices).abs().square().sum())
    assert -0.01 * model_power < float(excess) < KERNEL_EXCESS * model_power
    assert abs(float(residual)) > 3 * KERNEL_EXCESS * model_power  # so that the comparison means something


def test_a_mask_makes_the_convolution_smaller_and_changes_nothing_inside_it(generator: torch.Generator) -> None:
    sums = random_sums(MapGrid(24, 20), n=600)
    mask = torch.zeros(20, 20, 20)
    mask[4:13, 7:15, 9:17] = 1.0  # off center, 9 voxels long at most
    full, compact = MapEquations(sums), MapEquations(sums, mask)
    assert compact.side < full.side
    for derived, made in ((full.acting_on(mask, None), compact), (compact.acting_on(None, None), full)):
        assert (derived.side, derived.window) == (made.side, made.window)
        assert torch.equal(derived.kernel, made.kernel)
    first, second = mask * torch.randn(2, 20, 20, 20, generator=generator)
    # Cutting the kernel off at 0 is not quite the same on both grids.
    expected, found = (float((first * equations.apply(first)).sum()) for equations in (full, compact))
    assert found == pytest.approx(expected, rel=0.05)
    torch.testing.assert_close(full.rhs, compact.rhs)
    assert bool((compact.apply(first)[mask == 0] == 0).all())
    assert float((first * compact.apply(second)).sum()) == pytest.approx(
        float((second * compact.apply(first)).sum()), rel=1e-3, abs=1e-2
    )


def test_the_convolution_is_that_of_the_whole_cube_at_once(generator: torch.Generator) -> None:
    """Planes of frequencies one after the other, and only where something is: against one transform of all."""
    mask = torch.zeros(72, 72, 72)
    mask[3:70, 7:52, 9:17] = 1.0
    equations = MapEquations(random_sums(MapGrid(80, 72)), mask)
    assert equations.side**2 * (equations.side // 2 + 1) * 8 > 2**20  # more than one slab
    volume = mask * torch.randn(72, 72, 72, generator=generator)
    sides = (equations.side,) * 3
    spectrum = torch.fft.rfftn(volume, s=sides) * equations.kernel
    expected = mask * torch.fft.irfftn(spectrum, s=sides)[:72, :72, :72]
    torch.testing.assert_close(equations.apply(volume), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_slope_at_the_empty_map_is_the_exact_adjoint() -> None:
    scene = make_scene(20, noise=0.5)
    grid = MapGrid(24, 20)
    n_pixels = scene.observations.n_pixels(8)
    values, ctf = scene.observations.batch(scene.index, n_pixels)
    volume = torch.zeros(20, 20, 20, requires_grad=True)
    slices = grid.slices(grid.transform(volume), scene.rotation, scene.observations.pixels[:n_pixels])
    (values - ctf * slices).abs().square().sum().backward()
    torch.testing.assert_close(-2 * equations_of(scene, grid, 8).rhs, volume.grad, rtol=1e-4, atol=1e-4)


def test_the_kernel_is_positive_and_symmetric(generator: torch.Generator) -> None:
    equations = MapEquations(random_sums(MapGrid(24, 16)))
    assert bool((equations.kernel >= 0).all())
    assert bool(equations.kernel.max() > 0)
    first, second = torch.randn(2, 16, 16, 16, generator=generator)
    mixed = [(first * equations.apply(second)).sum(), (second * equations.apply(first)).sum()]
    torch.testing.assert_close(*mixed, rtol=1e-3, atol=1e-2)
    assert float((first * equations.apply(first)).sum()) > 0


def test_the_objective_is_what_its_gradient_says(generator: torch.Generator) -> None:
    equations = MapEquations(random_sums(MapGrid(24, 12)))
    kernel = equations.penalized(torch.linspace(1, 5, 7))
    volume = torch.randn(12, 12, 12, generator=generator, requires_grad=True)
    equations.objective(volume, kernel).backward()
    by_hand = 2 * (equations.apply(volume.detach(), kernel) - equations.rhs)
    torch.testing.assert_close(volume.grad, by_hand, rtol=1e-3, atol=1e-3 * float(by_hand.abs().max()))


def test_a_prior_is_spread_by_shell_and_goes_on_tenfold() -> None:
    equations = MapEquations(random_sums(MapGrid(24, 16)))
    shells = torch.tensor([1.0, 2.0, 3.0, 4.0])
    kernel = equations.penalized(shells)
    for shell in range(4):
        there = equations.shell == shell
        torch.testing.assert_close(kernel[there], equations.kernel[there] + shells[shell])
    beyond = equations.shell > 3
    torch.testing.assert_close(kernel[beyond], equations.kernel[beyond] + 40)


def test_shell_weights_are_the_means_of_the_kernel() -> None:
    equations = MapEquations(random_sums(MapGrid(24, 12)))
    weights = equations.shell_weights()
    assert weights.shape == (equations.n_shells,)
    for shell in (0, 1, 5):
        torch.testing.assert_close(weights[shell], equations.kernel[equations.shell == shell].mean())


@pytest.mark.parametrize("radius", [6.0, 7.0, 8.0, 9.0, 9.9])
def test_every_shell_has_a_weight_however_compact_the_mask(radius: float) -> None:
    """Frequency 0 is in no image, and its kernel may be cut off at 0; the solution must not blow up for that."""
    scene = make_scene(200, noise=1.0)
    mask = soft_sphere(24, radius, 1.5)
    equations = MapEquations(
        insert_images(scene.observations, PosedImages(scene.index, scene.poses), MapGrid(24, 24), 10.0), mask
    )
    assert bool((equations.shell_weights() > 0).all())
    prior = fsc_prior(equations, torch.full((11,), 0.5), 11, halves_in=1)
    found = equations.solve(mask, prior)
    assert bool(found.isfinite().all())
    assert float(equations.objective(found, equations.penalized(prior))) < -20_000


# --- sums of images ----------------------------------------------------------------------------------


def test_sums_of_parts_are_the_sum_of_all() -> None:
    scene = make_scene(24, noise=0.3)
    grid = MapGrid(24, 16)
    parts = [
        insert_images(scene.observations, PosedImages(rows, scene.poses.select(rows)), grid, 6)
        for rows in (torch.arange(0, 9), torch.arange(9, 24))
    ]
    before = [part.values.clone() for part in parts]
    whole = insert_images(scene.observations, PosedImages(scene.index, scene.poses), grid, 6)
    total = parts[0] + parts[1]
    torch.testing.assert_close(total.values, whole.values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(total.weights, whole.weights, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(part.values, kept) for part, kept in zip(parts, before, strict=True))
    both = MapEquations(parts[0]).rhs + MapEquations(parts[1]).rhs
    torch.testing.assert_close(MapEquations(total).rhs, both, rtol=1e-3, atol=1e-3)


def test_adding_twice_doubles() -> None:
    scene = make_scene(6)
    once = random_sums(MapGrid(24, 16))
    twice = once + once
    torch.testing.assert_close(twice.values, 2 * once.values)
    torch.testing.assert_close(MapEquations(twice).kernel, 2 * MapEquations(once).kernel, rtol=1e-3, atol=1e-5)
    assert len(scene.index) == 6


# --- solving -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 4.0])
def test_solving_recovers_a_masked_map_from_clean_images(shift: float) -> None:
    scene = make_scene(300, amplitude=5.0, shift=shift)
    grid = MapGrid(24, 24)
    mask = soft_sphere(24, 9.5, 2.0)
    equations = equations_of(scene, grid)
    weak = 1e-3 * equations.shell_weights()[:12].clamp_min(1e-3)
    found = equations.solve(mask, weak, iterations=20)
    # What lies beyond the largest frequency of the images cannot be recovered.
    truth = low_pass(scene.volume, 10.0, 1.0)
    assert relative_error(low_pass(found, 10.0, 1.0), truth) < 0.08
    correlation = fourier_shell_correlation(found, truth, 1.0).correlation
    assert float(correlation[1:7].min()) > 0.99
    assert float(correlation[7:9].min()) > 0.95
    assert bool((found[mask == 0] == 0).all())


def test_a_coarse_grid_gives_the_low_frequencies_of_the_fine_one() -> None:
    scene = make_scene(200, amplitude=5.0)
    solved = {}
    for size in (16, 24):
        equations = equations_of(scene, MapGrid(24, size), radius=5)
        weak = 1e-3 * equations.shell_weights()[:6]
        solved[size] = resize_map(
            equations.solve(soft_sphere(size, 9 * size / 24, 3 * size / 24), weak, iterations=20), 24
        )
    coarse, fine = (low_pass(solved[size], 4.0, 1.0) for size in (16, 24))
    assert relative_error(coarse, fine) < 0.03


@pytest.mark.parametrize("radius", [2.0, 99.0])
def test_solving_finds_the_minimum_of_a_dense_quadratic(radius: float) -> None:
    """All columns of mask (K + prior) mask written out and solved directly, in double precision."""
    size = 6
    equations = MapEquations(random_sums(MapGrid(16, size), n=12))
    shells = torch.linspace(5, 50, 3)
    kernel = equations.penalized(shells)
    mask = soft_sphere(size, radius, 0.0)
    units = torch.eye(size**3).view(-1, size, size, size)
    matrix = torch.stack([(mask * equations.apply(mask * unit, kernel)).flatten() for unit in units]).double()
    exact = torch.linalg.lstsq(matrix, (mask * equations.rhs).flatten().double(), driver="gelsd").solution
    exact_map = mask * exact.float().view(size, size, size)
    assert relative_error(equations.solve(mask, shells, iterations=30), exact_map) < 1e-4
    lowest = float(equations.objective(exact_map, kernel))
    few = [float(equations.objective(equations.solve(mask, shells, iterations=n), kernel)) for n in (1, 3, 12)]
    assert 0 > few[0] > few[1] > few[2] >= lowest * (1 + 1e-5)
    assert few[2] == pytest.approx(lowest, rel=1e-4)  # the number of steps that a reconstruction takes
    warm = equations.solve(mask, shells, start=exact_map, iterations=1)
    assert float(equations.objective(warm, kernel)) == pytest.approx(lowest, rel=1e-5)


def test_more_steps_lower_the_objective_under_a_soft_mask() -> None:
    equations = equations_of(make_scene(50, noise=1.0), MapGrid(24, 16), radius=6)
    mask, shells = soft_sphere(16, 5.0, 2.0), 0.1 * equations.shell_weights()[:7]
    kernel = equations.penalized(shells)
    reached = [float(equations.objective(equations.solve(mask, shells, iterations=n), kernel)) for n in (1, 4, 12, 40)]
    assert 0 > reached[0] > reached[1] > reached[2] > reached[3]
    assert reached[3] > 1.05 * reached[2]  # negative: within 5 %


def test_a_stronger_prior_gives_a_smaller_map() -> None:
    equations = equations_of(make_scene(50, noise=1.0), MapGrid(24, 16), radius=6)
    mask, weights = soft_sphere(16, 6, 1), equations.shell_weights()[:7]
    norms = [float(equations.solve(mask, strength * weights).norm()) for strength in (0.01, 0.1, 1.0, 10.0)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.3 * norms[0]


def test_even_views_weigh_all_directions_alike() -> None:
    """Unit weights at even views: the kernel falls as 1 / radius and hardly varies within a shell."""
    pixels = half_plane_pixels(7.0, radius_min=0.5)
    views = super_fibonacci(3000)
    sums = SliceSums(MapGrid(24, 20), torch.device("cpu"))
    sums.add(torch.zeros(3000, len(pixels), dtype=torch.complex64), torch.ones(3000, len(pixels)), views, pixels)
    equations = MapEquations(sums)
    weights = equations.shell_weights()
    torch.testing.assert_close(weights[3:7] * torch.arange(3.0, 7.0), (3 * weights[3]).expand(4), rtol=0.1, atol=0.0)
    assert float(weights[9:].max()) < 0.05 * float(weights[7])
    k = torch.fft.fftfreq(equations.side)
    directions = torch.meshgrid(k, k, torch.fft.rfftfreq(equations.side), indexing="ij")
    radius = torch.stack(directions).norm(dim=0)
    ring = (equations.shell >= 3) & (equations.shell <= 6)
    along = torch.stack([equations.kernel[ring & (axis.abs() > 0.8 * radius)].mean() for axis in directions])
    torch.testing.assert_close(along / along.mean(), torch.ones(3), rtol=0.05, atol=0.0)
