"""The copies of a pose: alike under a symmetric map, told apart by one without the symmetry."""

import pytest
import torch

from reconstruction.scenes import make_scene, relative_error, ring
from resmfn.core import make_generator
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.symmetrize import symmetrized
from resmfn.reconstruction.poses.copies import (
    CopySearch,
    copies_of,
    copy_likelihoods,
    difference_pass,
    likeliest,
    nearest_copy,
)
from resmfn.reconstruction.poses.posed_images import CopyShares, PosedImages, Poses, insert_images
from resmfn.rotations import point_group, random_rotations

BOX, RADIUS = 24, 8.0
MAGNIFICATION = torch.tensor([[1.06, 0.05], [-0.03, 0.94]])
GRID = MapGrid(BOX, BOX)


def search_among(name: str) -> CopySearch:
    return CopySearch(point_group(name), GRID, RADIUS)


@pytest.mark.parametrize("name", ["C4", "D2", "T"])
@pytest.mark.parametrize("magnification", [None, MAGNIFICATION])
def test_an_image_shows_all_copies_of_a_symmetric_map_alike(name: str, magnification: torch.Tensor | None) -> None:
    scene = make_scene(10, blobs=ring(name), noise=1.0, shift=3.0, magnification=magnification)
    found = copy_likelihoods(scene.observations, scene.index, scene.poses, search_among(name), scene.volume).of_copy
    spread = (found - found.mean(dim=1, keepdim=True)).abs().max()
    assert float(spread) < 0.02 * float(found.abs().mean())


@pytest.mark.parametrize("name", ["C4", "D2"])
def test_one_odd_subunit_tells_an_image_which_copy_it_shows(name: str) -> None:
    scene = make_scene(40, blobs=ring(name, odd=True, amplitude=3.0), noise=1.0, shift=3.0)
    search = search_among(name)
    drawn = torch.randint(len(search.group), (40,), generator=make_generator(1))
    wrong = Poses(scene.rotation @ search.group.float()[drawn], scene.shift)
    found = copy_likelihoods(scene.observations, scene.index, wrong, search, scene.volume).of_copy
    chosen = likeliest(wrong.rotation, search.group, found)
    assert float((chosen - scene.rotation).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["C4", "D2"])
def test_the_symmetric_part_explains_an_image_as_the_symmetrized_map_does(name: str) -> None:
    scene = make_scene(10, blobs=ring(name, odd=True), noise=1.0, shift=3.0)
    search = search_among(name)
    mean = symmetrized(scene.volume, search.group)
    found, expected = (
        copy_likelihoods(scene.observations, scene.index, scene.poses, search, volume)
        for volume in (scene.volume, mean)
    )
    off = (found.of_symmetric - expected.of_copy[:, 0]).abs().max()
    assert float(off) < 0.02 * float(expected.of_copy.abs().mean())
    assert float(expected.gain().abs().max()) < 0.02 * float(found.gain().abs().max())


def test_a_copy_of_a_pose_comes_back_as_the_pose_itself() -> None:
    group, rotation = point_group("O"), random_rotations(24, generator=make_generator(3))
    copied = copies_of(rotation, group)[torch.arange(24), torch.arange(24)]
    assert float((nearest_copy(copied, rotation, group) - rotation).abs().max()) < 1e-5


def test_images_that_show_all_copies_alike_make_the_symmetric_map() -> None:
    """Inserted at m copies with a share of 1 / m each, images make the m-th part of what a map of that group takes."""
    scene, group = make_scene(12, noise=1.0, shift=3.0), point_group("D3")
    weight = torch.linspace(0.2, 1.0, 12)
    even = CopyShares(group, torch.full((12, 6), 1 / 6))
    posed = PosedImages(scene.index, scene.poses, weight)
    symmetric = insert_images(scene.observations, posed, MapGrid(BOX, BOX, "D3"), RADIUS)
    posed.copies = even
    found = insert_images(scene.observations, posed, GRID, RADIUS)
    assert relative_error(6 * found.values, symmetric.values) < 1e-5
    assert relative_error(6 * found.weights, symmetric.weights) < 1e-5


def test_images_that_show_one_copy_for_certain_are_inserted_there_alone() -> None:
    scene, group = make_scene(8, noise=1.0), point_group("C4")
    copy = torch.arange(8) % 4
    share = torch.nn.functional.one_hot(copy, 4).float()
    posed = PosedImages(scene.index, scene.poses, copies=CopyShares(group, share))
    there = PosedImages(scene.index, Poses(scene.rotation @ group.float()[copy], scene.shift))
    found, expected = (insert_images(scene.observations, p, GRID, RADIUS) for p in (posed, there))
    assert relative_error(found.values, expected.values) < 1e-5


def test_without_noise_the_symmetric_map_leaves_nothing_of_images_that_have_the_symmetry() -> None:
    scene = make_scene(12, blobs=ring("C4"), shift=3.0)
    search, posed = search_among("C4"), PosedImages(scene.index, scene.poses)
    labels = torch.zeros(12, dtype=torch.int64)
    rest = difference_pass(scene.observations, posed, search, scene.volume, None, labels=labels)
    whole = difference_pass(scene.observations, posed, search, 0 * scene.volume, None, labels=labels)
    assert float(rest.sums.values.norm()) < 0.05 * float(whole.sums.values.norm())


def test_the_gain_of_a_difference_is_the_mean_likelihood_over_the_copies() -> None:
    """The symmetric part and the difference, given apart, explain what the whole map does."""
    odd, ring_of_four = (ring("C4", odd=odd, amplitude=0.3) for odd in (True, False))
    whole, even = odd.volume(BOX), ring_of_four.volume(BOX)
    scene = make_scene(10, blobs=odd, noise=1.0)
    search, posed = search_among("C4"), PosedImages(scene.index, scene.poses)
    found = difference_pass(scene.observations, posed, search, even, whole - even)
    scores = [
        copy_likelihoods(scene.observations, scene.index, scene.poses, search, volume).of_copy.double()
        for volume in (whole, even)
    ]
    expected = torch.logsumexp(scores[0], dim=1) - torch.logsumexp(scores[1], dim=1)
    assert float((found.gain - expected).abs().max()) < 0.3  # of log 4 = 1.4 nat
