"""Symmetric maps, and the sums that they come from."""

import pytest
import torch

from reconstruction.scenes import draw_blobs, make_scene, relative_error
from resmfn.core import make_generator
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.maps.symmetrize import symmetrized
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, insert_images
from resmfn.rotations import point_group, random_rotations


def assembly(name: str) -> GaussianBlobs:
    """Return blobs with a symmetry, off the axes."""
    one, group = draw_blobs(24), point_group(name).float()
    return GaussianBlobs(
        centers=(one.centers @ group.mT).reshape(-1, 3),
        widths=one.widths.repeat(len(group)),
        amplitudes=one.amplitudes.repeat(len(group)),
    )


@pytest.mark.parametrize("box_size", [24, 25])
@pytest.mark.parametrize("name", ["C3", "D2", "T"])
def test_a_symmetric_map_stays_and_a_copy_of_its_unit_becomes_one(name: str, box_size: int) -> None:
    group = point_group(name)
    whole = assembly(name).volume(box_size)
    assert relative_error(symmetrized(whole, group), whole) < 0.01
    unit = draw_blobs(24).volume(box_size)
    assert relative_error(len(group) * symmetrized(unit, group), whole) < 0.01


def test_without_symmetry_a_map_is_not_touched() -> None:
    volume = torch.randn(8, 8, 8, generator=make_generator(0))
    assert symmetrized(volume, point_group("C1")) is volume


def test_images_of_one_view_show_all_views_of_a_symmetric_map() -> None:
    """From six views of a D2 molecule comes the map that their 24 symmetric views give."""
    blobs, group = assembly("D2"), point_group("D2").float()
    rotation = random_rotations(6, generator=make_generator(2))
    scene = make_scene(24, ctf=False)
    pixels, observations = scene.observations.pixels, scene.observations
    slices = blobs.transform(rotation, pixels, 24) / 24
    observations._values[:] = slices.repeat(4, 1)
    alike = (rotation @ group[:, None]).reshape(-1, 3, 3)
    index = torch.arange(24)
    one = PosedImages(index[:6], Poses(rotation, torch.zeros(6, 2)))
    every = PosedImages(index, Poses(alike, torch.zeros(24, 2)))
    with_group = MapEquations(insert_images(observations, one, MapGrid(24, 24, "D2"), 9.0))
    without = MapEquations(insert_images(observations, every, MapGrid(24, 24), 9.0))
    torch.testing.assert_close(with_group.rhs, without.rhs, rtol=1e-3, atol=1e-3 * float(without.rhs.abs().max()))
    torch.testing.assert_close(with_group.kernel, without.kernel, rtol=1e-3, atol=1e-3 * float(without.kernel.max()))
