"""Noise spectra: each optics group's own, from images all over the set, whatever stands in some corners."""

import torch

from resmfn.core import make_generator
from resmfn.fourier import half_plane_pixels, radius_grid
from resmfn.fourier.transforms import fft2_centered, ifft2_centered
from resmfn.reconstruction.images.noise import COMMON_IMAGES, corner_spectra, group_spectra, sampled_images
from resmfn.reconstruction.images.observations import Observations

BOX = 48


def colored(n: int, power: torch.Tensor, seed: int) -> torch.Tensor:
    """Return noise images with a power for each shell."""
    white = torch.randn(n, BOX, BOX, generator=make_generator(seed))
    shell = radius_grid(BOX, 2).round().long().clamp_max(BOX // 2)
    return ifft2_centered(fft2_centered(white) * power[shell].sqrt()).real


def test_each_group_gets_its_own_spectrum() -> None:
    rising, falling = torch.linspace(0.5, 1.5, BOX // 2 + 1), torch.linspace(1.5, 0.5, BOX // 2 + 1)
    images = torch.cat((colored(600, rising, 1), colored(600, falling, 2)))
    group = torch.arange(1200) // 600
    found = group_spectra(corner_spectra(images, 18.0), group, 2)
    assert found.shape == (2, BOX // 2 + 1)
    for mine, power in zip(found, (rising, falling), strict=True):
        shared = COMMON_IMAGES / (600 + COMMON_IMAGES)
        expected = (1 - shared) * power + shared * (rising + falling) / 2
        torch.testing.assert_close(mine[4:-3], expected[4:-3], rtol=0.08, atol=0.0)


def test_a_group_far_noisier_than_the_others_keeps_its_spectrum() -> None:
    """Merged data sets: one resampled from coarser pixels has nothing where the other has noise."""
    spectra, group = torch.full((400, 20), 0.05), torch.arange(400) // 300
    spectra[group == 1] = 1.0
    spectra[310, 3] = 50.0  # carbon
    found = group_spectra(spectra, group, 2)
    common = (300 * 0.05 + 100) / 400
    expected = (100 + COMMON_IMAGES * common) / (100 + COMMON_IMAGES)
    torch.testing.assert_close(found[1], torch.full((20,), expected), rtol=0.02, atol=0.0)
    assert float(found[0].max()) < 0.07


def test_a_group_of_few_images_gets_what_all_have() -> None:
    spectra = torch.ones(101, 20)
    spectra[100] = 3.0
    found = group_spectra(spectra, torch.tensor([0] * 100 + [1]), 2)
    torch.testing.assert_close(found[0], torch.ones(20), rtol=0.02, atol=0.0)
    assert 1.0 < float(found[1].mean()) < 1.2


def test_carbon_in_some_corners_changes_little() -> None:
    images = torch.randn(400, BOX, BOX, generator=make_generator(3))
    one = torch.zeros(400, dtype=torch.int64)
    clean = group_spectra(corner_spectra(images, 18.0), one, 1)
    images[::10, :, :8] += 4.0
    spectra = corner_spectra(images, 18.0)
    dirty, plain = group_spectra(spectra, one, 1)[0], spectra.mean(dim=0)
    assert float((dirty - clean[0]).abs().max()) < 0.15 * float((plain - clean[0]).abs().max())


def test_images_are_sampled_evenly_over_every_group() -> None:
    group = torch.arange(30_000) % 3
    group[:100] = 3
    taken = sampled_images(group)
    for number in range(4):
        rows = (group == number).nonzero()[:, 0]
        mine = taken[rows].nonzero()[:, 0]
        assert len(mine) == min(len(rows), 1000)
        gaps = mine.diff()
        assert int(gaps.max()) - int(gaps.min()) <= 1


def test_images_are_whitened_by_the_spectrum_of_their_group() -> None:
    pixels = half_plane_pixels(10, radius_min=0.5)
    values = torch.ones(4, len(pixels), dtype=torch.complex64)
    seen = Observations(
        values,
        torch.ones(4, len(pixels)),
        pixels,
        box_size=BOX,
        pixel_size=2.0,
        noise_level=torch.ones(4),
        noise_group=torch.tensor([0, 1, 0, 1]),
    )
    seen.set_noise_power(torch.stack((torch.full((BOX // 2 + 1,), 4.0), torch.full((BOX // 2 + 1,), 9.0))))
    found, ctf = seen.batch(torch.tensor([1, 2]), len(pixels))
    torch.testing.assert_close(found.abs().mean(dim=1), torch.tensor([1 / 3, 1 / 2]))
    torch.testing.assert_close(ctf.mean(dim=1), torch.tensor([1 / 3, 1 / 2]))
