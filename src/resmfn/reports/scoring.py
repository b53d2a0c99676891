"""Score a run against the truth, and write evaluation.json and evaluation.png into its folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from resmfn.core import InputError, atomic_write
from resmfn.data import DensityMap, ParticleSet, read_map
from resmfn.data.models import density_from_model, is_model
from resmfn.data.runs.file_names import CONFIG
from resmfn.data.runs.plain_settings import read_settings
from resmfn.data.runs.run_folder import classes_share_frame
from resmfn.evaluation import (
    Evaluation,
    PoseComparison,
    compare_maps,
    compare_poses,
    enclosing_diameter,
    evaluate_run,
    spherical_mask,
)
from resmfn.reports.inputs import (
    REFERENCE_NAME,
    RunFiles,
    StrPath,
    find_run,
    match_particles,
    read_fsc_table,
    read_map_pair,
    read_mask,
    read_poses,
)
from resmfn.reports.values import words
from resmfn.rotations import point_group

JSON_NAME, FIGURE_NAME = "evaluation.json", "evaluation.png"


def evaluate(
    run: StrPath,
    *,
    reference: StrPath | None = None,
    true_poses: StrPath | None = None,
    mask: StrPath | None = None,
    mask_diameter: float | None = None,
    pixel_size: float | None = None,
    out: StrPath | None = None,
    figure: bool = True,
) -> Evaluation:
    """Score a run's map and poses against the true ones, up to a global rotation, shift and hand.

    Parameters
    ----------
    run
        A run folder (its map.mrc and particles.star), or a map, or a STAR file.
    reference
        The true map, or a folder with volume.mrc; or an atomic model (PDB or mmCIF), which both hands of the map are
        fitted to.
    true_poses
        STAR file with the true poses of the same images (more rows do no harm).
    mask, mask_diameter
        For the masked FSC: a file in the reference's frame, or the diameter of a soft sphere in Å. By default a
        sphere that holds 99.9 % of the reference's power.
    pixel_size
        Å per voxel of both maps; overrides the headers.
    out
        Folder for evaluation.json and evaluation.png, made if need be. By default the run folder; nothing is
        written where ``run`` is a file.
    figure
        Whether to draw evaluation.png.

    Returns
    -------
    Evaluation
        The numbers, the curves and the aligned map.

    Raises
    ------
    InputError
        If something is missing or does not fit together.
    """
    start = time.perf_counter()
    files = find_run(run)
    _require_partners(run, files, reference, true_poses)
    particles = None if files.particles is None else read_poses(files.particles)
    group = None if files.folder is None else _symmetry(files.folder)
    poses = None if true_poses is None or particles is None else _compare_poses(particles, true_poses, group)
    maps, truth, mask_entry = None, None, None
    if reference is not None and files.map is not None:
        moving, truth = _map_and_truth(files.map, reference, pixel_size)
        weight, mask_entry = _mask_and_its_entry(truth, mask, mask_diameter, pixel_size)
        both = is_model(reference)
        maps = compare_maps(moving.data, truth.data, truth.pixel_size, weight, both_hands=both)
    evaluation = evaluate_run(maps, poses, None if particles is None else particles.rotations, group)
    folder = files.folder if out is None else _make_folder(out)
    if folder is not None:
        half_maps = {} if files.fsc is None else read_fsc_table(files.fsc)
        given = {"run": str(run), "reference": _text(reference), "true_poses": _text(true_poses), "mask": mask_entry}
        _write_json(
            folder / JSON_NAME, {**given, **evaluation.to_dict(), "seconds": round(time.perf_counter() - start, 2)}
        )
        if figure:
            from resmfn.reports.figures import draw_evaluation  # here: matplotlib takes a second

            draw_evaluation(folder / FIGURE_NAME, evaluation, None if truth is None else truth.data, half_maps)
    return evaluation


def _symmetry(folder: Path) -> Tensor | None:
    """Return the point group that a run was made with; None without one."""
    name = words(read_settings(folder / CONFIG), "symmetry") if (folder / CONFIG).is_file() else ""
    group = point_group(name) if name else None
    return group if group is not None and len(group) > 1 else None


def _map_and_truth(path: Path, reference: StrPath, pixel_size: float | None) -> tuple[DensityMap, DensityMap]:
    """Read the map, and the true one; a model becomes a density on the map's grid."""
    if not is_model(reference):
        return read_map_pair(path, _map_in(reference), pixel_size)
    moving = read_map(path, pixel_size)
    return moving, DensityMap(density_from_model(reference, moving.box_size, moving.pixel_size), moving.pixel_size)


def _mask_and_its_entry(
    truth: DensityMap, mask: StrPath | None, diameter: float | None, pixel_size: float | None
) -> tuple[Tensor, dict[str, Any]]:
    """Return the mask, a sphere about the truth where none was asked for, and say which it is."""
    weight = read_mask(mask, diameter, truth, pixel_size)
    if weight is None:
        diameter = round(enclosing_diameter(truth.data, truth.pixel_size), 2)
        weight = spherical_mask(truth.box_size, truth.pixel_size, diameter)
    return weight, {"file": _text(mask), "diameter": diameter}


def _compare_poses(particles: ParticleSet, true_poses: StrPath, group: Tensor | None) -> PoseComparison:
    true = read_poses(true_poses)
    rows = match_particles(particles, true)
    rotation, shift = particles.require_poses()
    true_rotation, true_shift = true.require_poses()
    return compare_poses(rotation, true_rotation[rows], shift, true_shift[rows], group)


def _require_partners(run: StrPath, files: RunFiles, reference: StrPath | None, true_poses: StrPath | None) -> None:
    """Refuse, before any work, a truth that has no counterpart in this run."""
    if reference is None and true_poses is None:
        raise InputError("nothing to compare with: give --reference, --true-poses or both")
    if reference is not None and files.map is None:
        raise InputError(f"{run}: no map to compare with {reference}; give a run folder or a map, or no --reference")
    if true_poses is not None and files.particles is None:
        raise InputError(f"{run}: no particles.star to compare with {true_poses}; give a run folder or a STAR file")
    if true_poses is not None and files.folder is not None and _has_frames_of_its_own(files.folder):
        raise InputError(
            f"{run}: the poses of each class are in a frame of its own, so that they cannot be compared together; give "
            f"the folder of one class, such as {files.folder / 'class1'}"
        )


def _has_frames_of_its_own(folder: Path) -> bool:
    """Say whether a folder is of a run with several classes, other than states of one structure."""
    return (folder / "class2").is_dir() and not classes_share_frame(folder)


def _map_in(reference: StrPath) -> Path:
    path = Path(reference)
    return path / REFERENCE_NAME if path.is_dir() else path


def _make_folder(out: StrPath) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot create the folder ({error.strerror}); give another --out") from error
    return folder


def _write_json(path: Path, entries: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, allow_nan=False) + "\n")


def _text(path: StrPath | None) -> str | None:
    return None if path is None else str(path)
