"""The mirror image of a solution fits the images as the solution does, and flipping twice changes nothing."""

import pytest
import torch

from reconstruction.scenes import draw_blobs, make_scene
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results.hand import flip_hand, inverted
from resmfn.reconstruction.run.context import RunContext
from resmfn.reconstruction.run.records import Maps, PoseEstimates


def take(run: RunContext, rotation: torch.Tensor, maps: Maps) -> None:
    """Let a run have found some poses and maps."""
    run.state.poses = PoseEstimates(best=Poses(rotation, torch.zeros(len(rotation), 2)))
    run.state.maps = maps


@pytest.mark.parametrize("box_size", [24, 25])
def test_the_other_hand_gives_the_same_images(box_size: int, context) -> None:
    scene = make_scene(30, box_size=box_size, ctf=False)
    run = context()
    take(run, scene.rotation.clone(), Maps(references={"joint": scene.volume}))
    flip_hand(run)
    grid = MapGrid(box_size, box_size)
    pixels = scene.observations.pixels
    before = grid.slices(grid.transform(scene.volume), scene.rotation, pixels)
    after = grid.slices(grid.transform(run.state.maps.references["joint"]), run.poses().rotation, pixels)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
    apart = (run.state.maps.references["joint"] - scene.volume).norm() / scene.volume.norm()
    assert float(apart) > 0.5
    torch.testing.assert_close(torch.linalg.det(run.poses().rotation), torch.ones(30))
    flip_hand(run)
    assert torch.equal(run.state.maps.references["joint"], scene.volume)
    assert torch.equal(run.poses().rotation, scene.rotation)


def test_all_maps_that_are_written_are_flipped_with_the_solution(context) -> None:
    """The halves without network, and the mask that the user gave, belong to the hand of the maps."""

    def draw(name: str) -> torch.Tensor:
        return torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(len(name) + ord(name[-1])))

    run, volumes = context(), {name: draw(name) for name in ("half1", "half2")}
    take(run, torch.eye(3)[None], Maps(references={"joint": draw("joint")}, unmasked=volumes))
    run.user_mask = draw("mask")
    flip_hand(run)
    for name, volume in volumes.items():
        assert torch.equal(run.state.maps.unmasked[name], inverted(volume))
    assert torch.equal(run.user_mask, inverted(draw("mask")))
    assert not torch.equal(run.user_mask, draw("mask"))


def test_the_origin_stays() -> None:
    for size in (24, 25):
        point = torch.zeros(size, size, size)
        point[size // 2, size // 2, size // 2] = 1
        assert torch.equal(inverted(point), point)
    assert not torch.equal(inverted(draw_blobs(24).volume(24)), draw_blobs(24).volume(24))
