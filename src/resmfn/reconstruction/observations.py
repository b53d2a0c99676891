"""The images as the reconstruction sees them: whitened Fourier pixels of a half plane, and their CTF."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.data import ParticleSet
from resmfn.fourier import half_plane_from_images, half_plane_pixels, radius_grid, shell_average, soft_sphere
from resmfn.fourier.transforms import fft2_centered
from resmfn.physics import compute_ctf

_READ_BATCH = 1000
_NOISE_SAMPLE = 1000
_LEAST_CORNER = 0.05
"""Share of an image that must lie outside the mask for its noise to be measured there."""


class Observations:
    """Fourier pixels of all images, scaled so that each complex pixel's noise has variance 1.

    An image's noise level comes from its corners, the shape of the spectrum from all images together
    (:meth:`set_noise_power`). A pixel's log-likelihood is ``-|Y - C S|^2`` with S the slice of the map.

    Parameters
    ----------
    values, ctf
        Complex and real ``(n, P)``, pixels by growing radius.
    pixels
        int64 ``(P, 2)``: (kx, ky).
    box_size, pixel_size
        Pixels; Å per pixel.
    noise_level
        ``(n,)``: standard deviation of each image's noise in grey values, divided out of ``values``.
    """

    def __init__(
        self, values: Tensor, ctf: Tensor, pixels: Tensor, *, box_size: int, pixel_size: float, noise_level: Tensor
    ) -> None:
        self._values = values
        self._ctf = ctf
        self.pixels = pixels
        self.box_size = box_size
        self.pixel_size = pixel_size
        self.noise_level = noise_level
        self.radius = pixels.double().norm(dim=1)
        self.shell = self.radius.round().long()
        self.noise_power = torch.ones(box_size // 2 + 1, device=values.device)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self._values.device

    @property
    def radius_max(self) -> float:
        """Largest frequency held, in Fourier pixels."""
        return float(self.radius[-1])

    def n_pixels(self, radius: float) -> int:
        """How many pixels lie within a radius: they come first."""
        return int((self.radius <= radius + 1e-6).sum())

    def set_noise_power(self, power: Tensor) -> None:
        """Set the noise variance of a complex pixel in each shell ``(box_size // 2 + 1,)``."""
        self.noise_power = power.to(self.noise_power)

    def batch(self, index: Tensor, n_pixels: int) -> tuple[Tensor, Tensor]:
        """Return whitened values and CTF ``(m, n_pixels)`` of some images."""
        gain = self.noise_power[self.shell[:n_pixels]].rsqrt()
        return self._values[index, :n_pixels] * gain, self._ctf[index, :n_pixels] * gain


def observe(particles: ParticleSet, *, mask_radius: float, device: torch.device) -> Observations:
    """Read all images once and keep their Fourier pixels up to Nyquist.

    Parameters
    ----------
    particles
        Images and optics.
    mask_radius
        Pixels; what is outside is taken for noise.
    device
        Where to keep them: 12 bytes a pixel of the half plane, 18 kB an image of 64^2.
    """
    box_size, pixel_size = particles.box_size, particles.pixel_size
    outside = _outside(box_size, mask_radius)
    # Frequency 0 is left out: the mean of the corners was taken off each image.
    pixels = half_plane_pixels((box_size - 1) // 2, radius_min=0.5)
    frequencies = pixels.float() / (box_size * pixel_size)
    values, ctf, levels, spectra = [], [], [], []
    for start in range(0, len(particles), _READ_BATCH):
        rows = slice(start, min(start + _READ_BATCH, len(particles)))
        images = particles.read_images(rows)
        noise = images[:, outside]
        level = noise.std(dim=1)
        if not bool((level > 0).all()):
            row = start + int((level <= 0).nonzero()[0]) + 1
            raise InputError(
                f"{particles.path}: row {row}: the image has no noise outside the mask, so its noise cannot be "
                "measured; images must not be masked: give them as they were extracted, or a smaller --mask-diameter"
            )
        images = (images - noise.mean(dim=1)[:, None, None]) / level[:, None, None]
        if start < _NOISE_SAMPLE:
            spectra.append(_corner_spectrum(images, mask_radius))
        values.append((half_plane_from_images(images, pixels) / box_size).to(device))
        optics = None if particles.optics is None else particles.optics.select(rows)
        contrast = torch.ones(len(images), len(pixels)) if optics is None else compute_ctf(optics, frequencies)
        ctf.append(contrast.to(device))
        levels.append(level)
    observations = Observations(
        torch.cat(values),
        torch.cat(ctf),
        pixels.to(device),
        box_size=box_size,
        pixel_size=pixel_size,
        noise_level=torch.cat(levels).to(device),
    )
    observations.set_noise_power(torch.stack(spectra).mean(dim=0))
    return observations


def _outside(box_size: int, mask_radius: float) -> Tensor:
    radius = radius_grid(box_size, 2)
    outside = radius > min(mask_radius, box_size / 2)
    if float(outside.float().mean()) < _LEAST_CORNER:
        outside = radius > 0.9 * box_size / 2
    return outside


def _corner_spectrum(images: Tensor, mask_radius: float) -> Tensor:
    """Return the mean power of the noise around the particles in each shell, 1 for white noise of variance 1."""
    box_size = images.shape[-1]
    edge = 0.05 * box_size
    window = 1 - soft_sphere(box_size, min(mask_radius, box_size / 2 - edge), edge, ndim=2)
    power = fft2_centered(images * window).abs().square().mean(dim=0) / window.square().sum()
    shells = shell_average(power, box_size)
    shells[:2] = shells[2]  # the mean that was taken off each image empties the first, and the window the next
    # The window smears neighboring shells anyway; averaging them steadies the estimate.
    smooth = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(shells[None, None], (2, 2), mode="replicate"), 5, stride=1
    )
    return smooth[0, 0].clamp_min(1e-3)
