"""A few particle images beside reprojections of the map: a direct check of poses, shifts, CTF and contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from resmfn.core import atomic_write
from resmfn.data.runs.run_folder import RunFolder
from resmfn.evaluation import HalfMapResult
from resmfn.fourier import resize_images, resize_map
from resmfn.fourier.half_plane import half_plane_from_images, images_from_half_plane
from resmfn.physics import FourierSliceProjector, ImageFormation
from resmfn.reconstruction.run.context import RunContext

N_EXAMPLES = 8
DETAILS = 8
"""Resolution elements across the particle that are kept; finer detail is lost in the noise of one image.
No comparison recorded."""
MARGIN = 4
"""Pixels by which an image's half side exceeds the band that is kept: no interpolation at its edge."""


def write_examples(folder: RunFolder, run: RunContext, volume: Tensor, halves: HalfMapResult) -> None:
    """Write examples.npz: low-passed particles and the map at their poses, with CTF and shift.

    The particles are evenly spaced in the file, not selected. Arrays ``particle`` and
    ``reprojection`` (k, m, m) float32, ``row`` (k,) from 0, and the scalars ``pixel_size`` (Å of the small images)
    and ``resolution`` (Å, of the low-pass).

    Parameters
    ----------
    folder
        Where.
    run
        The finished run.
    volume
        ``(N, N, N)`` map.
    halves
        Of the run: nothing finer than their resolution is shown.
    """
    with atomic_write(folder.path / "examples.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **draw_examples(run, volume, halves.resolution))


def draw_examples(run: RunContext, volume: Tensor, resolution: float) -> dict[str, Any]:
    """Return the arrays of examples.npz."""
    n, box_size = len(run.particles), run.box_size
    side = box_size * run.pixel_size
    shown = max(resolution, 2 * run.mask_radius * run.pixel_size / DETAILS, 2 * run.pixel_size)
    shown = min(shown, side / 3)  # halves that agree nowhere have an infinite resolution
    radius = side / shown
    size = min(box_size, 2 * (int(radius) + MARGIN))
    rows = torch.linspace(0, n - 1, min(N_EXAMPLES, n)).round().long()
    projector = FourierSliceProjector(size, radius_max=radius)
    sign = -1 if run.vote is not None and run.vote.contrast == "black" else 1
    particles = resize_images(sign * run.particles.read_images(rows), size)
    particles = images_from_half_plane(half_plane_from_images(particles, projector.pixels), projector.pixels, size)
    poses = run.poses()
    form = ImageFormation(projector, side / size)
    optics = None if run.particles.optics is None else run.particles.optics.select(rows)
    views = form(resize_map(volume.cpu(), size), poses.rotation.cpu()[rows], poses.shift.cpu()[rows], optics)
    return {
        "particle": particles.numpy(),
        "reprojection": views.numpy(),
        "row": rows.numpy(),
        "pixel_size": side / size,
        "resolution": shown,
    }
