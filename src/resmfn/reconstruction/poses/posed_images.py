"""A set of images with their poses, and its insertion into Fourier space."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from resmfn.physics.projection import slice_order
from resmfn.physics.shift import phase_shift
from resmfn.physics.trilinear import points_at_a_time
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import SliceSums

_LEAST_CHUNK = 1_000_000
"""Points that are inserted into sums of their own before these are added."""
_POINTS_A_VOXEL = 0.25
"""Or so many for each voxel of the sums, if that is more: clearing and adding them then takes next to no time."""
_LEAST_SHARE = 1e-3
"""Of an image at a copy of its pose, below which it is not inserted there."""


@dataclass(frozen=True)
class CopyShares:
    """How likely images show each of the symmetric copies of their poses."""

    group: Tensor
    """(m, 3, 3)."""
    share: Tensor
    """(n, m): sums to 1."""

    def select(self, index: Tensor | slice) -> CopyShares:
        """Return those of some images."""
        return CopyShares(self.group, self.share[index])


@dataclass
class PosedImages:
    """A set of images with their poses."""

    index: Tensor
    """int64 (m,): its images."""
    poses: Poses
    """Of its images, in the order of ``index``."""
    particle_probability: Tensor | None = None
    """(m,): probability of each to show the molecule, by which it counts; None is 1."""
    copies: CopyShares | None = None
    """Of a map whose symmetry is relaxed: each image is then inserted at all copies of its pose, by their shares."""

    def select(self, index: Tensor) -> PosedImages:
        """Return some of the images, by their positions."""
        probability = None if self.particle_probability is None else self.particle_probability[index]
        copies = None if self.copies is None else self.copies.select(index)
        return PosedImages(self.index[index], self.poses.select(index), probability, copies)

    def at_copies(self) -> PosedImages:
        """Return the images at every copy of their poses that they are likely to show, by how likely."""
        if self.copies is None:
            return self
        group, share = self.copies.group.to(self.poses.rotation), self.copies.share
        image, copy = (share > _LEAST_SHARE).nonzero().unbind(dim=1)
        weight = share[image, copy]
        if self.particle_probability is not None:
            weight = weight * self.particle_probability[image]
        poses = Poses(self.poses.rotation[image] @ group[copy], self.poses.shift[image])
        return PosedImages(self.index[image], poses, weight)


def insert_images(observations: Observations, posed: PosedImages, grid: MapGrid, radius: float) -> SliceSums:
    """Insert a set of images at their poses; with several processes, all of its images, everywhere."""
    sums = SliceSums(grid, observations.device)
    n_pixels = observations.n_pixels(radius)
    pixels = observations.pixels[:n_pixels]
    posed = posed.at_copies()

    def inserted(chunk: Tensor) -> SliceSums:
        found = SliceSums(grid, observations.device)
        for rows in chunk.split(max(1, points_at_a_time(observations.device) // n_pixels)):
            values, ctf = observations.batch(posed.index[rows], n_pixels)
            poses = posed.poses.select(rows)
            back, weights = centered_ctf(observations, ctf, poses.shift), ctf.square()
            if posed.particle_probability is not None:
                back, weights = (
                    back * posed.particle_probability[rows, None],
                    weights * posed.particle_probability[rows, None],
                )
            frames = observations.magnification.frames(posed.index[rows], poses.rotation)
            found.add(values * back, weights, frames, pixels)
        return found

    # Fewer points than a grid has voxels would clear it more often than fill it; a GPU wants many at a time anyway.
    chunk = max(_LEAST_CHUNK, int(_POINTS_A_VOXEL * sums.weights.numel()), points_at_a_time(observations.device))
    order, at_once = slice_order(posed.poses.rotation), max(1, chunk // n_pixels)
    for _, part in observations.in_chunks("inserting images", posed.index, at_once, inserted, order=order):
        sums += part
    observations.team.sum_(sums.values, sums.weights)
    return sums


def centered_ctf(observations: Observations, ctf: Tensor, shift: Tensor) -> Tensor:
    """Return what an image is multiplied by to center it and weight it by its CTF."""
    if not bool(shift.any()):
        return ctf
    pixels = observations.pixels[: ctf.shape[1]]
    return ctf * phase_shift(pixels, shift, observations.pixel_size, observations.box_size).conj()


@dataclass(frozen=True)
class Poses:
    """Rotations and shifts of some images."""

    rotation: Tensor
    """(n, 3, 3)."""
    shift: Tensor
    """(n, 2), Å."""

    def select(self, index: Tensor | slice) -> Poses:
        """Return the poses of some images."""
        return Poses(self.rotation[index], self.shift[index])

    def __len__(self) -> int:
        return len(self.rotation)
