"""The images as the reconstruction sees them: whitened Fourier pixels of a half plane, and their CTF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.chunked_work import ChunkedWork, Found
from resmfn.core.errors import InputError
from resmfn.core.processes import Team
from resmfn.data import ParticleSet
from resmfn.fourier import half_plane_from_images, half_plane_pixels, radius_grid
from resmfn.physics import Optics, compute_ctf, ctf_along_defocus, fit_planes, planes
from resmfn.reconstruction.images.image_chunks import read_once
from resmfn.reconstruction.images.magnification import Magnification, magnification_of
from resmfn.reconstruction.images.noise import corner_spectra, group_spectra, sampled_images

_CTF_BATCH, _CTF_POINTS = 1000, 2_000_000
"""Most images, and Fourier pixels, whose CTF is computed at a time: it takes some 40 bytes a pixel."""
_LEAST_CORNER = 0.05
"""Share of an image that must lie outside the mask for its noise to be measured there."""


class Observations:
    """Fourier pixels of all images, scaled so that each complex pixel's noise has variance 1.

    An image's noise level comes from its corners, the shape of the spectrum from all images of its optics group
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
        ``(n,)``: standard deviation of each image's noise in gray values, divided out of ``values``.
    noise_group
        int64 ``(n,)``: the optics group of each image, from 0; by default one group.
    team
        The processes that share the images; ``values`` and ``ctf`` then hold this one's block of them only. Indices
        mean the images of all.
    """

    def __init__(
        self,
        values: Tensor,
        ctf: Tensor,
        pixels: Tensor,
        *,
        box_size: int,
        pixel_size: float,
        noise_level: Tensor,
        noise_group: Tensor | None = None,
        team: Team | None = None,
    ) -> None:
        self._inverted = False
        self._keep(values, ctf, pixels)
        self.box_size = box_size
        self.pixel_size = pixel_size
        self.noise_level = noise_level
        self.magnification = Magnification()
        """Which slices of a map the images show: those of their poses, unless another is set."""
        self.optics: Optics | None = None
        """Of all images, as their files say; None where they have no CTF, or where only the CTF itself is known."""
        self.defocus_offset = torch.zeros_like(noise_level)
        """(n,): Å that images have been found to be off from the defocus of their files."""
        self.team = team or Team()
        self._block = self.team.share_of(len(noise_level))
        self.noise_group = torch.zeros_like(noise_level, dtype=torch.int64) if noise_group is None else noise_group
        self.n_groups = int(self.noise_group.max()) + 1
        self.noise_power = torch.ones(self.n_groups, box_size // 2 + 1, device=values.device)
        self.gain = torch.ones(len(noise_level), device=values.device)
        self.chunked_work = ChunkedWork()

    def _keep(self, values: Tensor, ctf: Tensor, pixels: Tensor) -> None:
        self._values, self._ctf, self.pixels = values, ctf, pixels
        self.radius = pixels.double().norm(dim=1)
        self.shell = self.radius.round().long()

    def __len__(self) -> int:
        return len(self.noise_level)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self._values.device

    @property
    def gray_scale(self) -> float:
        """Factor from maps in the scale of these pixels to the images' gray values."""
        return float(self.noise_level.median())

    @property
    def radius_max(self) -> float:
        """Largest frequency held, in Fourier pixels."""
        return float(self.radius[-1])

    def in_chunks(
        self,
        what: str,
        index: Tensor,
        size: int,
        work: Callable[[Tensor], Found],
        *,
        order: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Found]]:
        """Yield the positions in ``index`` (n,) of the images that this process holds, and what work made of them.

        ``size`` at a time, or fewer where memory runs out: :class:`ChunkedWork`. One after the other, or in an order of
        the positions (n,).
        """
        held = (index >= self._block.start) & (index < self._block.stop)
        positions = held.nonzero()[:, 0] if order is None else order[held[order]]
        return self.chunked_work(what, positions, size, work)

    def n_pixels(self, radius: float) -> int:
        """How many pixels lie within a radius: they come first."""
        return int((self.radius <= radius + 1e-6).sum())

    def shell_matrix(self, n_pixels: int) -> Tensor:
        """Return what sums the first pixels by shell, as a product from the right: (n_pixels, shells) of 0 and 1."""
        shell = self.shell[:n_pixels]
        matrix = torch.zeros(n_pixels, int(shell.max()) + 1, device=shell.device)
        matrix[torch.arange(n_pixels), shell] = 1
        return matrix

    def set_noise_power(self, power: Tensor) -> None:
        """Set the noise variance of a complex pixel in each shell, (groups, shells), or (shells,) for all groups."""
        self.noise_power = power.to(self.noise_power).expand_as(self.noise_power).clone()

    def set_gain(self, gain: Tensor) -> None:
        """Set the gain of each image (n,), 1 in the mean; it multiplies the CTF."""
        self.gain = gain.to(self.gain)

    def set_defocus(self, offset: Tensor) -> None:
        """Set by how many Å (n,) each image is off from the defocus of its file; its CTF is made anew."""
        self.defocus_offset = offset.to(self.defocus_offset)
        # All of them and in the chunks in which they are read: a run that goes on has the same to the last bit.
        _contrast_transfer(self._refined_optics(), self._block, self._frequencies(), self._ctf)

    def known_optics(self) -> Optics:
        """Return the optics of all images, as their files say; without a CTF there is no defocus to ask for."""
        if self.optics is None:
            raise RuntimeError("the optics of these images are not known")
        return self.optics

    def _refined_optics(self) -> Optics | None:
        if self.optics is None:
            return None
        return self.optics.with_defocus(self.defocus_offset.to(self.optics.defocus_u))

    def _frequencies(self) -> Tensor:
        # Divided on the CPU: a GPU would multiply by the reciprocal, which rounds otherwise.
        return (self.pixels.cpu().to(self._ctf.dtype) / (self.box_size * self.pixel_size)).to(self.device)

    def invert(self) -> None:
        """Invert the contrast of all images."""
        self._inverted = not self._inverted
        self._values.neg_()

    def read_again(self, particles: ParticleSet, *, mask_radius: float, radius_max: int) -> None:
        """Hold the same images to another radius, in place; noise, gains and contrast stay what they are.

        Parameters
        ----------
        particles, mask_radius
            As for :func:`observe`. What was held is given up before.
        radius_max
            Fourier pixels.
        """
        device, nothing = self.device, self._ctf.new_empty(len(self._ctf), 0)  # a slice would hold all of it
        self._keep(nothing.to(self._values), nothing, self.pixels[:0])
        pixels = half_plane_pixels(radius_max, radius_min=0.5)
        with self.team.refusing_together():
            read = _read(particles, self._block, pixels, self.box_size, mask_radius, device, with_spectra=False)
        values = read.values.neg_() if self._inverted else read.values
        self._keep(values, torch.ones(values.shape, device=device), pixels.to(device))
        self.set_defocus(self.defocus_offset)

    def batch(self, index: Tensor, n_pixels: int) -> tuple[Tensor, Tensor]:
        """Return whitened values and CTF ``(m, n_pixels)`` of some images that this process holds.

        The CTF is 0 at pixels that show frequencies of the map beyond those of all ``n_pixels``.
        """
        held, whiten = index - self._block.start, self._whitening(index, n_pixels)
        values, ctf = self._values[held, :n_pixels] * whiten, self._ctf[held, :n_pixels] * whiten
        return values, self.magnification.in_band(ctf * self.gain[index, None], index, self.pixels[:n_pixels])

    def ctf_along_defocus(self, index: Tensor, n_pixels: int) -> tuple[Tensor, Tensor]:
        """Return z and r ``(m, n_pixels)`` of :func:`resmfn.physics.ctf_along_defocus`, from the files' defocus on.

        z is weighted as the CTF of :meth:`batch` is.
        """
        known = self.known_optics()
        optics = known.select(index.to(known.defocus_u.device)).to(self.device)
        z, rate = ctf_along_defocus(optics, self._frequencies()[:n_pixels])
        weight = self._whitening(index, n_pixels) * self.gain[index, None]
        return z * self.magnification.in_band(weight, index, self.pixels[:n_pixels]), rate

    def _whitening(self, index: Tensor, n_pixels: int) -> Tensor:
        """Return what the pixels of some images are multiplied by: (m, n_pixels), or (n_pixels,) for all alike."""
        whiten = self.noise_power.rsqrt()[:, self.shell[:n_pixels]]
        return whiten[0] if self.n_groups == 1 else whiten[self.noise_group[index]]


def observe(
    particles: ParticleSet,
    *,
    mask_radius: float,
    device: torch.device,
    box_size: int | None = None,
    radius_max: int | None = None,
    team: Team | None = None,
) -> Observations:
    """Read every image once, crop it to the working box, and keep its Fourier pixels up to a radius.

    Parameters
    ----------
    particles
        Images and optics. Rows that show one image share its reading.
    mask_radius
        Pixels of the working box; what is outside is taken for noise.
    device
        Where to keep them: 12 bytes a pixel of the half plane, 18 kB an image of 64^2.
    box_size
        Side of the working box in pixels, at most that of the images; by default theirs.
    radius_max
        Fourier pixels; by default Nyquist.
    team
        The processes that share the images: each reads and keeps its own block.
    """
    team = team or Team()
    size = box_size or particles.box_size
    pixel_size = particles.pixel_size * particles.box_size / size
    # Frequency 0 is left out: the mean of the corners was taken off each image.
    pixels = half_plane_pixels(radius_max or (size - 1) // 2, radius_min=0.5)
    with team.refusing_together():
        read = _read(particles, team.share_of(len(particles)), pixels, size, mask_radius, device)
    group = noise_groups(particles)
    team.sum_(read.noise_level, read.spectra, read.n_read)
    observations = Observations(
        read.values,
        torch.ones(read.values.shape, device=device),
        pixels.to(device),
        box_size=size,
        pixel_size=pixel_size,
        noise_level=read.noise_level.to(device),
        noise_group=group.to(device),
        team=team,
    )
    observations.magnification = magnification_of(particles.optics, device)
    if particles.optics is not None:
        observations.optics = particles.optics
        observations.set_defocus(observations.defocus_offset)
    seen = read.n_read > 0
    spectra = read.spectra[seen] / read.n_read[seen, None]
    observations.set_noise_power(group_spectra(spectra, group[sampled_images(group)][seen], observations.n_groups))
    return observations


@dataclass(frozen=True)
class _Reading:
    """One process's block of the images, with what its team adds up."""

    values: Tensor
    """(block, P)."""
    noise_level: Tensor
    """(n,): of all images, 0 for those of other processes."""
    spectra: Tensor
    """(m, shells): noise power of the images sampled, 0 where another process reads them."""
    n_read: Tensor
    """(m,): how often this process reads each of them: 0 or 1."""


def _read(
    particles: ParticleSet,
    block: range,
    pixels: Tensor,
    size: int,
    mask_radius: float,
    device: torch.device,
    *,
    with_spectra: bool = True,
) -> _Reading:
    outside, pixels = _outside(size, mask_radius).to(device), pixels.to(device)
    values = torch.empty(len(block), len(pixels), dtype=torch.complex64, device=device)
    level = torch.zeros(len(particles), device=device)
    sampled = sampled_images(noise_groups(particles)) & with_spectra
    place = sampled.cumsum(0) - 1
    n_sampled = int(sampled.sum())
    spectra, n_read = torch.zeros(n_sampled, size // 2 + 1), torch.zeros(n_sampled)
    for chunk in read_once(particles, size, block):
        images = chunk.images.to(device)
        _require_noise(particles, chunk.row, images[:, outside].std(dim=1).cpu())
        images = images - planes(fit_planes(images, outside), size)
        noise = images[:, outside]
        deviation = noise.std(dim=1)
        images = (images - noise.mean(dim=1)[:, None, None]) / deviation[:, None, None]
        looked_at = sampled[chunk.row]
        if bool(looked_at.any()):  # of large sets, a chunk may have none
            spectra[place[chunk.row[looked_at]]] = corner_spectra(images[looked_at.to(device)], mask_radius).cpu()
            n_read[place[chunk.row[looked_at]]] = 1
        shown, image = chunk.shown_by.to(device), chunk.image.to(device)
        values[shown - block.start] = (half_plane_from_images(images, pixels) / size)[image]
        level[shown] = deviation[image]
    return _Reading(values, level, spectra, n_read)


def noise_groups(particles: ParticleSet) -> Tensor:
    """Return the optics group of each image (n,), from 0; one group where the file has none."""
    if particles.groups is None:
        return torch.zeros(len(particles), dtype=torch.int64)
    return torch.from_numpy(particles.groups).unique(return_inverse=True)[1]


def _require_noise(particles: ParticleSet, rows: Tensor, deviation: Tensor) -> None:
    if not bool((deviation > 0).all()):
        row = int(rows[deviation <= 0].min()) + 1
        raise InputError(
            f"{particles.path}: row {row}: the image is constant outside the mask, so its noise cannot be measured; "
            "give unmasked images, as extracted, or a smaller --mask-diameter"
        )


def _contrast_transfer(optics: Optics | None, block: range, frequencies: Tensor, ctf: Tensor) -> None:
    """Write the CTF of each row of a block into ``ctf`` (m, P); nothing where there are no optics."""
    if optics is None:
        return
    step = max(1, min(_CTF_BATCH, _CTF_POINTS // len(frequencies)))
    for start in range(0, len(block), step):
        rows = slice(start, min(start + step, len(block)))
        of_rows = optics.select(slice(block.start + rows.start, block.start + rows.stop))
        ctf[rows] = compute_ctf(of_rows.to(ctf.device), frequencies)


def _outside(box_size: int, mask_radius: float) -> Tensor:
    radius = radius_grid(box_size, 2)
    outside = radius > min(mask_radius, box_size / 2)
    if float(outside.float().mean()) < _LEAST_CORNER:
        outside = radius > 0.9 * box_size / 2
    return outside
