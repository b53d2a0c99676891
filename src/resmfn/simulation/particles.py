"""Simulated single-particle data sets: images of a known molecule at known poses, with the true values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError, spawn
from resmfn.data.mrc.maps import DensityMap, write_map
from resmfn.data.mrc.stacks import ImageStackWriter, read_stack_images, read_stack_info
from resmfn.data.particles.particle_set import read_particles
from resmfn.data.particles.published import VOLUME_FILE, published_folder_name, write_published
from resmfn.data.star.metadata import pose_columns
from resmfn.data.star.optics import defocus_columns
from resmfn.data.star.tables import PARTICLE_COLUMN, Column, Table, format_cells, write_star
from resmfn.physics import Optics, add_noise
from resmfn.rotations.sampling import concentrated_rotations
from resmfn.simulation.config import SimulationConfig
from resmfn.simulation.images import Progress, clean_images
from resmfn.simulation.output import whole_folder
from resmfn.simulation.sources import load_density

STACK_FILE = "particles.mrcs"
PARTICLES_FILE = "particles.star"
TRUTH_FILE = "particles_true.star"
DEFAULT_N_PROJECTIONS = 50_000
_COPY_BATCH = 500
_RELION_31 = "30001"


@dataclass(frozen=True, kw_only=True)
class SimulatedParticles:
    """The data set that was written, and the scale of its images."""

    folder: Path  #: with particles.mrcs, particles.star, particles_true.star, volume.mrc
    n_images: int
    box_size: int  #: pixels
    pixel_size: float  #: Å
    image_scale: float  #: stored pixel values over those of the bare projections (plus noise) of volume.mrc


def simulate(config: SimulationConfig, progress: Progress | None = None) -> SimulatedParticles:
    """Write a simulated data set: all of its files, or none.

    The folder gets particles.mrcs, particles.star (RELION 3.1: optics, no poses: what a reconstruction may see),
    particles_true.star (the same rows with poses and rlnRandomSubset) and volume.mrc. All images together are scaled
    to a standard deviation of 1. Images are made and written in batches: memory does not grow with their number.

    Parameters
    ----------
    config
        What to simulate.
    progress
        Called after each batch with the number of images done and the total.

    Returns
    -------
    SimulatedParticles
        Where the files are.

    Raises
    ------
    InputError
        The source or the STAR file of poses cannot be used, or the folder has files already.
    """
    with whole_folder(Path(config.out), overwrite=config.overwrite) as folder:
        density = load_density(config.source, config.box_size, config.pixel_size, config.b_factor)
        rotations, shifts = _draw_poses(config)
        optics = _draw_optics(config, len(rotations)) if config.ctf else None
        write_map(folder / VOLUME_FILE, density.data, density.pixel_size)
        images = clean_images(density, rotations, shifts, optics, progress)
        scale = _write_stack(folder / STACK_FILE, density, len(rotations), _with_noise(images, config))
        _write_stars(folder, config, density, optics, pose_columns(rotations, shifts))
        if config.layout == "published":
            name = published_folder_name(len(rotations), config.snr, with_ctf=config.ctf)
            write_published(folder / name, _stored_batches(folder / STACK_FILE), rotations, optics)
    return SimulatedParticles(
        folder=Path(config.out),
        n_images=len(rotations),
        box_size=density.box_size,
        pixel_size=density.pixel_size,
        image_scale=scale,
    )


def _draw_poses(config: SimulationConfig) -> tuple[Tensor, Tensor]:
    """Return rotations (n, 3, 3) and shifts (n, 2) in Å, float64."""
    if config.poses_from is not None:
        return _read_poses(config.poses_from, config.n_projections)
    n = config.n_projections or DEFAULT_N_PROJECTIONS
    generator = spawn(config.seed, "rotations")
    rotations = concentrated_rotations(n, config.view_concentration, generator=generator, dtype=torch.float64)
    shifts = torch.randn(n, 2, generator=spawn(config.seed, "shifts"), dtype=torch.float64)
    return rotations, config.shift_std * shifts


def _read_poses(path: str | os.PathLike[str], n: int | None) -> tuple[Tensor, Tensor]:
    particles = read_particles(path, with_images=False, dtype=torch.float64)
    n = n or len(particles)
    if n > len(particles):
        raise InputError(f"{path}: has {len(particles)} rows, but --n-projections asks for {n}; give a smaller number")
    rotations, shifts = particles.require_poses()
    return rotations[:n], shifts[:n]


def _draw_optics(config: SimulationConfig, n: int) -> Optics:
    generator = spawn(config.seed, "optics")
    draws = torch.rand(3, n, generator=generator, dtype=torch.float64)
    (low, high), (least, most) = config.defocus_range, config.astigmatism_range
    mean = low + (high - low) * draws[0]
    astigmatism = least + (most - least) * draws[1]
    same = Optics.uniform(
        n,
        voltage=config.voltage,
        spherical_aberration=config.spherical_aberration,
        amplitude_contrast=config.amplitude_contrast,
        dtype=torch.float64,
    )
    drawn = replace(
        same,
        defocus_u=mean + astigmatism / 2,
        defocus_v=mean - astigmatism / 2,
        defocus_angle=180 * draws[2],
        phase_shift=torch.full_like(mean, config.phase_shift),
    )
    return drawn.to(dtype=torch.float32)


def _with_noise(images: Iterator[Tensor], config: SimulationConfig) -> Iterator[Tensor]:
    generator = spawn(config.seed, "noise")
    for batch in images:
        yield batch if config.snr is None else add_noise(batch, config.snr, generator=generator)


def _write_stack(path: Path, density: DensityMap, n: int, images: Iterator[Tensor]) -> float:
    """Write the images scaled to a standard deviation of 1 over the whole stack; return the factor."""
    with ImageStackWriter(path, n, density.box_size, density.pixel_size) as stack:
        for batch in images:
            stack.write(batch)
        factor = 1 / stack.statistics.deviation
        stack.scale(factor)
    return factor


def _stored_batches(path: Path) -> Iterator[Tensor]:
    info = read_stack_info(path)
    for start in range(0, info.n_images, _COPY_BATCH):
        rows = np.arange(start, min(start + _COPY_BATCH, info.n_images))
        yield torch.from_numpy(read_stack_images(path, rows, info))


def _write_stars(
    folder: Path, config: SimulationConfig, density: DensityMap, optics: Optics | None, poses: dict[str, Tensor]
) -> None:
    n = len(next(iter(poses.values())))
    columns: dict[str, Column] = {PARTICLE_COLUMN: [f"{i:06d}@{STACK_FILE}" for i in range(1, n + 1)]}
    if optics is not None:
        columns |= defocus_columns(optics)
    columns["rlnOpticsGroup"] = torch.ones(n, dtype=torch.int64)
    group: dict[str, Column] = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [config.voltage],
        "rlnSphericalAberration": [config.spherical_aberration],
        "rlnAmplitudeContrast": [config.amplitude_contrast],
        "rlnImagePixelSize": [density.pixel_size],
        "rlnImageSize": [density.box_size],
        "rlnImageDimensionality": [2],
    }
    subsets = {"rlnRandomSubset": torch.arange(n) % 2 + 1}
    optics_table = Table(version=_RELION_31).with_columns({k: format_cells(v) for k, v in group.items()})
    for name, chosen in ((PARTICLES_FILE, columns), (TRUTH_FILE, {**columns, **poses, **subsets})):
        particles = Table(version=_RELION_31).with_columns({k: format_cells(v) for k, v in chosen.items()})
        write_star(folder / name, {"optics": optics_table, "particles": particles})
