"""The record of an evaluation, its dictionary, and the masks it makes."""

import json

import pytest
import torch

from resmfn.core import ResmfnError
from resmfn.evaluation import (
    FscCurve,
    MapAlignment,
    MapComparison,
    align_poses,
    aligned_poses,
    compare_maps,
    compare_poses,
    enclosing_diameter,
    evaluate_run,
    spherical_mask,
)
from resmfn.fourier import radius_grid
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import geodesic_degrees, point_group, random_rotations


def comparison(rotation, hand=1, correlation=(1.0, 0.9, 0.6, 0.2, 0.0)):
    curve = FscCurve(torch.arange(5, dtype=torch.float64) / 40, torch.tensor(correlation, dtype=torch.float64))
    alignment = MapAlignment(rotation, torch.zeros(3, dtype=torch.float64), hand, 0.9, 0.1, 5.0)
    return MapComparison(alignment, curve, curve, torch.zeros(8, 8, 8))


def test_map_and_poses_of_one_run_find_the_same_frame_and_hand(generator):
    """Independently: the map from its voxels, the poses from their matrices."""
    blobs = GaussianBlobs.random(25, radius=8, generator=generator)
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    own = GaussianBlobs(
        centers=-blobs.centers @ frame.to(blobs.centers), widths=blobs.widths, amplitudes=blobs.amplitudes
    )
    estimated = random_rotations(40, generator=generator, dtype=torch.float64)
    true = aligned_poses(estimated, frame, -1)
    reference = blobs.volume(32)
    maps = compare_maps(own.volume(32), reference, 2.0, spherical_mask(32, 2.0, 44.0))
    found = evaluate_run(maps, compare_poses(estimated, true), estimated)
    assert found.maps.alignment.hand == found.poses.alignment.hand == -1
    assert found.map_to_pose_degrees() < 0.5
    assert maps.unmasked.correlation[:12].min() > 0.98
    assert geodesic_degrees(found.rotations, true).max() < 1e-4
    entries = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert entries["poses"]["map_to_poses"] == pytest.approx(found.map_to_pose_degrees())
    assert entries["map"]["hand"] == -1
    assert entries["shifts"]["rms"] == 0


def test_hands_that_differ_have_no_angle_between_them(generator):
    rotation = random_rotations(20, generator=generator, dtype=torch.float64)
    found = evaluate_run(comparison(torch.eye(3).double(), hand=-1), compare_poses(rotation, rotation))
    assert found.map_to_pose_degrees() is None
    assert found.to_dict()["poses"]["map_to_poses"] is None


def test_parts_that_were_not_compared_are_none():
    found = evaluate_run(comparison(torch.eye(3).double())).to_dict()
    assert found["poses"] is found["shifts"] is found["views"] is None
    assert found["fsc"]["masked"]["resolution_05"] == pytest.approx(40 / 2.25)
    assert found["fsc"]["masked"]["area"] == pytest.approx((0.95 + 0.75 + 0.4 + 0.1) / 4)


def test_a_map_that_agrees_nowhere_has_null_for_a_resolution():
    found = evaluate_run(comparison(torch.eye(3).double(), correlation=(0.0, 0.0, 0.0, 0.0, 0.0))).to_dict()
    assert found["fsc"]["unmasked"]["resolution_05"] is None


def test_shifts_left_out_are_zero(generator):
    rotation = random_rotations(20, generator=generator, dtype=torch.float64)
    found = compare_poses(rotation, rotation, None, torch.full((20, 2), 0.0, dtype=torch.float64))
    assert found.shifts.rms == 0
    assert found.errors == align_poses(rotation, rotation).summary()


def test_nothing_to_compare_with_is_an_error():
    with pytest.raises(ResmfnError, match="give --reference, --true-poses or both"):
        evaluate_run()


def test_the_default_sphere_holds_the_molecule():
    ball = (radius_grid(40, 3) < 9.3).to(torch.get_default_dtype()) + 5  # on a background that is not 0
    assert enclosing_diameter(ball, 1.5) == pytest.approx(2 * 9.3 * 1.5, rel=0.03)


def test_the_default_sphere_and_its_edge_stay_in_the_box(generator):
    noise = torch.randn(32, 32, 32, generator=generator)
    assert enclosing_diameter(noise, 1.5) == pytest.approx(2 * (16 - 6) * 1.5)


def test_a_mask_of_a_diameter_in_angstrom():
    mask = spherical_mask(32, 2.0, 24.0)
    assert mask[16, 16, 16 + 6] == 1
    assert 0 < mask[16, 16, 16 + 9] < 1
    assert mask[16, 16, 16 + 12] == 0
    with pytest.raises(ResmfnError, match="must be positive, got -3"):
        spherical_mask(32, 2.0, -3)


def test_the_rotations_of_a_symmetric_map_and_its_poses_may_differ_by_an_element_of_its_group(generator):
    group = point_group("D2")
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    estimated = random_rotations(20, generator=generator, dtype=torch.float64)
    poses = compare_poses(estimated, aligned_poses(estimated, frame, 1))
    for element in group:
        found = evaluate_run(comparison(frame @ element), poses, estimated, group)
        assert found.map_to_pose_degrees() < 1e-4
    assert evaluate_run(comparison(frame @ group[-1]), poses, estimated).map_to_pose_degrees() == pytest.approx(180)


@pytest.mark.parametrize("box_size", [4, 8, 12, 16])
def test_the_default_sphere_of_a_small_box_has_a_size(box_size, generator):
    diameter = enclosing_diameter(torch.randn(box_size, box_size, box_size, generator=generator), 1.5)
    assert 0 < diameter <= 1.5 * box_size
    spherical_mask(box_size, 1.5, diameter)
