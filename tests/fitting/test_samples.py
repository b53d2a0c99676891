"""Where training and test points lie, and what is there."""

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import DensityMap
from resmfn.data.pictures.files import NamedImage
from resmfn.fitting.samples import image_target, pixel_center_coordinates, volume_target
from resmfn.networks import box_coordinates


def test_pixel_centers_are_symmetric_and_the_longer_side_is_one_box():
    coords = pixel_center_coordinates((3, 6), (3, 6), dtype=torch.float64).view(3, 6, 2)
    torch.testing.assert_close(coords[0, :, 1], (torch.arange(6, dtype=torch.float64) + 0.5) / 6 - 0.5)
    torch.testing.assert_close(coords[:, 0, 0], torch.tensor([-1.0, 0, 1], dtype=torch.float64) / 6)
    torch.testing.assert_close(coords.flip(0, 1), -coords)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_both_grids_cover_the_same_field(target, size):
    fit = target(*size)
    assert fit.test.shape == size
    assert fit.train.shape == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert fit.box_size == max(fit.train.shape)
    for grid in (fit.train, fit.test):
        coords = grid.as_grid(grid.coords)
        for axis, (n, extent) in enumerate(zip(grid.shape, (s / max(size) for s in size), strict=True)):
            first, last = coords[0, 0, axis].item(), coords[-1, -1, axis].item()
            assert last - first == pytest.approx(extent * (1 - 1 / n))
            assert first == pytest.approx(-last)
    assert fit.train.values.mean().item() == pytest.approx(fit.test.values.mean().item(), abs=5e-3)


def test_crops_take_the_middle():
    image = NamedImage("ramp", torch.arange(40.0).expand(30, 40)[..., None] / 40)
    fit = image_target(image, crop=24)
    torch.testing.assert_close(fit.test.as_grid(fit.test.values)[0, :, 0], torch.arange(8.0, 32) / 40)
    with pytest.raises(InputError, match="--crop 32 is larger than ramp, 40 x 30"):
        image_target(image, crop=32)
    with pytest.raises(InputError, match="at least 21"):
        image_target(NamedImage("small", torch.zeros(20, 30, 1)))


def test_volumes_keep_their_origin_and_their_low_frequencies(generator):
    x = box_coordinates(24, 3, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * (x @ torch.tensor([3.0, -2, 1], dtype=torch.float64))).view(24, 24, 24)
    fit = volume_target("wave", DensityMap(5 + 2 * wave, 1.5))
    at_train = torch.cos(2 * torch.pi * (fit.train.coords @ torch.tensor([3.0, -2, 1], dtype=torch.float64)))
    torch.testing.assert_close(fit.train.values[:, 0], 5 + 2 * at_train)
    assert (fit.box_size, fit.pixel_size, fit.data_range) == (12, 1.5, pytest.approx(4, abs=0.1))
    scaled = (fit.test.values - fit.offset) / fit.gain
    assert scaled.mean().item() == pytest.approx(0, abs=1e-12)
    assert scaled.std().item() == pytest.approx(1)
    whole = volume_target("wave", DensityMap(wave, 1.5), downsample=1)
    torch.testing.assert_close(whole.train.values, whole.test.values)


def test_maps_that_say_nothing_are_refused():
    with pytest.raises(InputError, match="constant"):
        volume_target("flat", DensityMap(torch.ones(24, 24, 24), 1.0))
    with pytest.raises(InputError, match="at least 22 are needed"):
        volume_target("tiny", DensityMap(torch.ones(21, 21, 21), 1.0))
