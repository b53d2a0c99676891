"""The files that a run of the published preset leaves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from resmfn.data import Table, write_map, write_star
from resmfn.data.particles.published import STACK_FILE
from resmfn.data.runs.chimerax import write_chimerax_view
from resmfn.data.runs.file_names import MAP, PARTICLES, SUMMARY
from resmfn.data.runs.run_folder import RunFolder
from resmfn.data.star.metadata import pose_columns
from resmfn.data.star.optics import defocus_columns
from resmfn.data.star.tables import PARTICLE_COLUMN, Column, format_cells
from resmfn.evaluation import align_poses
from resmfn.physics import Optics
from resmfn.reconstruction.published.fitting import PublishedFit
from resmfn.reconstruction.published.images import PublishedImages
from resmfn.reconstruction.published.state import PublishedState

_RELION_31 = "30001"
LOST = 20.0
"""Degrees from the true pose, after alignment, beyond which an image is counted as lost."""


MOST_LOST = 0.5
"""Share of lost images above which the verdict says that the poses were not found. No comparison recorded."""
FAILED = (
    "poses not found: the defaults are for tens of thousands of images; fewer need smaller batches and larger steps "
    "(docs/reproduction.md), or no --preset"
)


def write_epoch_maps(folder: Path, fit: PublishedFit) -> None:
    """Write the map of every active scale, as ``epochNNN_scaleS.mrc``."""
    folder.mkdir(exist_ok=True)
    for scale in range(1, fit.stage.scale + 1):
        path = folder / f"epoch{fit.epoch:03d}_scale{scale}.mrc"
        write_map(path, fit.density(scale).cpu(), fit.images.pixel_size)


def write_true_poses(folder: Path, images: PublishedImages) -> None:
    """Write particles_true.star: poses.npy in this package's convention, for ``resmfn evaluate``."""
    _write_star(folder / "particles_true.star", images, images.rotations)


def write_published_results(folder: RunFolder, fit: PublishedFit, state: PublishedState) -> dict[str, object]:
    """Write map, poses and summary; return the summary."""
    write_map(folder.path / MAP, fit.density().cpu(), fit.images.pixel_size)
    _write_star(folder.path / PARTICLES, fit.images, fit.rotation.cpu())
    write_chimerax_view(folder.path)
    summary = _summary(fit, state)
    folder.write_json(SUMMARY, summary)
    return summary


def _summary(fit: PublishedFit, state: PublishedState) -> dict[str, object]:
    errors = align_poses(fit.rotation.cpu(), fit.images.rotations).errors_deg
    n = len(fit.images)
    passes = n * fit.epoch
    median, lost = float(errors.median()), float((errors > LOST).double().mean())
    start = fit.config.init_from_truth
    origin = (
        "started from random poses"
        if start is None
        else f"NOT ab initio: started from the true poses, perturbed by {start}°"
    )
    failed = f"; {FAILED}" if lost > MOST_LOST else ""
    return {
        "verdict": f"poses {median:.1f}° from the truth (median), {100 * lost:.0f} % beyond 20°; {origin}{failed}",
        "init_from_truth": start,
        "variant": fit.config.variant,
        "heads": fit.config.heads,
        "epochs": fit.epoch,
        "pose_error_median": round(median, 4),
        "pose_error_mean": round(float(errors.mean()), 4),
        "share_beyond_20": round(lost, 5),
        "ms_per_image_and_epoch": round(1000 * state.epoch_seconds / passes, 5),
        "cpu_ms_per_image_and_epoch": round(1000 * state.epoch_cpu_seconds / passes, 5),
        "seconds": round(state.costs.seconds, 2),
        "cpu_seconds": round(state.costs.cpu_seconds, 2),
        "peak_memory": state.costs.peak_memory,
        "peak_gpu_memory": state.costs.peak_gpu_memory,
        "n_particles": n,
        "device": fit.device.type,
        "box_size": fit.images.box_size,
        "pixel_size": fit.images.pixel_size,
    }


def _write_star(path: Path, images: PublishedImages, rotation: Tensor) -> None:
    """Write poses and optics in RELION's format; image names count the stack's images from 1."""
    n = len(images)
    columns: dict[str, Column] = {PARTICLE_COLUMN: [f"{i:06d}@{STACK_FILE}" for i in range(1, n + 1)]}
    optics = images.optics
    if optics is not None:
        columns |= defocus_columns(optics)
    columns["rlnOpticsGroup"], group = _optics_groups(images, optics)
    columns |= pose_columns(rotation.double(), torch.zeros(n, 2, dtype=torch.float64))
    tables = {"optics": group, "particles": columns}
    write_star(path, {name: _table(values) for name, values in tables.items()})


def _optics_groups(images: PublishedImages, optics: Optics | None) -> tuple[Tensor, dict[str, Column]]:
    """Return each image's group and the table of groups: one for each voltage, Cs and amplitude contrast."""
    n = len(images)
    if optics is None:
        kinds, which = torch.tensor([[300.0, 2.7, 0.1]]), torch.zeros(n, dtype=torch.int64)
    else:
        rows = torch.stack((optics.voltage, optics.spherical_aberration, optics.amplitude_contrast), dim=1)
        kinds, which = torch.unique(rows, dim=0, return_inverse=True)
    numbers = torch.arange(1, len(kinds) + 1)
    return which + 1, {
        "rlnOpticsGroup": numbers,
        "rlnOpticsGroupName": [f"opticsGroup{i}" for i in numbers.tolist()],
        "rlnVoltage": kinds[:, 0],
        "rlnSphericalAberration": kinds[:, 1],
        "rlnAmplitudeContrast": kinds[:, 2],
        "rlnImagePixelSize": [images.pixel_size] * len(kinds),
        "rlnImageSize": [images.box_size] * len(kinds),
        "rlnImageDimensionality": [2] * len(kinds),
    }


def _table(columns: dict[str, Column]) -> Table:
    return Table(version=_RELION_31).with_columns({k: format_cells(v) for k, v in columns.items()})
