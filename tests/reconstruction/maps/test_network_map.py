"""A map in a network: fitted to images, decoded on any grid, kept in a checkpoint."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reconstruction.scenes import make_scene, relative_error
from resmfn.core import make_generator
from resmfn.fourier import resize_map, soft_sphere
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.network_map import COARSEST_BAND, NetworkMap, cutoffs_for
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images

BOX = 18
CPU = torch.device("cpu")


def draw(hidden_dim: int = 24, seed: int = 1, box_size: int = BOX) -> NetworkMap:
    return NetworkMap.draw(box_size, hidden_dim, generator=make_generator(seed), device=CPU)


def problem(size: int = BOX) -> tuple[MapEquations, torch.Tensor, torch.Tensor]:
    """Return normal equations, mask and prior of noisy images at known poses."""
    scene = make_scene(200, box_size=BOX, amplitude=1.0, noise=1.0)
    radius = size / 2 - 2
    equations = MapEquations(
        insert_images(scene.observations, PosedImages(scene.index, scene.poses), MapGrid(BOX, size), radius)
    )
    mask = soft_sphere(size, 0.38 * size, 0.06 * size)
    return equations, mask, 0.1 * equations.shell_weights()[: int(radius) + 1]


@pytest.fixture(scope="module")
def fitted() -> NetworkMap:
    network = draw()
    network.fit(*problem(), steps=80)
    return network


def test_a_fit_reaches_nearly_all_that_an_explicit_map_can() -> None:
    equations, mask, prior = problem()
    network = draw(32)
    reached = network.fit(equations, mask, prior, steps=120)
    assert reached > 0.9
    kernel = equations.penalized(prior)
    lowest = float(equations.objective(equations.solve(mask, prior, iterations=40), kernel))
    with torch.no_grad():
        value = float(equations.objective(network.decode(equations.grid) * mask, kernel))
    # The share that is reported is the true one, and no map does better than the minimum.
    assert reached == pytest.approx(value / lowest, abs=0.03)
    assert value >= lowest * 1.001


def test_more_steps_reach_more() -> None:
    reached = [draw().fit(*problem(), steps=steps) for steps in (1, 4, 20)]
    assert reached == sorted(reached)
    assert reached[0] < 0.95 * reached[-1]


def test_a_fit_goes_on_from_where_the_network_is(fitted) -> None:
    again = fitted.copy()
    assert again.fit(*problem(), steps=20) > 0.85
    assert again.amplitude == fitted.amplitude


def test_the_first_fit_sets_the_grey_scale() -> None:
    equations, mask, prior = problem()
    network = draw()
    assert network.amplitude is None
    network.fit(equations, mask, prior, steps=1)
    explicit = equations.solve(mask, prior)
    assert network.amplitude == pytest.approx(float((explicit.square().sum() / mask.square().sum()).sqrt()), rel=1e-4)


def test_a_coarse_scale_leaves_finer_ones_alone() -> None:
    network = draw()
    before = {name: p.detach().clone() for name, p in network.network.named_parameters()}
    equations, mask, prior = problem(12)
    network.fit(equations, mask, prior, scale=1, steps=3)
    moved = {name for name, p in network.network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"linears.0.weight", "heads.0.weight"}


def test_a_fine_scale_leaves_coarser_ones_alone() -> None:
    network = draw()
    network.fit(*problem(12), scale=1, steps=5)
    with torch.no_grad():
        coarse = network.decode(MapGrid(BOX, BOX), 1).clone()
        network.fit(*problem(), steps=5)
        assert torch.equal(network.decode(MapGrid(BOX, BOX), 1), coarse)


@pytest.mark.parametrize("size", [9, 13, 17])
def test_a_coarse_decode_is_the_fourier_crop_of_a_fine_one(fitted, size: int) -> None:
    with torch.no_grad():
        fine = fitted.decode(MapGrid(BOX, 27))
        coarse = fitted.decode(MapGrid(BOX, size))
    assert relative_error(coarse, resize_map(fine, size)) < 1e-4
    assert float(coarse.norm()) > 0


@pytest.mark.parametrize("size", [10, 14, 18])
def test_an_even_grid_holds_the_same_but_for_its_nyquist_term(fitted, size: int) -> None:
    with torch.no_grad():
        odd, even = fitted.decode(MapGrid(BOX, size - 1)), fitted.decode(MapGrid(BOX, size))
    assert relative_error(even, resize_map(odd, size)) < 1e-4


def test_scales_are_what_they_are_on_every_grid(fitted) -> None:
    with torch.no_grad():
        for scale in range(1, fitted.n_scales + 1):
            side = fitted.network.minimal_grid(scale)
            own = fitted.decode(MapGrid(BOX, side), scale)
            assert relative_error(fitted.decode(MapGrid(BOX, BOX + 3), scale), resize_map(own, BOX + 3)) < 1e-4


def test_decoding_is_differentiable() -> None:
    network = draw(8)
    network.decode(MapGrid(BOX, 10)).square().sum().backward()
    gradients = [p.grad for p in network.network.active_parameters()]
    assert all(g is not None and bool(g.abs().max() > 0) for g in gradients)


def test_a_state_holds_all_of_it(fitted, tmp_path) -> None:
    torch.save(fitted.state(), tmp_path / "state.pt")
    again = NetworkMap.from_state(torch.load(tmp_path / "state.pt", weights_only=True), device=CPU)
    with torch.no_grad():
        assert torch.equal(again.decode(MapGrid(BOX, BOX)), fitted.decode(MapGrid(BOX, BOX)))
    assert again.amplitude == fitted.amplitude
    assert again.n_scales == fitted.n_scales
    # Going on from a state is going on: the same numbers, bit for bit.
    reached = [network.fit(*problem(12), steps=4) for network in (again, fitted.copy())]
    assert reached[0] == reached[1]


def test_a_copy_is_independent(fitted) -> None:
    other = fitted.copy()
    with torch.no_grad():
        before = fitted.decode(MapGrid(BOX, 10)).clone()
    other.fit(*problem(12), steps=3)
    with torch.no_grad():
        assert torch.equal(fitted.decode(MapGrid(BOX, 10)), before)
        assert not torch.equal(other.decode(MapGrid(BOX, 10)), before)


def test_a_seed_draws_one_network() -> None:
    same, other = draw(seed=1), draw(seed=2)
    with torch.no_grad():
        maps = [n.decode(MapGrid(BOX, 10)) for n in (draw(seed=1), same, other)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


# --- scales ------------------------------------------------------------------------------------------


@given(st.integers(8, 1024))
def test_the_coarsest_scale_has_a_band_worth_having(box_size: int) -> None:
    cutoffs = cutoffs_for(box_size)
    assert 1 <= len(cutoffs) <= 4
    assert cutoffs[-1] == 1
    assert all(a < b for a, b in pairwise(cutoffs))
    assert len(cutoffs) == 1 or cutoffs[0] * box_size / 2 >= COARSEST_BAND
    assert len(cutoffs_for(box_size + 1)) >= len(cutoffs)


@pytest.mark.parametrize(
    ("box_size", "reach"), [(32, [4, 15]), (64, [2, 6, 31]), (128, [3, 8, 63]), (256, [4, 12, 127])]
)
def test_boxes_that_are_common_have_the_bands_that_are_expected(box_size: int, reach: list[int]) -> None:
    network = draw(8, box_size=box_size).network
    assert [network.half_width(s) for s in range(1, network.n_scales + 1)] == reach


@pytest.mark.parametrize("box_size", [18, 32, 64])
def test_a_radius_is_held_by_the_coarsest_scale_that_can(box_size: int) -> None:
    network = draw(8, box_size=box_size)
    for radius in (0.5, 2.0, 3.0, 5.0, 8.0, 12.0, 1e9):
        scale = network.scale_for(radius)
        assert scale == network.n_scales or network.network.half_width(scale) >= radius
        assert scale == 1 or network.network.half_width(scale - 1) < radius
