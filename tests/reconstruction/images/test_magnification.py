"""Images at an anisotropic magnification, by the closed form of their transform: they make the map that others make."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reconstruction.scenes import (
    PIXEL_SIZE,
    Scene,
    make_scene,
    relative_error,
    ring,
    varied_optics,
    write_particle_files,
)
from resmfn.core import make_generator
from resmfn.core.processes import Team
from resmfn.data import read_particles
from resmfn.evaluation.fsc import fourier_shell_correlation
from resmfn.fourier import soft_sphere
from resmfn.physics.ctf import magnified
from resmfn.physics.projection import slice_frames
from resmfn.reconstruction.images.magnification import Magnification
from resmfn.reconstruction.images.observations import observe
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phases.annealing import SearchTask, map_at_poses, shared_slices, sums_of
from resmfn.reconstruction.phases.starts import _gather_search
from resmfn.reconstruction.poses.copies import CopySearch, copy_likelihoods, difference_pass
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.posed_images import PosedImages, insert_images
from resmfn.reconstruction.poses.search_space import SearchSpace
from resmfn.rotations import point_group, super_fibonacci

BOX, RADIUS = 24, 10.0
ONE = torch.tensor([[1.06, 0.05], [-0.03, 0.94]])
OTHER = torch.tensor([[0.95, 0.0], [0.04, 1.03]])
GRID = MapGrid.for_radius(BOX, RADIUS)


def two_kinds(n: int) -> torch.Tensor:
    return torch.stack((ONE, OTHER))[torch.arange(n) % 2]


def missing(scene: Scene) -> float:
    """Return what the FSC of the map of all images with the truth lacks of 1, in shells 4 to 7."""
    mask = soft_sphere(GRID.size, 8.0, 2.0)
    equations = MapEquations(insert_images(scene.observations, PosedImages(scene.index, scene.poses), GRID, RADIUS))
    volume = equations.solve(mask, torch.ones(int(RADIUS) + 1), iterations=10)
    return float(1 - fourier_shell_correlation(volume, mask * scene.volume, PIXEL_SIZE).correlation[4:8].mean())


def test_frames_lead_an_images_frequency_to_that_of_the_specimen() -> None:
    rotation, k = super_fibonacci(5), torch.tensor([3.0, -2.0])
    matrix = two_kinds(5)
    frames = slice_frames(rotation, matrix)
    at = torch.nn.functional.pad(magnified(k, matrix), (0, 1))
    expected = (rotation.mT @ at[:, :, None])[:, :, 0]
    torch.testing.assert_close(k[0] * frames[:, 0] + k[1] * frames[:, 1], expected)
    torch.testing.assert_close(magnified(k, ONE[None])[0], ONE @ k)
    assert torch.equal(frames[:, 2], rotation[:, 2])


@pytest.mark.parametrize("matrix", [ONE, two_kinds(400)])
def test_magnified_images_make_the_map_that_others_make(matrix: torch.Tensor) -> None:
    plain = missing(make_scene(400, shift=2.0))
    scene = make_scene(400, shift=2.0, magnification=matrix)
    assert missing(scene) < 1.1 * plain
    scene.observations.magnification = Magnification()
    assert missing(scene) > 1.6 * plain


@pytest.mark.parametrize("matrix", [None, ONE])
def test_images_searched_on_a_grid_fit_and_make_the_map_all_the_same(matrix: torch.Tensor | None) -> None:
    """At the very poses of the images, which a grid of rotations holds among others."""
    scene = make_scene(60, magnification=matrix, amplitude=3.0)
    rotations = torch.cat((super_fibonacci(100), scene.rotation))
    slices = shared_slices(scene.observations, GRID, scene.volume, rotations, RADIUS)
    poses, still = PoseGrid(rotations, torch.zeros(1, 2)), torch.zeros(60, 2)
    posterior = grid_posterior(scene.observations, scene.index, slices, poses, still)
    assert torch.equal(posterior.top_rotation[:, 0], 100 + scene.index)
    values, _ = scene.observations.batch(scene.index, slices.shape[1])
    explained = posterior.log_evidence + torch.log(torch.tensor(160.0))
    assert float((explained / values.abs().square().sum(dim=1)).min()) > 0.99
    softly = sums_of(posterior, rotations, GRID, scene.observations)
    hard = insert_images(scene.observations, PosedImages(scene.index, scene.poses), GRID, RADIUS)
    assert relative_error(softly.values, hard.values) < 1e-3
    assert relative_error(softly.weights, hard.weights) < 1e-3


def test_a_start_makes_its_first_map_of_the_slices_that_images_show() -> None:
    scene = make_scene(200, magnification=two_kinds(200))
    task = SearchTask(scene.observations, scene.index, SearchSpace(9.0, 0.0, "C1"))
    found, _ = map_at_poses(task, scene.rotation, 8.0)
    grid = MapGrid.for_radius(BOX, 8.0)
    equations = MapEquations(insert_images(scene.observations, PosedImages(scene.index, scene.poses), grid, 8.0))
    prior = 3 * equations.shell_weights()[:9]
    assert relative_error(found, equations.solve(sphere_on(grid, 9.0, found.device), prior, iterations=4)) < 1e-3


def test_the_mean_stands_for_matrices_that_differ() -> None:
    rotation = super_fibonacci(7)
    both = Magnification(two_kinds(20))
    mean = slice_frames(rotation, ((ONE + OTHER) / 2).expand(7, 2, 2))
    torch.testing.assert_close(both.shared_frames(rotation), mean)
    few = both.select(torch.arange(0, 14, 2))
    torch.testing.assert_close(few.shared_frames(rotation), mean)
    torch.testing.assert_close(few.frames(torch.arange(7), rotation), slice_frames(rotation, ONE.expand(7, 2, 2)))
    nothing = Magnification().select(torch.arange(3))
    assert nothing.shared_frames(rotation) is nothing.frames(torch.arange(7), rotation) is rotation


def test_what_lies_beyond_the_band_of_the_map_is_left_out_and_nothing_else() -> None:
    """Of a larger grid, too: frequencies that its corner does not hold would be made up."""
    plain, scene = make_scene(4), make_scene(4, magnification=two_kinds(4))
    for radius in (5.0, RADIUS, 11.0):
        n_pixels = plain.observations.n_pixels(radius)
        k = plain.observations.pixels[:n_pixels].float()
        last = float(plain.observations.radius[n_pixels - 1]) + 1e-4
        of_each, of_mean = (magnified(k, m).norm(dim=-1) <= last for m in (two_kinds(4), two_kinds(4).mean(0)[None]))
        held = of_each & of_mean
        assert 0.01 < 1 - float(held.float().mean()) < 0.3
        _, ctf = scene.observations.batch(scene.index, n_pixels)
        assert torch.equal(ctf != 0, held)
        scene.observations.magnification = Magnification(torch.eye(2).expand(4, 2, 2))
        _, ctf = scene.observations.batch(scene.index, n_pixels)
        assert bool((ctf != 0).all())
        scene.observations.magnification = Magnification(two_kinds(4))


def test_a_particle_file_says_which_slices_its_images_show(tmp_path: Path) -> None:
    images = torch.randn(6, BOX, BOX, generator=make_generator(1))
    optics = replace(varied_optics(6), magnification=two_kinds(6))
    particles = read_particles(write_particle_files(tmp_path, images, optics=optics)).in_common_frame()
    found = observe(particles, mask_radius=9.0, device=torch.device("cpu"))
    rotation, index = super_fibonacci(6), torch.arange(6)
    frames = found.magnification.frames(index, rotation)
    torch.testing.assert_close(frames, slice_frames(rotation, two_kinds(6)))
    plain = read_particles(write_particle_files(tmp_path / "plain", images, optics=varied_optics(6)))
    found = observe(plain.in_common_frame(), mask_radius=9.0, device=torch.device("cpu"))
    assert found.magnification.frames(index, rotation) is rotation


def test_images_that_travel_to_another_process_show_the_same_slices() -> None:
    observations, index = make_scene(6, magnification=two_kinds(6)).observations, torch.tensor([1, 3, 5])
    rotation, alone = super_fibonacci(3), Team()
    observations.team = HoldsAll(0, 2)
    few = _gather_search(observations, index, SearchSpace(9.0, 0.0, "C1"), 5.0)(alone).observations
    assert len(few) == 3
    found, expected = few.magnification, observations.magnification
    assert torch.equal(found.frames(torch.arange(3), rotation), expected.frames(index, rotation))
    assert torch.equal(found.shared_frames(rotation), expected.shared_frames(rotation))


class HoldsAll(Team):
    """The first of two processes, where the other one holds no image."""

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Add nothing."""


def test_a_symmetric_part_leaves_nothing_of_the_images_of_a_symmetric_map() -> None:
    scene = make_scene(30, blobs=ring("C4"), shift=2.0, magnification=two_kinds(30))
    search = CopySearch(point_group("C4"), MapGrid(BOX, BOX), 8.0)
    posed, labels = PosedImages(scene.index, scene.poses), torch.zeros(30, dtype=torch.int64)
    found = difference_pass(scene.observations, posed, search, scene.volume, None, labels=labels)
    whole = insert_images(scene.observations, posed, search.grid, search.radius)
    assert relative_error(found.sums.weights, whole.weights) < 1e-5
    assert float(found.sums.values.norm() / whole.values.norm()) < 0.03
    values, _ = scene.observations.batch(scene.index, scene.observations.n_pixels(8.0))
    fit = copy_likelihoods(scene.observations, scene.index, scene.poses, search, scene.volume).of_symmetric
    assert float((fit / values.abs().square().sum(dim=1)).min()) > 0.99
