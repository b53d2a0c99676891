"""The closed forms that other tests stand on, against plain sums."""

import pytest
import torch

from resmfn.fourier import half_plane_from_images, half_plane_pixels
from resmfn.physics import GaussianBlobs
from resmfn.rotations import random_rotations

DOUBLE = torch.float64


def one_blob(x: float, y: float, z: float) -> GaussianBlobs:
    return GaussianBlobs(
        centers=torch.tensor([[x, y, z]], dtype=DOUBLE),
        widths=torch.tensor([1.5], dtype=DOUBLE),
        amplitudes=torch.tensor([2.0], dtype=DOUBLE),
    )


@pytest.mark.parametrize("box_size", [24, 25])
def test_a_blob_peaks_at_its_center_with_its_amplitude(box_size: int) -> None:
    volume, origin = one_blob(3.0, -2.0, 1.0).volume(box_size), box_size // 2
    assert volume[origin + 1, origin - 2, origin + 3].item() == 2.0
    assert volume.max().item() == 2.0
    assert volume[origin + 1, origin - 2, origin + 4].item() == pytest.approx(2.0 * torch.tensor(-1 / 4.5).exp().item())


@pytest.mark.parametrize("box_size", [24, 25])
def test_the_projection_along_z_is_the_sum_over_z(box_size: int) -> None:
    blob = one_blob(2.2, -1.3, 0.4)
    image = blob.project(torch.eye(3, dtype=DOUBLE)[None], box_size)[0]
    torch.testing.assert_close(image, blob.volume(box_size).sum(dim=0), rtol=0, atol=1e-5)


def test_projecting_at_a_pose_is_turning_by_it_and_summing(generator: torch.Generator) -> None:
    blobs = GaussianBlobs.random(5, radius=5.0, generator=generator, dtype=DOUBLE)
    pose = random_rotations(1, generator=generator, dtype=DOUBLE)
    torch.testing.assert_close(
        blobs.project(pose, 32)[0], blobs.rotated(pose[0]).volume(32).sum(dim=0), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("box_size", [32, 33])
def test_the_transform_is_that_of_the_projection(box_size: int, generator: torch.Generator) -> None:
    blobs = GaussianBlobs.random(5, radius=5.0, generator=generator, dtype=DOUBLE)
    poses, pixels = random_rotations(3, generator=generator, dtype=DOUBLE), half_plane_pixels(12.0)
    expected = half_plane_from_images(blobs.project(poses, box_size), pixels)
    torch.testing.assert_close(blobs.transform(poses, pixels, box_size), expected, rtol=0, atol=2e-3)


def test_random_blobs_lie_in_the_ball(generator: torch.Generator) -> None:
    blobs = GaussianBlobs.random(500, radius=6.0, width=2.0, generator=generator, dtype=DOUBLE)
    radius = blobs.centers.norm(dim=1)
    assert radius.max() <= 6.0
    assert radius.mean().item() == pytest.approx(4.5, abs=0.2)  # uniform in the ball: 3/4 of the radius
    assert 1.6 <= blobs.widths.min() <= blobs.widths.max() <= 2.4
