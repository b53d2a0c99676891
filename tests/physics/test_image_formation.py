"""Shifts, CTF and their order: images as the conventions say."""

import pytest
import torch
from torch.autograd import gradcheck

from resmfn.core import make_generator
from resmfn.fourier import fft2_centered, half_plane_pixels
from resmfn.physics import FourierSliceProjector, GaussianBlobs, ImageFormation, Optics, compute_ctf, phase_shift
from resmfn.rotations import exp_so3, random_rotations

DOUBLE = torch.float64
PIXEL_SIZE = 1.5


def blobs() -> GaussianBlobs:
    return GaussianBlobs.random(6, radius=5.0, width=1.7, generator=make_generator(5), dtype=DOUBLE)


def poses(n: int) -> torch.Tensor:
    return random_rotations(n, generator=make_generator(6), dtype=DOUBLE)


def center_of_mass(images: torch.Tensor) -> torch.Tensor:
    """(x, y) in pixels from the origin."""
    axis = torch.arange(images.shape[-1], dtype=images.dtype) - images.shape[-1] // 2
    total = images.sum(dim=(1, 2))
    return torch.stack(((images.sum(dim=1) * axis).sum(-1) / total, (images.sum(dim=2) * axis).sum(-1) / total), dim=1)


@pytest.mark.parametrize("box_size", [32, 33])
def test_the_molecule_stands_at_minus_the_shift(box_size: int) -> None:
    form = ImageFormation(FourierSliceProjector(box_size), PIXEL_SIZE)
    volume = blobs().volume(box_size)
    shift = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-1.2, 4.1]], dtype=DOUBLE)
    moved = center_of_mass(form(volume, poses(3), shift)) - center_of_mass(form(volume, poses(3)))
    torch.testing.assert_close(moved, -shift / PIXEL_SIZE, rtol=0, atol=0.1)


def test_a_whole_pixel_shift_is_a_roll() -> None:
    form = ImageFormation(FourierSliceProjector(32), PIXEL_SIZE)
    volume = blobs().volume(32)
    shift = torch.tensor([[2 * PIXEL_SIZE, -3 * PIXEL_SIZE]], dtype=DOUBLE)
    torch.testing.assert_close(form(volume, poses(1), shift), form(volume, poses(1)).roll((3, -2), dims=(1, 2)))


def test_phase_shifts_compose_and_invert(generator: torch.Generator) -> None:
    pixels = half_plane_pixels(6.0)
    a, b = torch.randn(2, 4, 2, generator=generator, dtype=DOUBLE)
    of_sum = phase_shift(pixels, a + b, PIXEL_SIZE, 16)
    torch.testing.assert_close(of_sum, phase_shift(pixels, a, PIXEL_SIZE, 16) * phase_shift(pixels, b, PIXEL_SIZE, 16))
    torch.testing.assert_close(of_sum * phase_shift(pixels, -a - b, PIXEL_SIZE, 16), torch.ones_like(of_sum))


def test_the_ctf_multiplies_the_transform_of_the_image() -> None:
    project = FourierSliceProjector(33)
    optics = Optics.uniform(2, dtype=DOUBLE)
    optics = Optics(**vars(optics) | {"defocus_v": optics.defocus_v - 3000, "defocus_angle": optics.defocus_angle + 25})
    volume = blobs().volume(33)
    plain, modulated = project(volume, poses(2)), ImageFormation(project, PIXEL_SIZE)(volume, poses(2), None, optics)
    k = (torch.arange(33, dtype=DOUBLE) - 16) / (33 * PIXEL_SIZE)
    fy, fx = torch.meshgrid(k, k, indexing="ij")
    ctf = compute_ctf(optics, torch.stack((fx, fy), dim=-1))
    torch.testing.assert_close(fft2_centered(modulated), fft2_centered(plain) * ctf)


def test_a_molecule_is_white_through_a_phase_plate() -> None:
    optics = Optics.uniform(1, defocus=1000.0, dtype=DOUBLE)
    optics = Optics(**vars(optics) | {"phase_shift": torch.tensor([90.0], dtype=DOUBLE)})
    image = ImageFormation(FourierSliceProjector(32), PIXEL_SIZE)(blobs().volume(32), poses(1), None, optics)
    plain = FourierSliceProjector(32)(blobs().volume(32), poses(1))
    assert torch.corrcoef(torch.stack((image.flatten(), plain.flatten())))[0, 1] > 0.9


def test_batches_share_one_transform() -> None:
    form = ImageFormation(FourierSliceProjector(32), PIXEL_SIZE)
    volume, shift, optics = blobs().volume(32), torch.ones(4, 2, dtype=DOUBLE), Optics.uniform(4, dtype=DOUBLE)
    together = form(volume, poses(4), shift, optics)
    transform = form.projector.transform(volume)
    apart = [
        form.from_transform(transform, poses(4)[i], shift[i], optics.select(i)) for i in (slice(0, 3), slice(3, 4))
    ]
    torch.testing.assert_close(torch.cat(apart), together)


def test_double_precision_optics_do_not_change_the_precision_of_images(generator: torch.Generator) -> None:
    form = ImageFormation(FourierSliceProjector(8), PIXEL_SIZE)
    volume, rotation = torch.randn(8, 8, 8, generator=generator), random_rotations(2, generator=generator)
    images = form(volume, rotation, torch.zeros(2, 2, dtype=DOUBLE), Optics.uniform(2, dtype=DOUBLE))
    assert images.dtype == torch.float32


def test_gradients_to_map_rotation_and_shift(generator: torch.Generator) -> None:
    form = ImageFormation(FourierSliceProjector(4), PIXEL_SIZE)
    optics = Optics.uniform(1, dtype=DOUBLE)
    volume = torch.randn(4, 4, 4, generator=generator, dtype=DOUBLE, requires_grad=True)
    tangent, shift = (0.3 * torch.randn(1, d, generator=generator, dtype=DOUBLE) for d in (3, 2))

    def images(v: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return form(v, exp_so3(t) @ poses(1), s, optics)

    assert gradcheck(images, (volume, tangent.requires_grad_(), shift.requires_grad_()))
