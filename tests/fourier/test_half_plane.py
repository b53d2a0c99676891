"""Between images and lists of Fourier pixels."""

import pytest
import torch

from resmfn.core import ShapeError
from resmfn.fourier import (
    fft2_centered,
    half_plane_from_images,
    half_plane_pixels,
    ifft2_centered,
    images_from_half_plane,
    radius_grid,
)


@pytest.mark.parametrize("size", [15, 16])
def test_coefficients_are_those_of_the_centered_transform(size: int, generator: torch.Generator) -> None:
    images = torch.randn(3, size, size, generator=generator, dtype=torch.float64)
    pixels = half_plane_pixels(6.5)
    spectrum = fft2_centered(images)
    expected = spectrum[:, pixels[:, 1] + size // 2, pixels[:, 0] + size // 2]
    torch.testing.assert_close(half_plane_from_images(images, pixels), expected)


@pytest.mark.parametrize("size", [15, 16])
def test_images_hold_these_frequencies_and_no_others(size: int, generator: torch.Generator) -> None:
    images = torch.randn(2, size, size, generator=generator, dtype=torch.float64)
    radius = 5.2
    kept = ifft2_centered(fft2_centered(images) * (radius_grid(size, 2) <= radius)).real
    pixels = half_plane_pixels(radius)
    torch.testing.assert_close(images_from_half_plane(half_plane_from_images(images, pixels), pixels, size), kept)


@pytest.mark.parametrize("size", [7, 8])
def test_all_pixels_of_a_box_give_the_image_back(size: int, generator: torch.Generator) -> None:
    image = torch.randn(size, size, generator=generator, dtype=torch.float64)
    half = size // 2
    own_mates = (0,) if size % 2 else (0, half)
    rows = range(-half if size % 2 else 1 - half, half + 1)
    pixels = torch.tensor([(x, y) for x in range(half + 1) for y in rows if y >= 0 or x not in own_mates])
    torch.testing.assert_close(images_from_half_plane(half_plane_from_images(image, pixels), pixels, size), image)


@pytest.mark.parametrize("pixel", [(0, 0), (4, 0), (0, 4), (4, 4)])
def test_of_a_pixel_that_is_its_own_mate_the_real_part_counts(pixel: tuple[int, int]) -> None:
    value, index = torch.tensor([2 + 3j], dtype=torch.complex128), torch.tensor([pixel])
    image = images_from_half_plane(value, index, 8)
    torch.testing.assert_close(half_plane_from_images(image, index), value.real.to(value.dtype))


def test_gradients_flow(generator: torch.Generator) -> None:
    pixels = half_plane_pixels(2.0)
    values = torch.randn(2, len(pixels), generator=generator, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: images_from_half_plane(v, pixels, 5), (values,))


def test_images_must_be_square() -> None:
    with pytest.raises(ShapeError, match=r"must be square.*\(4, 5\)"):
        half_plane_from_images(torch.zeros(4, 5), half_plane_pixels(1.0))
