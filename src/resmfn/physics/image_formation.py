"""From a map and poses to the images that a microscope would record without noise."""

from __future__ import annotations

from torch import Tensor, nn

from resmfn.physics.ctf import specimen_frequencies
from resmfn.physics.optics import Optics
from resmfn.physics.projection import FourierSliceProjector, slice_frames
from resmfn.physics.recorded import recorded_transfer
from resmfn.physics.shift import phase_shift


class ImageFormation(nn.Module):
    """Project, shift, modulate by the CTF; all on the Fourier pixels of the projector, one inverse transform.

    Parameters
    ----------
    projector
        Which pixels, and how slices are taken.
    pixel_size
        Å per pixel.
    """

    def __init__(self, projector: FourierSliceProjector, pixel_size: float) -> None:
        super().__init__()
        self.projector = projector
        self.pixel_size = pixel_size

    def forward(
        self, volume: Tensor, rotation: Tensor, shift: Tensor | None = None, optics: Optics | None = None
    ) -> Tensor:
        """Return clean images ``(n, N, N)``.

        Parameters
        ----------
        volume
            ``(N, N, N)``.
        rotation
            Poses A ``(n, 3, 3)``.
        shift
            ``(n, 2)`` in Å, (rlnOriginXAngst, rlnOriginYAngst): the molecule stands at minus it. None: centered.
        optics
            One entry per image: CTF, aberrations, magnification and what was done to the images since. None: no CTF,
            plain projections.
        """
        return self.from_transform(self.projector.transform(volume), rotation, shift, optics)

    def from_transform(
        self, transform: Tensor, rotation: Tensor, shift: Tensor | None = None, optics: Optics | None = None
    ) -> Tensor:
        """Return the same images from ``projector.transform(volume)``, which batches of one map can share."""
        return self.projector.images(self.coefficients(transform, rotation, shift, optics))

    def coefficients(
        self, transform: Tensor, rotation: Tensor, shift: Tensor | None = None, optics: Optics | None = None
    ) -> Tensor:
        """Return the Fourier coefficients of those images at ``projector.pixels``; complex ``(n, P)``."""
        if optics is not None and optics.magnification is not None:
            rotation = slice_frames(rotation, optics.magnification)
        values = self.projector.slices(transform, rotation)
        pixels, box_size = self.projector.pixels.to(values.device), self.projector.box_size
        if optics is not None and optics.magnification is not None:  # beyond Nyquist the map has nothing
            values = values * (specimen_frequencies(optics, pixels).norm(dim=-1) <= box_size / 2)
        if shift is not None:
            values = values * phase_shift(pixels, shift, self.pixel_size, box_size).to(values.dtype)
        if optics is not None:
            frequencies = pixels.to(values.real.dtype) / (box_size * self.pixel_size)
            transfer = recorded_transfer(optics, frequencies)
            values = values * transfer.to(values.dtype if transfer.is_complex() else values.real.dtype)
        return values
