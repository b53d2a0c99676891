"""Checks that need no image: what can be refused before any is read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from resmfn.core.errors import InputError
from resmfn.core.machine import require_memory
from resmfn.data import ParticleSet
from resmfn.data.particles.half_sets import half_sets
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.maps.network_map import default_width
from resmfn.reconstruction.maps.own_maps import read_own_map, read_own_mask
from resmfn.reconstruction.run.cost_model import BYTES_OF_PIXEL

LEAST_PARTICLES = 50
"""Fewer are too few for two half maps: of 25 images of 87 kDa at a signal-to-noise ratio of 0.1, one of three seeds
gave a map right to 16.7 Å whose half maps agreed to 12.9 Å."""
LEAST_IN_HALF = 10
"""Fewer make no map, and no statement about the map of the other half."""
# 16 maps, and 8 more with the networks in each of the two checkpoints and in the third that is written before the first
# is dropped; of each image its poses and its row of text. Runs of 500 images of box 48 and of 2,442 of box 64 took 15
# and 48 MB at most; this says 22 and 56.
_MAPS, _MAPS_OF_CHECKPOINT, _CHECKPOINTS = 16, 8, 3
_NETWORKS, _LAYERS_OF_NETWORK = 4, 6
_BYTES_OF_IMAGE = 1_000


def refuse_early(config: ReconstructionConfig, particles: ParticleSet, box: WorkingBox) -> None:
    """Refuse too few images, missing poses, and an unusable shift range, mask or reference, or a fixed defocus.

    Raises
    ------
    InputError
        Says what is wrong.
    """
    if len(particles) < LEAST_PARTICLES:
        raise InputError(
            f"{config.particles} lists {len(particles)} particles; a reconstruction in two halves needs at least "
            f"{LEAST_PARTICLES}"
        )
    _require_halves(config, particles)
    if config.refine_defocus:
        _require_own_defocus(particles)
    if config.poses != "unknown":
        _require_shifts_within(config, particles, box)
    if config.shift_range > box.side / 2:
        raise InputError(
            f"--shift-range must be at most half the box of {box.side:g} Å, got {config.shift_range:g}; a molecule "
            "that far off is not in the image"
        )
    frames = map_frames(particles, box)
    if config.mask is not None:
        read_own_mask(config.mask, frames, box.box_size)
    if config.reference is not None:
        reference = read_own_map("--reference", config.reference, frames, box.box_size)
        if not bool((reference != reference.flatten()[0]).any()):
            raise InputError(f"--reference {config.reference} is constant; give another map")


def _require_own_defocus(particles: ParticleSet) -> None:
    """Refuse to refine a defocus that is not there, or by which the images have been processed."""
    if particles.optics is None:
        raise InputError(f"--refine-defocus: {particles.path} has no rlnDefocusU: its images have no CTF; leave it out")
    recorded = particles.recorded
    for what in ("premultiplied", "phase_flipped"):
        if recorded is not None and getattr(recorded, what) is not None:
            done = "multiplied by the CTF" if what == "premultiplied" else "phase-flipped"
            raise InputError(
                f"--refine-defocus: images of {particles.path} are {done} of the defocus that the file says, and "
                "programs that undo that would go wrong with another; extract them anew without, or leave the flag out"
            )


def _require_halves(config: ReconstructionConfig, particles: ParticleSet) -> None:
    """Refuse half sets of the file of which one has next to no images."""
    subset = half_sets(particles)
    if subset is None:
        return
    sizes = [int((subset == number).sum()) for number in (1, 2)]
    if min(sizes) < LEAST_IN_HALF:
        raise InputError(
            f"{config.particles}: each half set (rlnRandomSubset) must have {LEAST_IN_HALF} particles at least, got "
            f"{sizes[0]} and {sizes[1]}; leave the column out, and images are split at random"
        )


def _require_shifts_within(config: ReconstructionConfig, particles: ParticleSet, box: WorkingBox) -> None:
    """Refuse poses that put a molecule out of its image."""
    largest = particles.require_poses()[1].abs().amax(dim=1)
    row = int(largest.argmax())
    if float(largest[row]) > box.side / 2:
        raise InputError(
            f"{config.particles}: row {row + 1}: a shift of {float(largest[row]):g} Å puts the molecule out of its "
            f"image, a box of {box.side:g} Å; correct rlnOriginX/YAngst, in Å and not in pixels"
        )


def map_frames(particles: ParticleSet, box: WorkingBox) -> Mapping[int, float]:
    """Return box -> Å per voxel that a map of the user may have: those of the images, and of the working box."""
    return {particles.box_size: particles.pixel_size, box.box_size: box.pixel_size}


def space_needed(n_images: int, box_size: int, hidden_dim: int | None, n_classes: int = 1) -> int:
    """Return the bytes that a run folder takes, about; each class has maps, and a folder, of its own."""
    width = hidden_dim or default_width(box_size)
    networks = _NETWORKS * _LAYERS_OF_NETWORK * width**2 * 4
    maps = box_size**3 * 4
    images = n_images * _BYTES_OF_IMAGE
    return n_classes * (_MAPS * maps + _CHECKPOINTS * (_MAPS_OF_CHECKPOINT * maps + networks + images)) + images


def require_memory_for_images(n_images: int, box_size: int, radius: float) -> None:
    """Refuse images whose Fourier pixels this computer's memory cannot hold.

    Raises
    ------
    InputError
        States how much is free and how much they take.
    """
    require_memory(_bytes_of_images(n_images, radius), f"the Fourier pixels of {n_images} images of box {box_size}")


def require_memory_to_grow(
    n_images: int, sizes: tuple[int, int], radii: tuple[float, float], needed_now: float
) -> None:
    """Refuse to go on where memory cannot hold images to the radius of a larger box, in place of what they have.

    Parameters
    ----------
    n_images, sizes, radii
        How many; boxes, and frequencies in use, before and after.
    needed_now
        Bytes that the run takes in the box that it has: what it may be limited to.

    Raises
    ------
    InputError
        Says how to go on.
    """
    now, then = (_bytes_of_images(n_images, radius) for radius in radii)
    enough = math.ceil(10 * needed_now / 2**30) / 10
    what = f"{n_images} images in a box of {sizes[1]}, beyond what they have in one of {sizes[0]},"
    go_on = f"free memory and continue with --resume, or stay in this box with --resume --memory {enough:g}"
    require_memory(then - now, what, f"everything is saved: {go_on}")


def _bytes_of_images(n_images: int, radius: float) -> int:
    return int(n_images * BYTES_OF_PIXEL * math.pi / 2 * (radius + 0.5) ** 2)


def require_space(folder: Path, needed: int) -> None:
    """Refuse a run that its disk cannot hold; what stands in the folder already counts as free, for it is replaced.

    Raises
    ------
    InputError
        States how much is free and how much is needed.
    """
    own = sum(entry.lstat().st_size for entry in folder.iterdir() if entry.is_file())
    free = shutil.disk_usage(folder).free + own
    if free < needed:
        raise InputError(
            f"--out {folder}: the disk has {free / 2**20:.0f} MiB free, and the run needs about "
            f"{needed / 2**20:.0f} MiB; free some space, or choose another disk"
        )
