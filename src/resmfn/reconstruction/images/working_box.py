"""The working box of a reconstruction: that of the images, or a smaller one of the same field of view."""

from __future__ import annotations

from dataclasses import dataclass

from resmfn.core.errors import InputError
from resmfn.data import ParticleSet
from resmfn.reconstruction.config import ReconstructionConfig


@dataclass(frozen=True)
class WorkingBox:
    """Side and pixel size of maps, and of images once they are read."""

    box_size: int
    """Pixels."""
    pixel_size: float
    """Å."""

    @property
    def side(self) -> float:
        """Side in Å: that of the images."""
        return self.box_size * self.pixel_size

    @classmethod
    def of(cls, config: ReconstructionConfig, particles: ParticleSet) -> WorkingBox:
        """Return the box that the settings ask for.

        Raises
        ------
        InputError
            It is larger than the images.
        """
        wanted = config.box_size or particles.box_size
        return cls(wanted, particles.pixel_size_in(wanted))

    def mask_radius(self, diameter: float | None) -> float:
        """Return the radius in pixels of a spherical mask of a diameter in Å; by default 0.42 of the box."""
        if diameter is None:
            return 0.42 * self.box_size
        radius = diameter / (2 * self.pixel_size)
        if not 2 <= radius <= 0.5 * self.box_size * (1 + 1e-9):
            raise InputError(
                f"--mask-diameter must lie between 4 pixels and the box, {4 * self.pixel_size:g} to {self.side:g} Å, "
                f"got {diameter:g}"
            )
        return radius
