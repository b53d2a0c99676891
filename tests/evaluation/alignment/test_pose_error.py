"""Pose and shift errors count nothing that images cannot tell."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resmfn.core import ResmfnError, ShapeError
from resmfn.evaluation import align_poses, aligned_poses, shift_error
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import exp_so3, geodesic_degrees, point_group, random_rotations

FLIP = {1: torch.eye(3, dtype=torch.float64), -1: torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))}


def rotations(n, generator):
    return random_rotations(n, generator=generator, dtype=torch.float64)


def off_by(degrees, generator):
    """Rotations about random axes by the given angles (n,)."""
    axis = rotations(len(degrees), generator)[:, 2]
    return exp_so3(axis * torch.deg2rad(degrees)[:, None])


def in_another_frame(true, global_rotation, hand):
    """Poses of the map that has ``true`` in the reference's frame: the inverse of the alignment."""
    return FLIP[hand] @ true @ global_rotation


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), hand=st.sampled_from([1, -1]))
def test_a_global_rotation_and_the_hand_are_no_error(seed, hand):
    generator = torch.Generator().manual_seed(seed)
    true, frame = rotations(30, generator), rotations(1, generator)[0]
    found = align_poses(in_another_frame(true, frame, hand), true)
    assert found.hand == hand
    assert found.errors_deg.max() < 1e-6
    torch.testing.assert_close(found.rotation, frame)


@pytest.mark.parametrize("hand", [1, -1])
def test_errors_are_those_that_were_made(hand, generator):
    true, frame = rotations(400, generator), rotations(1, generator)[0]
    degrees = 8 * torch.rand(400, generator=generator, dtype=torch.float64)
    estimated = in_another_frame(off_by(degrees, generator) @ true, frame, hand)
    found = align_poses(estimated, true)
    assert geodesic_degrees(found.rotation, frame) < 0.5
    torch.testing.assert_close(found.errors_deg, degrees, rtol=0, atol=0.5)
    torch.testing.assert_close(found.apply(estimated), aligned_poses(estimated, found.rotation, hand))
    summary = found.summary()
    assert summary.median == pytest.approx(4, abs=0.5)
    assert summary.mean == pytest.approx(4, abs=0.4)
    assert summary.share_within_5 == pytest.approx(5 / 8, abs=0.06)
    assert summary.share_within_10 == 1


def test_outliers_do_not_move_the_alignment(generator):
    true, frame = rotations(500, generator), rotations(1, generator)[0]
    degrees = torch.full((500,), 2.0, dtype=torch.float64)
    noisy = off_by(degrees, generator) @ true
    noisy[:250] = rotations(250, generator)
    found = align_poses(in_another_frame(noisy, frame, 1), true)
    assert geodesic_degrees(found.rotation, frame) < 0.4
    torch.testing.assert_close(found.errors_deg[250:], degrees[250:], rtol=0, atol=0.5)


@pytest.mark.parametrize("hand", [1, -1])
def test_aligned_poses_give_the_same_images(hand, generator):
    """The estimated map's images at its poses are the true map's images at the aligned poses, for either hand."""
    blobs = GaussianBlobs.random(6, radius=5, generator=generator, dtype=torch.float64)
    frame, estimated = rotations(1, generator)[0], rotations(4, generator)
    # map(v) = truth(hand R v), so its blobs stand at hand R^T c
    own = GaussianBlobs(centers=hand * blobs.centers @ frame, widths=blobs.widths, amplitudes=blobs.amplitudes)
    torch.testing.assert_close(own.project(estimated, 24), blobs.project(aligned_poses(estimated, frame, hand), 24))


def test_a_single_image_is_always_exact(generator):
    found = align_poses(rotations(1, generator), rotations(1, generator))
    assert found.errors_deg.tolist() == pytest.approx([0], abs=1e-6)


def test_float32_poses_are_compared_in_double_precision(generator):
    true = rotations(50, generator)
    assert align_poses(true.float(), true.float()).errors_deg.max() < 1e-3


@pytest.mark.parametrize(
    ("estimated", "true", "error", "message"),
    [
        (torch.eye(3), torch.eye(3), ShapeError, r"estimated poses must have shape \(n, 3, 3\).*got \(3, 3\)"),
        (torch.eye(3)[None], torch.eye(3).expand(2, 3, 3), ShapeError, r"true poses .*one n >= 1.*got \(2, 3, 3\)"),
        (torch.zeros(0, 3, 3), torch.zeros(0, 3, 3), ShapeError, "n >= 1"),
        (torch.eye(3).expand(2, 3, 3), torch.stack((torch.eye(3), 2 * torch.eye(3))), ResmfnError, "number 1 of 2"),
        (-torch.eye(3)[None], torch.eye(3)[None], ResmfnError, "estimated poses must be proper rotation"),
        (torch.full((1, 3, 3), math.nan), torch.eye(3)[None], ResmfnError, "number 0 of 1 is not"),
    ],
)
def test_what_is_no_set_of_poses_is_refused(estimated, true, error, message):
    with pytest.raises(error, match=message):
        align_poses(estimated, true)


def test_a_common_translation_is_no_shift_error(generator):
    rotation = rotations(60, generator)
    true = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    translation = torch.tensor([3.0, -2.0, 7.0], dtype=torch.float64)
    found = shift_error(rotation, true + rotation[:, :2] @ translation, true)
    assert found.rms == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(found.translation, translation)


def test_the_shift_error_is_the_one_that_was_made(generator):
    rotation = rotations(2000, generator)
    true = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    error = 0.5 * torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    plain = shift_error(rotation, true + error, true)
    moved = shift_error(rotation, true + error + rotation[:, :2] @ torch.ones(3, dtype=torch.float64), true)
    assert plain.rms == pytest.approx(0.5 * math.sqrt(2), rel=0.05)
    assert plain.median == pytest.approx(0.5 * math.sqrt(2 * math.log(2)), rel=0.05)  # of a Rayleigh distribution
    assert moved.rms == pytest.approx(plain.rms)


@pytest.mark.parametrize("hand", [1, -1])
def test_moving_the_map_moves_shifts_as_its_images_say(hand, generator):
    """The translation that is taken out is where the map stands: shifted blobs and their images prove the sign."""
    blobs = GaussianBlobs.random(6, radius=4, generator=generator, dtype=torch.float64)
    step = torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64)
    moved = GaussianBlobs(centers=blobs.centers + step, widths=blobs.widths, amplitudes=blobs.amplitudes)
    rotation = rotations(3, generator)
    seen = rotation[:, :2] @ step  # the molecule stands here; the shift that centers it is minus the origin
    found = shift_error(rotation, torch.zeros(3, 2, dtype=torch.float64), -seen)
    torch.testing.assert_close(found.translation, step)
    profile = moved.project(rotation, 32).sum((1, 2))
    axis = torch.arange(32, dtype=torch.float64) - 16
    images = moved.project(rotation, 32)
    center = torch.stack((images.sum(1) @ axis, images.sum(2) @ axis), -1) / profile[:, None]
    centered = blobs.project(rotation, 32)
    origin = torch.stack((centered.sum(1) @ axis, centered.sum(2) @ axis), -1) / centered.sum((1, 2))[:, None]
    torch.testing.assert_close(center - origin, seen, rtol=0, atol=1e-4)


def test_views_along_one_axis_leave_its_translation_free(generator):
    rotation = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    found = shift_error(rotation, torch.ones(5, 2), torch.zeros(5, 2))
    assert found.rms == pytest.approx(0, abs=1e-6)


def test_shifts_of_another_number_of_images_are_refused(generator):
    with pytest.raises(ShapeError, match=r"true shifts of 3 images must have shape \(3, 2\), got \(2, 2\)"):
        shift_error(rotations(3, generator), torch.zeros(3, 2), torch.zeros(2, 2))


def test_of_a_symmetric_map_the_nearest_copy_counts(generator):
    """A and A S give one image: whichever copy a search found, of either hand, the errors are those of the search."""
    group = point_group("D3")
    true = random_rotations(150, generator=generator, dtype=torch.float64)
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    wrong = exp_so3(0.02 * torch.randn(150, 3, generator=generator, dtype=torch.float64))
    flip = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    found = flip @ wrong @ true @ frame  # in the frame where the group is the map's own
    copies = found @ group[torch.randint(len(group), (150,), generator=generator)]
    plain = align_poses(found, true)
    with_group = align_poses(copies, true, group)
    assert with_group.hand == plain.hand == -1
    torch.testing.assert_close(with_group.errors_deg, plain.errors_deg, rtol=0, atol=0.3)
    assert align_poses(copies, true).summary().median > 30
    turns = found.mT @ with_group.matched  # of all images the same element of the group, for none is the first one
    assert float(geodesic_degrees(turns, turns[:1]).max()) < 1e-3
    assert float(geodesic_degrees(turns[0], group).min()) < 1e-3
