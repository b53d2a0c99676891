"""A short description of a particle set, from its metadata and a sample of its images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from resmfn.core import ResmfnError
from resmfn.data.particles.half_sets import half_sets
from resmfn.data.particles.particle_set import ParticleSet
from resmfn.data.remarks.columns import columns_by_use
from resmfn.fourier import half_plane_from_images, half_plane_pixels, radius_grid
from resmfn.physics import (
    CLEAR,
    FIRST_SHELLS,
    compute_ctf,
    contrast_score,
    fit_planes,
    majority_significance,
    planes,
    ramp_strength,
)

_MOST_LISTED = 20
OUTSIDE, LEAST_BOX_FOR_RAMPS = 0.42, 16
"""Radius in boxes beyond which no particle is expected, as by default in a reconstruction; pixels of a side."""
_BATCH = 50  # images looked at together


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found. Lengths in Å, sizes in pixels."""

    path: str
    n_images: int
    n_stacks: int | None  #: None where stacks were not opened
    box_sizes: list[int]  #: every one that occurs; empty where the file does not say
    pixel_sizes: list[float]  #: every one that occurs; empty where the file does not say
    optics_groups: list[dict[str, float]]  #: voltage (kV), spherical_aberration (mm), amplitude_contrast, n_images
    defocus_range: tuple[float, float] | None  #: least and greatest mean defocus, None for images without CTF
    has_poses: bool
    has_shifts: bool
    stated_sign: int | None  #: +1 where the file says that the molecule is white, -1 dark, None where nothing is said
    measured_sign: int | None  #: the same from the images; None where they do not tell
    share_white: float | None  #: share of the good images examined that look white
    ramp: float | None  #: median rms of the linear background, in standard deviations of the noise around it
    n_sampled: int  #: images examined
    bad_images: list[dict[str, Any]] = field(default_factory=list)  #: row (from 1), fault
    n_bad: int = 0  #: of those examined
    working_box: tuple[int, float] | None = None  #: side, and Å per pixel, that a reconstruction would work in
    columns_used: list[str] = field(default_factory=list)  #: or fields of a .cs file
    columns_not_used: list[str] = field(default_factory=list)  #: kept, and without effect on a reconstruction
    applied: list[str] = field(default_factory=list)  #: what changes images beside defocus, poses and sampling, and how
    notes: list[str] = field(default_factory=list)  #: what a user should know of the file
    would_fail: list[str] = field(default_factory=list)  #: why a reconstruction would refuse them

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values, for JSON."""
        return asdict(self)


def inspect_particles(particles: ParticleSet, n_samples: int = 300, box_size: int | None = None) -> Inspection:
    """Inspect a particle set, and some of its images if they were opened.

    Parameters
    ----------
    particles
        As :func:`resmfn.data.read_particles` returns them.
    n_samples
        How many images to read, evenly over the set.
    box_size
        Of the reconstruction that is meant; by default the images'.
    """
    particles = particles.in_plain_frame()
    n = len(particles)
    boxes = [] if particles.box_sizes is None else np.unique(particles.box_sizes).tolist()
    pixels = [] if particles.pixel_sizes is None else np.unique(particles.pixel_sizes.round(6)).tolist()
    bad: list[tuple[int, str]] = []
    white, ramps = np.zeros(0, dtype=bool), np.zeros(0)
    rows = np.zeros(0, dtype=np.int64)
    if particles.images is not None:
        rows = np.unique(np.linspace(0, n - 1, min(n, n_samples)).round().astype(np.int64))
        bad, white, ramps = _look_at_images(particles, rows)
    certainty = majority_significance(float(white.mean()), len(white)) if len(white) else 0.0
    box, faults = _working_box(particles, box_size)
    used, not_used = columns_by_use(particles.metadata, particles.records)
    return Inspection(
        path=str(particles.path),
        n_images=n,
        n_stacks=None if particles.images is None else len(particles.images.stacks),
        box_sizes=boxes,
        pixel_sizes=pixels,
        optics_groups=_optics_groups(particles),
        defocus_range=_defocus_range(particles),
        has_poses=particles.rotations is not None,
        has_shifts=particles.shifts is not None and bool(particles.shifts.any()),
        stated_sign=particles.stated_sign,
        measured_sign=int(np.sign(certainty)) if abs(certainty) > CLEAR else None,
        share_white=float(white.mean()) if len(white) else None,
        ramp=float(np.median(ramps)) if len(ramps) else None,
        n_sampled=len(rows),
        bad_images=[{"row": row + 1, "fault": fault} for row, fault in bad[:_MOST_LISTED]],
        n_bad=len(bad),
        working_box=box,
        columns_used=used,
        columns_not_used=not_used,
        applied=list(particles.remarks.applied),
        notes=list(particles.remarks.notes),
        would_fail=[
            *particles.remarks.refusals,
            *faults,
            *_faults_of_halves(particles),
            *_faults_of_images(particles, bad),
        ],
    )


def _look_at_images(particles: ParticleSet, rows: np.ndarray) -> tuple[list[tuple[int, str]], np.ndarray, np.ndarray]:
    """Return the bad rows with their faults, of each good image whether it looks white, and how strong its ramp is."""
    images = particles.images
    if images is None:
        raise ResmfnError(f"{particles.path}: its images were not opened; read the file with images")
    bad: list[tuple[int, str]] = []
    good = []
    for row in rows.tolist():
        image = images.read(np.array([row]))
        if not np.isfinite(image).all():
            bad.append((row, "holds NaN or infinite values"))
        elif image.min() == image.max():
            bad.append((row, "is constant"))
        else:
            good.append(row)
    white, ramps = [torch.zeros(0, dtype=torch.bool)], [torch.zeros(0)]
    for part in torch.tensor(good, dtype=torch.int64).split(_BATCH):
        if len(part):
            pixels = particles.read_images(part)
            white.append(_looks_white(particles, part, pixels))
            ramps.append(_ramps(pixels))
    return bad, torch.cat(white).numpy(), torch.cat(ramps).numpy()


def _ramps(images: torch.Tensor) -> torch.Tensor:
    """Return how strong the linear background of images (m, N, N) is; nothing of images too small to tell."""
    box_size = images.shape[-1]
    if box_size < LEAST_BOX_FOR_RAMPS:
        return torch.zeros(0)
    outside = radius_grid(box_size, 2) > OUTSIDE * box_size
    found = fit_planes(images, outside)
    noise = (images - planes(found, box_size))[:, outside].std(dim=1)
    return ramp_strength(found, noise, box_size)[noise > 0]


def _looks_white(particles: ParticleSet, rows: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return whether images look white (m,) bool."""
    pixels = half_plane_pixels(min(FIRST_SHELLS, (particles.box_size - 1) // 2), radius_min=0.5)
    values = half_plane_from_images(images, pixels)
    ctf = torch.ones(values.shape)
    if particles.optics is not None:
        frequencies = pixels.float() / (particles.box_size * particles.pixel_size)
        ctf = compute_ctf(particles.optics.select(rows), frequencies).float()
    return contrast_score(values, ctf, pixels.float().norm(dim=1)) > 0


def _optics_groups(particles: ParticleSet) -> list[dict[str, float]]:
    optics = particles.optics
    if optics is None:
        return []
    names = ("voltage", "spherical_aberration", "amplitude_contrast")
    values = np.stack([getattr(optics, name).double().numpy().round(6) for name in names], axis=1)
    pixels = np.zeros(len(particles)) if particles.pixel_sizes is None else particles.pixel_sizes.round(6)
    groups = np.zeros(len(particles)) if particles.groups is None else particles.groups
    distinct, counts = np.unique(np.column_stack([groups, values, pixels]), axis=0, return_counts=True)
    return [
        dict(zip((*names, "pixel_size", "n_images"), (*row[1:].tolist(), int(count)), strict=True))
        for row, count in zip(distinct, counts.tolist(), strict=True)
    ]


def _defocus_range(particles: ParticleSet) -> tuple[float, float] | None:
    if particles.optics is None:
        return None
    mean = (particles.optics.defocus_u + particles.optics.defocus_v) / 2
    return float(mean.min()), float(mean.max())


def _working_box(particles: ParticleSet, wanted: int | None) -> tuple[tuple[int, float] | None, list[str]]:
    """Return the box of a reconstruction with its pixel size, None if not known, and why it would be refused."""
    try:
        pixel_size = particles.pixel_size
        if particles.box_sizes is None:  # it is read from the images
            return None, []
        size = wanted or particles.box_size
        return (size, particles.pixel_size_in(size) if wanted else pixel_size), []
    except ResmfnError as error:
        return None, [str(error)]


def _faults_of_halves(particles: ParticleSet) -> list[str]:
    """Return why the half sets that the file gives would be refused."""
    try:
        half_sets(particles)
    except ResmfnError as error:
        return [str(error)]
    return []


def _faults_of_images(particles: ParticleSet, bad: list[tuple[int, str]]) -> list[str]:
    """Return what a reconstruction would refuse the images for, in the words that it would use."""
    if not bad:
        return []
    row, fault = bad[0]
    others = f" (and {len(bad) - 1} others of those examined)" if len(bad) > 1 else ""
    return [f"{particles.path}: row {row + 1}: the image {fault}{others}; remove or repair it"]
