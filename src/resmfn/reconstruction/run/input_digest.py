"""Digest of a run's input: a resumed run must continue with the same images."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from resmfn.core.digest import digest_of, digest_of_file, require_same_input
from resmfn.core.errors import InputError
from resmfn.data import ParticleSet
from resmfn.data.star.tables import PARTICLE_COLUMN
from resmfn.reconstruction.config import ReconstructionConfig

SAMPLED_IMAGES = 100
"""Images whose pixels are read for the digest, evenly over the rows; of all others the noise level tells."""
NOISE = "noise"
"""Where the noise level of every image stands; not a digest, for another device may round it otherwise."""
_SAME_NOISE = 1e-3
_SUBSET = "rlnRandomSubset"


def digest_input(config: ReconstructionConfig, particles: ParticleSet) -> dict[str, Any]:
    """Return what the result depends on beside the settings: names, their order, optics, poses, pixels, maps given.

    Parameters
    ----------
    config
        Says whether the poses of the input are used, and which maps.
    particles
        With their images.

    Returns
    -------
    dict
        In words what has changed if it differs -> its digest; the number of images as a number.
    """
    table = particles.table
    names = table.text(PARTICLE_COLUMN)
    found: dict[str, Any] = {
        "the number of images": len(particles),
        "the names of the images": digest_of(sorted(names)),
        "the order of the rows": digest_of(names),
        "the pixel sizes": digest_of([np.asarray(particles.pixel_sizes, dtype=np.float64)]),
        "whether there is a CTF": str(particles.optics is not None),
    }
    # What is undone as images are read (beam tilt) is in `recorded` alone.
    for kind, optics in (("", particles.optics), ("recorded ", particles.recorded)):
        for field in () if optics is None else fields(optics):
            value = getattr(optics, field.name)
            name = f"the {kind}{field.name.replace('_', ' ')}"
            found[name] = "none" if value is None else digest_of([_plain(value)])
    found["the half sets"] = digest_of(table.text(_SUBSET) if _SUBSET in table else [])
    if config.poses != "unknown":
        rotation, shift = particles.require_poses()
        found["the angles"], found["the shifts"] = digest_of([_plain(rotation)]), digest_of([_plain(shift)])
    for name in ("mask", "reference"):
        path = getattr(config, name)
        found[f"what the {name} holds"] = "none" if path is None else digest_of_file(path)
    found["the pixels of the images"] = _digest_pixels(particles)
    return found


def require_same_images(run: Path, particles: ParticleSet, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume a run with other input than it was begun with, before the images are read.

    Raises
    ------
    InputError
        Says what has changed.
    """
    require_same_input(particles.path, run, before, now)


def require_same_noise(run: Path, particles: ParticleSet, before: Tensor | None, now: Tensor) -> None:
    """Refuse it where any image, sampled or not, has another noise level (n,) than it had.

    Raises
    ------
    InputError
        Names the row.
    """
    if before is None:
        return
    other = (before.to(now) - now).abs() > _SAME_NOISE * now
    if bool(other.any()):
        row = int(other.nonzero()[0, 0])
        raise InputError(
            f"{particles.path} has changed since {run} was begun (the pixels of the image in row {row + 1}, "
            f"{particles.table.text(PARTICLE_COLUMN)[row]}, and of {int(other.sum()) - 1} others): resume with the "
            "original images, or start again with --overwrite"
        )


def _plain(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _digest_pixels(particles: ParticleSet) -> str:
    images = particles.images
    if images is None:
        raise InputError(f"{particles.path}: its images were not opened; read the file with images")
    rows = np.unique(np.linspace(0, len(particles) - 1, min(len(particles), SAMPLED_IMAGES)).round().astype(np.int64))
    return digest_of(images.read(rows[i : i + 1]) for i in range(len(rows)))
