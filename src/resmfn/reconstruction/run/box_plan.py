"""The box of a run's maps: as small as its first phases allow, and larger as the resolution asks for it.

Frequencies are Fourier pixels, which do not depend on the box: its side in Å stays. A larger box holds more of them, of
maps and of images, which are read again for it. What a round finds is what it would find in the largest box, for every
round knows before it begins how far it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resmfn.core.errors import InputError
from resmfn.fourier import quick_size
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox

SIZES = (64, 96, 144, 216, 324, 486, 720, 1080)
"""Voxels a side. By steps of 1.5, images are read three or four times at most; no prime factor is above 5."""
WORTH = 1.25
"""A box is passed over where the largest is less than so many times its side: it saves less than another reading."""
LEAST_RADIUS = 4
"""Fourier pixels that the finest resolution asked for has at least: a map of fewer tells no pose."""
ROOM = 2
"""Fourier pixels between the radius of a box and its half side: slices are interpolated."""


@dataclass(frozen=True)
class BoxPlan:
    """Boxes that a run may work in."""

    image_size: int
    """Pixels a side of the images; frequencies are counted in their Fourier pixels."""
    radius: int
    """Largest frequency that the run may use."""
    first: int
    """Voxels a side of the first box."""
    largest: int
    """Voxels a side of the last box, if the images resolve so much."""

    @classmethod
    def fixed(cls, size: int) -> BoxPlan:
        """Return the plan of a run whose box is that of the images as they are read."""
        return cls(size, (size - 1) // 2, size, size)

    @classmethod
    def by_default(cls, size: int) -> BoxPlan:
        """Return the plan for images of a size where nothing else is asked for."""
        whole = cls.fixed(size)
        return cls(size, whole.radius, whole.holding(0), size)

    @classmethod
    def of(cls, config: ReconstructionConfig, box: WorkingBox, first_radius: float) -> BoxPlan:
        """Return the plan of a run.

        Parameters
        ----------
        config
            A box size there is kept from the first image to the last map.
        box
            Of the images as they are read.
        first_radius
            Largest frequency of the phases before the first round.

        Raises
        ------
        InputError
            The final resolution is finer than the images.
        """
        size = box.box_size
        whole = cls.fixed(size)
        if config.box_size is not None:
            return whole
        if config.final_resolution is not None:
            whole = whole.to_resolution(config.final_resolution, box)
        return cls(size, whole.radius, whole.holding(first_radius), whole.largest)

    def to_resolution(self, resolution: float, box: WorkingBox) -> BoxPlan:
        """Return a plan that ends at a resolution in Å."""
        if resolution < 2 * box.pixel_size * (1 - 1e-6):
            raise InputError(
                f"--final-resolution must be at least two pixels, {2 * box.pixel_size:g} Å, got {resolution:g}"
            )
        if resolution > box.side / LEAST_RADIUS:
            raise InputError(
                f"--final-resolution must be finer than a quarter of the images' side, {box.side / LEAST_RADIUS:g} Å, "
                f"got {resolution:g}"
            )
        radius = min(int(box.side / resolution + 1e-6), self.radius)
        largest = min(quick_size(2 * (radius + ROOM)), self.image_size)
        return BoxPlan(self.image_size, radius, min(self.first, largest), largest)

    def require_reached(self, size: int, run: Path) -> None:
        """Refuse to go on with a run that has already reached a larger box than it may have now.

        Raises
        ------
        InputError
            States both boxes.
        """
        if size > self.largest:
            raise InputError(
                f"{run} has reached a box of {size}, and --memory allows one of {self.largest}; give more, or start "
                "again with --overwrite"
            )

    def holding(self, radius: float) -> int:
        """Return the smallest box that holds a radius, or the largest if none does."""
        smaller = (size for size in SIZES if size * WORTH < self.largest)
        return next((size for size in smaller if self.radius_of(size) >= radius), self.largest)

    @property
    def is_limited(self) -> bool:
        """Whether the images hold finer detail than the run may use."""
        return self.radius < (self.image_size - 1) // 2

    def up_to(self, size: int) -> BoxPlan:
        """Return the same plan, ending at one of its boxes."""
        return BoxPlan(self.image_size, self.radius_of(size), self.first, size)

    def sizes(self) -> list[int]:
        """Return all boxes, from the first to the largest."""
        smaller = (size for size in SIZES if self.first < size and size * WORTH < self.largest)
        return sorted({self.first, *smaller, self.largest})

    def radius_of(self, size: int) -> int:
        """Return the largest frequency that maps of a box hold, and that images are kept to."""
        return min(self.radius, (size - 1) // 2 if size >= self.image_size else size // 2 - ROOM)
