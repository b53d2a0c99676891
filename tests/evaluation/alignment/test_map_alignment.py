"""Alignment against maps whose rotation, shift and hand are known in closed form."""

import math

import pytest
import torch

from resmfn.core import ResmfnError, ShapeError
from resmfn.evaluation import MapAlignment, align_maps, apply_alignment, fourier_shell_correlation
from resmfn.evaluation.alignment.rotation_search import half_space_points
from resmfn.fourier import low_pass, radius_grid, soft_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

PIXEL = 1.5


def molecule(generator, n_blobs=25, radius=8.0, dtype=torch.float32):
    return GaussianBlobs.random(n_blobs, radius=radius, width=1.4, generator=generator, dtype=dtype)


def moved(blobs, rotation, shift, hand):
    """Blobs of the map that ``aligned(x) = moving(hand R^T x + shift)`` turns back; shift in voxels."""
    centers = hand * blobs.centers @ rotation.to(blobs.centers) + shift.to(blobs.centers)
    return GaussianBlobs(centers=centers, widths=blobs.widths, amplitudes=blobs.amplitudes)


def alignment(rotation, shift, hand=1):
    return MapAlignment(rotation, shift * PIXEL, hand, 1.0, 0.0, PIXEL)


def ramp(*shape):
    return torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)


def draw(generator, length=4.0):
    rotation = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    return rotation, length * (torch.rand(3, generator=generator, dtype=torch.float64) - 0.5)


@pytest.mark.parametrize(("seed", "hand"), [(0, 1), (1, -1)])
def test_rotation_shift_and_hand_are_found_in_noise(seed, hand):
    generator = torch.Generator().manual_seed(seed)
    blobs = molecule(generator)
    rotation, shift = draw(generator)
    reference = blobs.volume(32)
    moving = 3 * moved(blobs, rotation, shift, hand).volume(32) + 7
    moving += 1.5 * reference.std() * torch.randn(moving.shape, generator=generator)
    found = align_maps(moving, reference, PIXEL)
    assert found.hand == hand
    assert geodesic_degrees(found.rotation, rotation) < 0.5
    assert torch.linalg.vector_norm(found.shift / PIXEL - shift) < 0.1
    assert found.score > found.score_other_hand + 0.2


@pytest.mark.parametrize("box_size", [32, 33])
def test_the_aligned_map_is_the_reference(box_size, generator):
    blobs = molecule(generator, dtype=torch.float64)
    rotation, shift = draw(generator)
    reference = blobs.volume(box_size)
    aligned = apply_alignment(moved(blobs, rotation, shift, -1).volume(box_size), alignment(rotation, shift, -1))
    assert aligned.dtype == torch.float64
    torch.testing.assert_close(aligned, reference, rtol=0, atol=4e-3 * float(reference.max()))
    assert fourier_shell_correlation(aligned, reference, PIXEL).correlation[: int(0.9 * box_size / 2)].min() > 0.99


def test_a_large_shift_is_found(generator):
    blobs = molecule(generator, radius=6)
    rotation, shift = draw(generator)[0], torch.tensor([7.0, -6.0, 5.0], dtype=torch.float64)
    found = align_maps(moved(blobs, rotation, shift, 1).volume(40), blobs.volume(40), PIXEL)
    assert geodesic_degrees(found.rotation, rotation) < 0.5
    assert torch.linalg.vector_norm(found.shift / PIXEL - shift) < 0.1


def test_a_filtered_map_is_found(generator):
    blobs = molecule(generator, n_blobs=60, radius=9)
    rotation, shift = draw(generator)
    moving = low_pass(moved(blobs, rotation, shift, -1).volume(32), 7, 2)
    found = align_maps(moving, blobs.volume(32), PIXEL)
    assert found.hand == -1
    assert geodesic_degrees(found.rotation, rotation) < 0.5


def test_double_precision_runs_to_the_end(generator):
    blobs = molecule(generator, dtype=torch.float64)
    rotation, shift = draw(generator)
    found = align_maps(moved(blobs, rotation, shift, 1).volume(32), blobs.volume(32), PIXEL)
    assert geodesic_degrees(found.rotation, rotation) < 0.3
    assert torch.linalg.det(found.rotation) == pytest.approx(1, abs=1e-12)


def test_a_map_is_aligned_with_itself_without_moving(generator):
    reference = molecule(generator).volume(32)
    found = align_maps(reference, reference, PIXEL)
    assert found.hand == 1
    assert geodesic_degrees(found.rotation, torch.eye(3, dtype=torch.float64)) < 0.3
    assert torch.linalg.vector_norm(found.shift) < 0.03


def test_threads_neither_change_the_answer_nor_stay_changed(generator):
    reference = molecule(generator).volume(24)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(align_maps(reference.flip(0), reference, PIXEL))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(found[0].rotation, found[1].rotation)


def test_turning_a_map_and_turning_it_back_loses_no_shell_below_nyquist(generator):
    """White noise inside a sphere, band-limited: a flat spectrum, so that each shell counts."""
    box_size = 48
    compact = torch.randn((box_size,) * 3, generator=generator) * soft_sphere(box_size, 11, 5)
    volume = low_pass(compact, 0.9 * box_size / 2, 1)
    rotation, shift = draw(generator)
    turned = apply_alignment(volume, alignment(rotation, shift))
    back = apply_alignment(turned, align_maps(turned, volume, PIXEL))
    shells = int(0.9 * box_size / 2) + 1
    assert fourier_shell_correlation(back, volume, PIXEL).correlation[:shells].min() > 0.99
    plain = back.std() / volume.std()
    assert plain == pytest.approx(1, abs=0.02)


def test_no_motion_leaves_what_is_below_nyquist(generator):
    volume = low_pass(torch.randn((16, 16, 16), generator=generator, dtype=torch.float64), 6, 1)
    kept = apply_alignment(volume, alignment(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)))
    torch.testing.assert_close(kept, volume, rtol=0, atol=1e-9)


def test_the_corners_of_the_fourier_cube_do_not_fold_into_the_map(generator):
    """A wave beyond the Nyquist sphere cannot be turned on this grid: it must vanish, not alias."""
    i = torch.arange(16, dtype=torch.float64) - 8
    z, y, x = torch.meshgrid(i, i, i, indexing="ij")
    corner = torch.cos(2 * math.pi * (7 * x + 7 * y + 7 * z) / 16)
    rotation = exp_so3(torch.tensor([0.0, 0.5, 0.7], dtype=torch.float64))
    turned = apply_alignment(corner, alignment(rotation, torch.zeros(3, dtype=torch.float64)))
    assert turned.abs().max() < 1e-9


def test_the_other_hand_is_the_inverted_map(generator):
    volume = low_pass(torch.randn((17, 17, 17), generator=generator, dtype=torch.float64), 6, 1)
    still = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    flipped = apply_alignment(volume, alignment(*still, hand=-1))
    torch.testing.assert_close(flipped, volume.flip(0, 1, 2), rtol=0, atol=1e-9)


def test_large_boxes_are_searched_at_a_smaller_size_and_answer_in_angstrom(generator, monkeypatch):
    monkeypatch.setattr("resmfn.evaluation.alignment.map_alignment.SEARCH_BOX", 24)
    blobs = GaussianBlobs.random(25, radius=10, width=2.4, generator=generator)
    rotation, shift = draw(generator)
    found = align_maps(moved(blobs, rotation, shift, 1).volume(48), blobs.volume(48), PIXEL)
    assert geodesic_degrees(found.rotation, rotation) < 0.5
    assert torch.linalg.vector_norm(found.shift / PIXEL - shift) < 0.2


def test_a_map_without_features_gets_some_rotation():
    ball = torch.exp(-radius_grid(16, 3).square() / 8)
    found = align_maps(ball, ball, PIXEL)
    assert torch.linalg.det(found.rotation) == pytest.approx(1, abs=1e-5)
    assert torch.linalg.vector_norm(found.shift) < 0.2


@pytest.mark.parametrize("radius", [1.0, 2.3, 4.0])
def test_half_of_the_frequencies_stand_for_all(radius):
    points = half_space_points(radius, 1.0)
    both = torch.cat((points, -points))
    assert len(both.unique(dim=0)) == len(both)
    reach = torch.arange(-5, 6)
    cube = torch.cartesian_prod(reach, reach, reach)
    squared = cube.square().sum(-1)
    assert len(both) == int(((squared > 0) & (squared <= radius**2)).sum())


@pytest.mark.parametrize(
    ("moving", "reference", "error", "message"),
    [
        (ramp(8, 8, 9), ramp(8, 8, 8), ShapeError, r"moving map must be a cube, got shape \(8, 8, 9\)"),
        (ramp(8, 8, 8), ramp(8, 8), ShapeError, "reference must be a cube"),
        (ramp(10, 10, 10), ramp(8, 8, 8), ShapeError, "one box size, got 10 and 8"),
        (ramp(4, 4, 4), ramp(4, 4, 4), ShapeError, "at least 8 voxels a side, got 4"),
        (ramp(8, 8, 8) * math.nan, ramp(8, 8, 8), ResmfnError, "moving map has values that are not finite"),
        (ramp(8, 8, 8), torch.full((8, 8, 8), 2.0), ResmfnError, "reference is constant"),
    ],
)
def test_maps_that_cannot_be_aligned_are_refused(moving, reference, error, message):
    with pytest.raises(error, match=message):
        align_maps(moving, reference, PIXEL)


def test_a_map_that_is_no_cube_cannot_be_turned():
    with pytest.raises(ShapeError, match="must be a cube"):
        apply_alignment(torch.zeros(4, 4, 5), alignment(torch.eye(3), torch.zeros(3)))
