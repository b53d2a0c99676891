"""A map sampled on the coarser grid that its band needs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from resmfn.fourier import resize_map
from resmfn.physics.projection import (
    extract_slices,
    padded_transform,
)
from resmfn.rotations import point_group

PADDING = 2  # as in RELION; 3 halves the interpolation error (physics/projection.py)


@dataclass(frozen=True)
class MapGrid:
    """A map of a box of ``box_size`` voxels, sampled on the coarser grid that its band needs.

    Gray values do not depend on ``size``. Slices are in the scale of :class:`Observations`: ``fft2`` of a projection
    on the full grid, over ``box_size``.
    """

    box_size: int
    """N: side of the images."""
    size: int
    """M <= N: side of the grid; frequencies up to M / 2 Fourier pixels of the box."""
    symmetry: str = "C1"
    """Point group of the map."""

    @classmethod
    def for_radius(cls, box_size: int, radius: float, symmetry: str = "C1") -> MapGrid:
        """Return the smallest even grid that holds frequencies up to ``radius``, with room to interpolate."""
        return cls(box_size, min(box_size, 2 * (int(radius) + 2)), symmetry)

    @property
    def group(self) -> Tensor:
        """The symmetry operators (m, 3, 3) of the map."""
        return point_group(self.symmetry)

    @property
    def scale(self) -> float:
        """Factor from the transform on this grid to slices of images."""
        return (self.box_size / self.size) ** 3 / self.box_size

    def transform(self, volume: Tensor) -> Tensor:
        """Return the padded transform of a map ``(M, M, M)``, in the scale of slices."""
        return padded_transform(volume, PADDING) * self.scale

    def slices(self, transform: Tensor, rotation: Tensor, pixels: Tensor) -> Tensor:
        """Return slices ``(n, P)`` at poses ``(n, 3, 3)``."""
        return extract_slices(transform, rotation, pixels, PADDING)


def resized(volume: Tensor, size: int) -> Tensor:
    """Return a map on another grid."""
    return volume if volume.shape[0] == size else resize_map(volume, size)
