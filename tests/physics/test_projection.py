"""Projectors against closed forms, against each other, and against their adjoints."""

import pytest
import torch
from torch.autograd import gradcheck

from resmfn.core import ResmfnError, ShapeError, make_generator
from resmfn.fourier import half_plane_pixels
from resmfn.physics import (
    FourierSliceProjector,
    GaussianBlobs,
    add_slices,
    extract_slices,
    insert_slices,
    padded_transform,
    padded_transform_adjoint,
    project_real_space,
    trilinear,
)
from resmfn.physics.projection import slice_order
from resmfn.rotations import exp_so3, matrix_from_euler, random_rotations

DOUBLE = torch.float64


def blobs(seed: int = 5) -> GaussianBlobs:
    return GaussianBlobs.random(6, radius=6.0, width=1.7, generator=make_generator(seed), dtype=DOUBLE)


def poses(n: int, seed: int = 6) -> torch.Tensor:
    return random_rotations(n, generator=make_generator(seed), dtype=DOUBLE)


def relative_error(x: torch.Tensor, truth: torch.Tensor) -> float:
    return ((x - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("box_size", [32, 33])
@pytest.mark.parametrize(("padding", "error"), [(1, 0.08), (2, 0.02), (3, 0.01)])
def test_slices_project_blobs_as_their_closed_form(box_size: int, padding: int, error: float) -> None:
    truth = blobs().project(poses(6), box_size)
    images = FourierSliceProjector(box_size, padding)(blobs().volume(box_size), poses(6))
    assert images.dtype == DOUBLE
    assert relative_error(images, truth) < error


@pytest.mark.parametrize("box_size", [32, 33])
@pytest.mark.parametrize(("order", "error"), [(1, 0.05), (3, 0.002)])
def test_real_space_projects_blobs_as_their_closed_form(box_size: int, order: int, error: float) -> None:
    truth = blobs().project(poses(4), box_size)
    assert relative_error(project_real_space(blobs().volume(box_size), poses(4), order), truth) < error


@pytest.mark.parametrize("box_size", [32, 33])
def test_the_two_projectors_agree_within_the_stated_error(box_size: int) -> None:
    volume = blobs().volume(box_size)
    slices = FourierSliceProjector(box_size)(volume, poses(4))
    assert relative_error(slices, project_real_space(volume, poses(4), 3)) < 0.02


@pytest.mark.parametrize("box_size", [12, 13])
def test_the_identity_pose_sums_over_z(box_size: int, generator: torch.Generator) -> None:
    identity = torch.eye(3, dtype=DOUBLE)[None]
    volume = GaussianBlobs.random(3, radius=1.0, width=1.3, generator=generator, dtype=DOUBLE).volume(box_size)
    torch.testing.assert_close(project_real_space(volume, identity)[0], volume.sum(dim=0))
    assert relative_error(FourierSliceProjector(box_size, 4)(volume, identity)[0], volume.sum(dim=0)) < 0.02


@pytest.mark.parametrize("box_size", [20, 21])
def test_a_voxel_stands_where_the_pose_puts_it(box_size: int) -> None:
    """Map axes are [z, y, x]; a point p of the map is seen at the first two entries of A p."""
    volume = torch.zeros((box_size,) * 3, dtype=DOUBLE)
    volume[box_size // 2 + 1, box_size // 2 + 2, box_size // 2 + 4] = 1.0  # z, y, x
    quarter_turns = matrix_from_euler(
        torch.tensor([[0.0, 90.0, 0.0], [90.0, 0.0, 0.0], [0.0, 90.0, 90.0]], dtype=DOUBLE)
    )
    expected = (quarter_turns @ torch.tensor([4.0, 2.0, 1.0], dtype=DOUBLE))[:, :2].round().long() + box_size // 2
    for images in (FourierSliceProjector(box_size)(volume, quarter_turns), project_real_space(volume, quarter_turns)):
        brightest = images.flatten(1).argmax(dim=1)
        assert torch.equal(torch.stack((brightest % box_size, brightest // box_size), dim=1), expected)
    assert expected.unique(dim=0).shape[0] == 3


def test_turning_map_and_poses_together_leaves_images_unchanged() -> None:
    turn = poses(1, seed=9)[0]
    project = FourierSliceProjector(32, padding=3)
    images = project(blobs().volume(32), poses(5))
    turned = project(blobs().rotated(turn).volume(32), poses(5) @ turn.T)
    assert relative_error(turned, images) < 0.01
    only_the_map = project(blobs().rotated(turn).volume(32), poses(5))
    assert relative_error(only_the_map, images) > 0.3


def test_the_transform_of_blobs_is_what_slices_read() -> None:
    pixels = half_plane_pixels(10.0)
    values = extract_slices(padded_transform(blobs().volume(32), 3), poses(4), pixels, padding=3)
    assert relative_error(values, blobs().transform(poses(4), pixels, 32)) < 0.01


def test_fewer_pixels_are_the_same_pixels() -> None:
    transform = padded_transform(blobs().volume(32))
    some = half_plane_pixels(9.0)[::3]
    few = extract_slices(transform, poses(2), some)
    torch.testing.assert_close(few, extract_slices(transform, poses(2), half_plane_pixels(9.0))[:, ::3])


def test_images_hold_nothing_beyond_the_radius() -> None:
    full = FourierSliceProjector(32)(blobs().volume(32), poses(2))
    low = FourierSliceProjector(32, radius_max=5.0)(blobs().volume(32), poses(2))
    spectrum = torch.fft.fft2(low).abs()
    f = torch.fft.fftfreq(32, dtype=DOUBLE) * 32
    beyond = torch.hypot(f[:, None], f) > 5.0
    assert spectrum[:, beyond].max() < 1e-10 * spectrum.max()
    torch.testing.assert_close(torch.fft.fft2(full)[:, ~beyond], torch.fft.fft2(low)[:, ~beyond])


@pytest.mark.parametrize("box_size", [9, 10])
@pytest.mark.parametrize("padding", [1, 2, 3])
def test_insertion_is_the_exact_adjoint_on_real_maps(box_size: int, padding: int, generator: torch.Generator) -> None:
    rotation, pixels, size = poses(7), half_plane_pixels(box_size / 2), padding * box_size
    volume = torch.randn((box_size,) * 3, generator=generator, dtype=DOUBLE)
    values = torch.randn(7, len(pixels), generator=generator, dtype=torch.complex128)
    slices = extract_slices(padded_transform(volume, padding), rotation, pixels, padding)
    inserted = insert_slices(values, rotation, pixels, size, padding)
    there = (slices.conj() * values).sum().real
    back = (volume * padded_transform_adjoint(inserted, padding)).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=0)
    on_the_grid = (padded_transform(volume, padding).conj() * inserted).sum().real
    torch.testing.assert_close(there, on_the_grid, rtol=1e-12, atol=0)


@pytest.mark.parametrize("box_size", [9, 10])
def test_what_is_inserted_is_the_transform_of_a_real_map(box_size: int, generator: torch.Generator) -> None:
    pixels = half_plane_pixels(box_size / 2)
    values = torch.randn(3, len(pixels), generator=generator, dtype=torch.complex128)
    inserted = insert_slices(values, poses(3), pixels, 2 * box_size)
    volume = torch.fft.ifftn(torch.fft.ifftshift(inserted))
    assert volume.imag.abs().max() < 1e-12 * volume.real.abs().max()


def test_sums_without_mates_have_the_same_maps_however_few_points_are_taken_at_a_time(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, rotation, size = half_plane_pixels(4.0), poses(7), 20
    values = torch.randn(7, len(pixels), generator=generator, dtype=torch.complex128)
    weights = torch.rand(7, len(pixels), generator=generator, dtype=DOUBLE)
    expected = [insert_slices(v, rotation, pixels, size) for v in (values, weights.to(torch.complex128))]
    monkeypatch.setattr(trilinear, "CPU_POINTS", 2 * len(pixels))
    sums = torch.zeros((size,) * 3, dtype=torch.complex128), torch.zeros((size,) * 3, dtype=DOUBLE)
    for _ in range(2):  # they add to what is there
        add_slices(sums, values, weights, rotation, pixels)
    for found, whole in zip(sums, expected, strict=True):
        torch.testing.assert_close(
            torch.fft.ifftn(torch.fft.ifftshift(found)).real / 2, torch.fft.ifftn(torch.fft.ifftshift(whole)).real
        )
    slices = extract_slices(expected[0], rotation, pixels)
    monkeypatch.undo()
    torch.testing.assert_close(extract_slices(expected[0], rotation, pixels), slices)


def test_slices_are_taken_in_an_order_that_keeps_them_together(generator: torch.Generator) -> None:
    rotation = poses(400)
    order = slice_order(rotation)
    assert sorted(order.tolist()) == list(range(400))
    axes = rotation[:, 2]
    apart = [torch.acos((a[1:] * a[:-1]).sum(dim=1).abs().clamp_max(1)).mean() for a in (axes[order], axes)]
    assert apart[0] < 0.3 * apart[1]
    # The slice seen from behind, or turned in the image's plane, is the same one.
    turns = exp_so3(torch.rand(400, 1, generator=generator, dtype=DOUBLE) * torch.tensor([0.0, 0.0, 6.0], dtype=DOUBLE))
    behind = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=DOUBLE))
    assert torch.equal(slice_order(turns @ rotation), order)
    assert torch.equal(slice_order(behind @ rotation), order)
    assert len(slice_order(rotation[:0])) == 0


def test_gradients_to_map_and_rotation(generator: torch.Generator) -> None:
    volume = torch.randn(4, 4, 4, generator=generator, dtype=DOUBLE, requires_grad=True)
    tangent = 0.3 * torch.randn(1, 3, generator=generator, dtype=DOUBLE)
    project = FourierSliceProjector(4)
    assert gradcheck(lambda v, t: project(v, exp_so3(t) @ poses(1)), (volume, tangent.requires_grad_()))


def test_gradients_of_slices_to_transform_and_insertion(generator: torch.Generator) -> None:
    pixels = half_plane_pixels(2.0)
    transform = torch.randn(6, 6, 6, generator=generator, dtype=torch.complex128, requires_grad=True)
    rotation = poses(2).requires_grad_()
    assert gradcheck(lambda t, a: extract_slices(t, a, pixels), (transform, rotation))
    values = torch.randn(2, len(pixels), generator=generator, dtype=torch.complex128, requires_grad=True)
    assert gradcheck(lambda v, a: insert_slices(v, a, pixels, 6), (values, rotation))


def test_the_real_space_projector_is_differentiable(generator: torch.Generator) -> None:
    volume = torch.randn(4, 4, 4, generator=generator, dtype=DOUBLE, requires_grad=True)
    assert gradcheck(lambda v, a: project_real_space(v, a), (volume, poses(1).requires_grad_()))


def test_single_precision_stays_single(generator: torch.Generator) -> None:
    volume = torch.randn(8, 8, 8, generator=generator)
    images = FourierSliceProjector(8)(volume, random_rotations(2, generator=generator))
    assert images.dtype == torch.float32


def test_wrong_shapes_and_orders_are_named() -> None:
    with pytest.raises(ShapeError, match=r"volume must be a cube \(N, N, N\), got shape \(4, 4, 5\)"):
        padded_transform(torch.zeros(4, 4, 5))
    with pytest.raises(ShapeError, match=r"a map of side 8, got shape \(6, 6, 6\)"):
        FourierSliceProjector(8)(torch.zeros(6, 6, 6), poses(1))
    with pytest.raises(ResmfnError, match="order of interpolation must be 1 or 3, got 2"):
        project_real_space(torch.zeros(4, 4, 4), poses(1), order=2)
    with pytest.raises(ResmfnError, match="padding at least 1, got 8 and 0"):
        FourierSliceProjector(8, padding=0)
