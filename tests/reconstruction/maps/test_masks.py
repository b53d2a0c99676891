"""The mask found from a map: where the particle is, and nowhere else."""

import dataclasses

import pytest
import torch

from reconstruction.scenes import draw_blobs
from resmfn.core import make_generator
from resmfn.fourier import radius_grid, soft_sphere
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction.maps.masks import shape_mask

BOX, PIXEL = 32, 3.0


def sphere() -> torch.Tensor:
    return soft_sphere(BOX, 13.0, 2.0)


def noise(seed: int = 1) -> torch.Tensor:
    return torch.randn(BOX, BOX, BOX, generator=make_generator(seed))


def test_it_holds_the_particle_and_lies_in_the_sphere() -> None:
    volume = draw_blobs(BOX).volume(BOX)
    mask = shape_mask(volume, sphere(), PIXEL)
    assert mask.shape == volume.shape
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
    assert bool((mask[sphere() == 0] == 0).all())
    assert float((mask * volume).sum() / volume.sum()) > 0.9
    assert bool((mask[volume > 0.5 * volume.max()] == 1).all())
    assert float(mask.mean()) < 0.5 * float(sphere().mean())


def test_noise_far_away_stays_outside() -> None:
    volume = draw_blobs(BOX).volume(BOX)
    clean = shape_mask(volume, sphere(), PIXEL)
    noisy = shape_mask(volume + 0.1 * volume.max() * noise(), sphere(), PIXEL)
    far = shape_mask(volume, sphere(), PIXEL) == 0
    assert float((noisy * far).sum() / noisy.sum()) < 0.25
    assert float((noisy * volume).sum() / volume.sum()) > 0.9
    assert float((noisy - clean).abs().mean()) < 0.08


def with_speck(width: float) -> torch.Tensor:
    """Return a large blob with a small one far from it, equally bright."""
    blobs = GaussianBlobs(
        centers=torch.tensor([[-4.0, 0.0, 0.0], [10.0, 0.0, 0.0]]),
        widths=torch.tensor([3.0, width]),
        amplitudes=torch.ones(2),
    )
    return blobs.volume(BOX)


def test_a_speck_is_dropped_and_a_second_part_is_kept() -> None:
    where = (BOX // 2, BOX // 2, BOX // 2 + 10)
    assert float(shape_mask(with_speck(0.9), sphere(), PIXEL)[where]) == 0
    assert float(shape_mask(with_speck(2.5), sphere(), PIXEL)[where]) == 1


def test_it_grows_with_the_map_not_with_its_grey_scale() -> None:
    volume = draw_blobs(BOX).volume(BOX)
    mask = shape_mask(volume, sphere(), PIXEL)
    torch.testing.assert_close(shape_mask(1e-4 * volume, sphere(), PIXEL), mask)
    blobs = draw_blobs(BOX)
    wide = shape_mask(dataclasses.replace(blobs, widths=1.6 * blobs.widths).volume(BOX), sphere(), PIXEL)
    assert float(wide.sum()) > 1.1 * float(mask.sum())


@pytest.mark.parametrize("pixel_size", [0.7, 1.5, 3.0, 6.0])
def test_any_pixel_size_gives_a_mask_around_the_particle(pixel_size: float) -> None:
    """The same density in the same number of voxels: the margins are in Å, never below a voxel and a half."""
    volume = draw_blobs(BOX).volume(BOX)
    mask = shape_mask(volume, sphere(), pixel_size)
    assert float((mask * volume).sum() / volume.sum()) > 0.9
    assert bool((mask[radius_grid(BOX, 3) > 15.5] == 0).all())
    assert bool(((mask > 0) & (mask < 1)).any())  # a soft edge


def test_a_map_of_nothing_has_the_sphere_for_a_mask() -> None:
    assert torch.equal(shape_mask(torch.zeros(BOX, BOX, BOX), sphere(), PIXEL), sphere())
