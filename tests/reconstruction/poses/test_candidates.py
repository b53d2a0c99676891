"""Distinct peaks of an exhaustive pass, and the likeliest of them after refinement."""

import dataclasses
import math

import pytest
import torch

from reconstruction.scenes import make_scene, turned
from resmfn.core import make_generator
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.poses import candidates as module
from resmfn.reconstruction.poses.candidates import N_KEPT, Candidates, best_of, distinct_candidates
from resmfn.reconstruction.poses.grid_posterior import GridPosterior
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

APART, SAME_PEAK = 20.0, 10.0


def posterior_of(top_rotation: torch.Tensor, top_shift: torch.Tensor) -> GridPosterior:
    """Return a search result of which only the listed best points matter."""
    nothing = torch.empty(0)
    fields = {field.name: nothing for field in dataclasses.fields(GridPosterior)}
    posterior = GridPosterior(**(fields | {"top_rotation": top_rotation, "top_shift": top_shift}))
    return posterior


def distances(rotation: torch.Tensor) -> torch.Tensor:
    return geodesic_degrees(rotation[:, :, None], rotation[:, None])


def test_candidates_lie_apart_and_the_best_comes_first() -> None:
    rotations = random_rotations(300, generator=make_generator(1))
    top = torch.randint(300, (50, 16), generator=make_generator(2))
    shift = torch.randn(50, 16, 2, generator=make_generator(3))
    candidates = distinct_candidates(posterior_of(top, shift), rotations)
    found, found_shift = candidates.rotation, candidates.shift
    assert found.shape == (50, N_KEPT, 3, 3)
    assert found_shift.shape == (50, N_KEPT, 2)
    assert torch.equal(found[:, 0], rotations[top[:, 0]])
    assert torch.equal(found_shift[:, 0], shift[:, 0])
    apart = distances(found) + 999 * torch.eye(N_KEPT)
    assert float(apart.min()) >= APART - 0.1


def test_candidates_keep_their_order_flat_selected_and_behind_another_pose() -> None:
    rotation, shift = (
        random_rotations(6, generator=make_generator(1)).view(2, 3, 3, 3),
        torch.arange(12.0).view(2, 3, 2),
    )
    candidates, others = Candidates(rotation, shift), Poses(torch.eye(3).repeat(2, 1, 1), torch.full((2, 2), -1.0))
    assert torch.equal(candidates.flat.rotation.view_as(rotation), rotation)
    assert torch.equal(candidates.flat.shift[4], shift[1, 1])
    behind = candidates.after(others)
    assert torch.equal(behind.first.rotation, others.rotation)
    assert torch.equal(behind.first.shift, others.shift)
    assert torch.equal(behind.rotation[:, 1:], rotation)
    assert torch.equal(behind.select(torch.tensor([1])).shift[:, 1:], shift[1:])


def test_each_candidate_is_the_best_that_is_left() -> None:
    """In order of likelihood: the first point that is far from all chosen so far, with its own shift."""
    rotations = random_rotations(300, generator=make_generator(1))
    top = torch.randint(300, (50, 16), generator=make_generator(2))
    shift = torch.randn(50, 16, 2, generator=make_generator(3))
    candidates = distinct_candidates(posterior_of(top, shift), rotations)
    found, found_shift = candidates.rotation, candidates.shift
    for image in range(50):
        listed, chosen = rotations[top[image]], [0]
        for k in range(16):
            if len(chosen) < N_KEPT and float(geodesic_degrees(listed[k], listed[chosen]).min()) > APART:
                chosen.append(k)
        assert torch.equal(found[image], listed[chosen])
        assert torch.equal(found_shift[image], shift[image, chosen])


def test_neighbors_of_one_peak_count_once() -> None:
    """All points within a few degrees: the best is listed again in place of other peaks."""
    best = random_rotations(1, generator=make_generator(1))
    offsets = 0.05 * torch.randn(16, 3, generator=make_generator(2))
    rotations = exp_so3(offsets) @ best
    shift = torch.arange(32.0).view(1, 16, 2)
    candidates = distinct_candidates(posterior_of(torch.arange(16)[None], shift), rotations)
    found, found_shift = candidates.rotation, candidates.shift
    assert torch.equal(found[0], rotations[:1].expand(N_KEPT, 3, 3))
    assert torch.equal(found_shift[0], shift[0, :1].expand(N_KEPT, 2))


@pytest.mark.parametrize("degrees", [APART - 1, APART + 1])
def test_the_border_between_one_peak_and_two(degrees: float) -> None:
    rotations = torch.stack((torch.eye(3), exp_so3(torch.tensor([math.radians(degrees), 0.0, 0.0]))))
    found = distinct_candidates(posterior_of(torch.tensor([[0, 1, 1]]), torch.zeros(1, 3, 2)), rotations)
    assert torch.equal(found.rotation[0, 1], rotations[int(degrees > APART)])


def test_the_likeliest_candidate_wins_wherever_it_stands_in_the_list() -> None:
    scene = make_scene(30, amplitude=5.0, noise=1.0, shift=2.0)
    grid = MapGrid(24, 24)
    model = PoseModel(grid, grid.transform(scene.volume), 8.0, True)
    near = turned(scene.rotation, 4.0)
    wrong = [turned(scene.rotation, angle, seed=seed) for angle, seed in ((60.0, 1), (120.0, 2))]
    place = torch.arange(30) % 3
    rotation = torch.stack((near, *wrong), dim=1)
    order = torch.stack([torch.roll(torch.arange(3), int(k)) for k in place])
    rotation = rotation.gather(1, order[:, :, None, None].expand(-1, -1, 3, 3))
    shift = scene.shift[:, None].expand(-1, 3, -1)
    found = best_of(scene.observations, scene.index, Candidates(rotation, shift), model, 4)
    assert float(geodesic_degrees(found.rotation, scene.rotation).median()) < 1.0
    assert float(geodesic_degrees(found.rotation, scene.rotation).max()) < 10.0
    # For each image, no candidate's peak is higher than the one that was kept.
    kept = refine_poses(scene.observations, scene.index, found, model, 0).log_likelihood
    for k in range(3):
        poses = dataclasses.replace(found, rotation=rotation[:, k], shift=shift[:, k])
        alone = refine_poses(scene.observations, scene.index, poses, model, 4).log_likelihood
        assert bool((alone <= kept + 1e-2).all())


def test_a_candidate_that_is_listed_twice_is_refined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the likeliest is what it is without the repetition."""
    scene = make_scene(12, amplitude=2.0, noise=1.0)
    grid = MapGrid(24, 24)
    model = PoseModel(grid, grid.transform(scene.volume), 8.0, False)
    near, wrong = turned(scene.rotation, 3.0), turned(scene.rotation, 90.0)
    some = torch.arange(12) % 3 == 0
    first = torch.where(some[:, None, None], wrong, near)
    rotation = torch.stack((first, torch.where(some[:, None, None], near, first), first), dim=1)
    asked: list[int] = []
    refine = module.refine_poses
    monkeypatch.setattr(
        module, "refine_poses", lambda o, index, *rest: asked.append(len(index)) or refine(o, index, *rest)
    )
    found = best_of(scene.observations, scene.index, Candidates(rotation, torch.zeros(12, 3, 2)), model, 4)
    assert asked == [12 + 4]
    assert float(geodesic_degrees(found.rotation, scene.rotation).max()) < 2.5


def test_behind_the_pose_of_an_image_stand_other_peaks_alone() -> None:
    """A point of the grid beside the pose is the pose once more, whatever its shift."""
    pose = Poses(random_rotations(2, generator=make_generator(1)), torch.ones(2, 2))
    rotation = torch.stack((turned(pose.rotation, SAME_PEAK - 1), turned(pose.rotation, SAME_PEAK + 1)), dim=1)
    listed = Candidates(rotation, torch.arange(8.0).view(2, 2, 2)).after(pose)
    assert torch.equal(listed.rotation[:, 0], pose.rotation)
    assert torch.equal(listed.rotation[:, 1], pose.rotation)
    assert torch.equal(listed.rotation[:, 2], rotation[:, 1])
    assert torch.equal(listed.shift, torch.stack((pose.shift, pose.shift, torch.tensor([[2.0, 3.0], [6.0, 7.0]])), 1))
    assert listed.repeated().tolist() == [[False, True, False]] * 2
    twice = Candidates(rotation[:, [0, 1, 1]], torch.zeros(2, 3, 2)).after(pose)  # a peak that fills missing ones
    assert twice.repeated().tolist() == [[False, True, False, True]] * 2
    elsewhere = Candidates(pose.rotation[:, None].expand(-1, 2, 3, 3), torch.arange(8.0).view(2, 2, 2))
    assert not bool(elsewhere.repeated().any())


def test_only_the_images_asked_for_are_compared() -> None:
    scene = make_scene(12, amplitude=2.0, noise=1.0)
    grid = MapGrid(24, 24)
    model = PoseModel(grid, grid.transform(scene.volume), 8.0, False)
    index = torch.tensor([7, 2, 9])
    rotation = torch.stack((turned(scene.rotation, 90.0)[index], turned(scene.rotation, 3.0)[index]), dim=1)
    found = best_of(scene.observations, index, Candidates(rotation, torch.zeros(3, 2, 2)), model, 4)
    assert float(geodesic_degrees(found.rotation, scene.rotation[index]).max()) < 2.5
