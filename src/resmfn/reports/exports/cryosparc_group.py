"""A run as result groups of cryoSPARC, for its job *Import Result Group*: no server is asked.

A result group is a text file ``.csg`` (YAML) that names, for each kind of result, a ``.cs`` file of records. Paths that
begin with ``>`` start from the folder of the ``.csg``. The form is that of groups exported by cryoSPARC 4.4.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from resmfn.core import InputError, atomic_folder
from resmfn.core.digest import digest_of_file
from resmfn.data import ParticleSet, read_map, read_particles
from resmfn.data.cryosparc.records import POSE_GROUP, RELION_GROUP, WITHIN, records_of, texts_of
from resmfn.data.particles.cryosparc_writer import known_fields, particle_records, write_records
from resmfn.data.runs.file_names import CONFIG, MAP, MASK, PARTICLES, SUMMARY, UNMASKED_HALF_MAPS
from resmfn.data.runs.run_folder import settings_of
from resmfn.data.star.metadata import parse_numbers
from resmfn.reports.exports.finished_run import SHARPENED, require_finished_run
from resmfn.reports.inputs import StrPath, read_json
from resmfn.reports.values import words

FORMAT_VERSION = "v4.4.1"
"""cryoSPARC's version whose exported groups look like these."""
CLASS_COLUMN, PROBABILITY_COLUMN = "rlnClassNumber", "rlnClassProbability"
MULTI_GROUP = "alignments3D_multi"
VOLUMES = {
    "map": MAP,
    "map_sharp": SHARPENED,
    "map_half_A": UNMASKED_HALF_MAPS[0],
    "map_half_B": UNMASKED_HALF_MAPS[1],
    "mask_refine": MASK,
}
"""Results of a volume in cryoSPARC's refinements, and the files of a run."""
_CLASS_FOLDER = re.compile(r"class\d{1,3}", re.ASCII)


@dataclass(frozen=True)
class ResultGroups:
    """What was written."""

    folder: Path
    groups: tuple[Path, ...]  #: the .csg files
    n_particles: int


def write_result_groups(run: StrPath, out: StrPath, *, datadir: StrPath | None = None) -> ResultGroups:
    """Write a run, and each of its classes, as result groups of particles and of volumes.

    Every field and column of the input is kept. Particles that came from cryoSPARC keep their uid and the paths within
    their project; images of a STAR file are linked into the folder.

    Parameters
    ----------
    run
        A finished run, or the folder of a class.
    out
        Folder to make: ``particles.csg`` and ``volume.csg``, for each class in a folder of its own.
    datadir
        Folder that image names start from; by default where the run found them.

    Raises
    ------
    InputError
        The run is not finished or found nothing, images are not there, or the folder is.
    """
    run = Path(run)
    inside = run.iterdir() if run.is_dir() else ()
    classes = sorted((path for path in inside if path.is_dir() and _CLASS_FOLDER.fullmatch(path.name)), key=_number)
    summary = require_finished_run(run, has_map=not classes)
    shown = [place for place in classes if _shows_structure(place)]
    places = [run, *shown]
    summaries = [summary, *(require_finished_run(place) for place in shown)]
    start = Path(datadir) if datadir is not None else _images_start(run)
    groups: list[Path] = []
    n_particles = 0
    with atomic_folder(out) as folder:
        for place, summary in zip(places, summaries, strict=True):
            here = folder if place == run else folder / place.name
            here.mkdir(exist_ok=True)
            count = _write_particles(place, here, start, is_dark=words(summary, "contrast", default="") == "black")
            n_particles = n_particles or count
            groups.append(here.relative_to(folder) / "particles.csg")
            if place != run or not classes:
                _write_volume(place, here)
                groups.append(here.relative_to(folder) / "volume.csg")
    return ResultGroups(Path(out), tuple(Path(out) / group for group in groups), n_particles)


def _number(of_class: Path) -> int:
    return int(of_class.name.removeprefix("class"))


def _shows_structure(of_class: Path) -> bool:
    """Say whether the folder of a class has a map that may be used; one that shows noise is left out."""
    return not (of_class / SUMMARY).is_file() or read_json(of_class / SUMMARY).get("structure_found") is not False


def _images_start(run: Path) -> Path | None:
    """Return the folder that image names start from, as the run or the one that it is a class of has found it."""
    for folder in (run, run.resolve().parent):
        found = settings_of(folder).get("datadir") if (folder / CONFIG).is_file() else None
        if isinstance(found, str) and Path(found).is_dir():
            return Path(found)
    return None


# --- particles -----------------------------------------------------------------------------------


def _write_particles(place: Path, here: Path, start: Path | None, *, is_dark: bool) -> int:
    """Write the particles of a folder, and return how many they are."""
    star = place / PARTICLES
    particles = read_particles(star, with_images=False)
    paths = known_fields(particles).get("blob/path")
    in_project = paths is not None and not any(path.startswith(WITHIN) for path in texts_of(paths))
    if not in_project:
        particles = read_particles(star, start)
    from_cryosparc = "blob/path" in known_fields(particles)
    records = particle_records(particles)
    fields = {name: records[name] for name in records.dtype.names or ()}
    if not in_project:
        fields["blob/path"] = _link_images(particles, here / "images")
    if not from_cryosparc and "blob/sign" in fields:
        fields["blob/sign"] = np.full(len(particles), -1.0 if is_dark else 1.0, dtype="<f4")
    fields |= _alignment_fields(particles, fields)
    write_records(here / "particles.cs", records_of(fields))
    prefixes = dict.fromkeys(name.partition("/")[0] for name in fields if "/" in name)
    results = {prefix: f"particle.{_kind(prefix)}" for prefix in prefixes if f"{prefix}/" != RELION_GROUP}
    _write_group(here / "particles.csg", "particle", "particles", results, len(particles))
    return len(particles)


def _kind(prefix: str) -> str:
    """Return the kind of result that fields of this prefix are."""
    return POSE_GROUP if prefix.startswith("alignments_class_") else prefix


def _link_images(particles: ParticleSet, folder: Path) -> np.ndarray:
    """Link every stack into a folder of the group, and return the path of each particle's (n,)."""
    if particles.images is None:
        raise InputError(f"{particles.path}: its images were not opened")
    folder.mkdir()
    names = []
    for number, stack in enumerate(particles.images.stacks):
        name = f"{number:06d}_{stack.name}"
        (folder / name).symlink_to(stack.resolve())
        names.append(f"{WITHIN}{folder.name}/{name}".encode("utf-8", "surrogateescape"))
    return np.array(names)[particles.images.stack_of]


def _alignment_fields(particles: ParticleSet, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what cryoSPARC has beside pose and shift, neutral where nothing is known, and the classes."""
    n, table = len(particles), particles.table
    fields = {
        f"{POSE_GROUP}/{name}": np.full(n, value, dtype="<f4")
        for name, value in {"alpha": 1.0, "class_posterior": 1.0, "class_ess": 1.0}.items()
        if f"{POSE_GROUP}/{name}" not in known
    }
    if CLASS_COLUMN not in table:
        return fields | {f"{POSE_GROUP}/class": known.get(f"{POSE_GROUP}/class", np.zeros(n, dtype="<u4"))}
    number = parse_numbers(table[CLASS_COLUMN], CLASS_COLUMN, particles.path)
    index = np.clip(number - 1, 0, None).astype("<u4")
    posterior = np.ones(n)
    if PROBABILITY_COLUMN in table:
        posterior = parse_numbers(table[PROBABILITY_COLUMN], PROBABILITY_COLUMN, particles.path)
    fields |= {f"{POSE_GROUP}/class": index, f"{POSE_GROUP}/class_posterior": posterior.astype("<f4")}
    if len(np.unique(index)) > 1:
        fields |= _multi_fields(index, posterior, known)
    return fields


def _multi_fields(index: np.ndarray, posterior: np.ndarray, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the fields of a classification: one pose for all classes, the rest of the probability spread evenly."""
    n, n_classes = len(index), int(index.max()) + 1
    of_class = np.tile(((1 - posterior) / max(1, n_classes - 1))[:, None], (1, n_classes))
    of_class[np.arange(n), index] = posterior
    repeated = {
        name: np.repeat(known[f"{POSE_GROUP}/{name}"][:, None], n_classes, axis=1)
        for name in ("pose", "shift")
        if f"{POSE_GROUP}/{name}" in known
    }
    same = {name: known[f"{POSE_GROUP}/{name}"] for name in ("split", "psize_A") if f"{POSE_GROUP}/{name}" in known}
    values = same | repeated | {"class_posterior": of_class.astype("<f4"), "class": index}
    return {f"{MULTI_GROUP}/{name}": value for name, value in values.items()}


# --- volumes and groups --------------------------------------------------------------------------


def _write_volume(place: Path, here: Path) -> None:
    """Copy the maps of a folder, and write them as one volume."""
    fields = {"uid": np.array([int(digest_of_file(place / MAP)[:16], 16)], dtype="<u8")}
    (here / "maps").mkdir()
    results = {}
    for result, name in VOLUMES.items():
        if not (place / name).is_file():
            continue
        shutil.copyfile(place / name, here / "maps" / name)
        density = read_map(place / name)
        fields |= {
            f"{result}/path": np.array([f"{WITHIN}maps/{name}".encode()]),
            f"{result}/idx": np.zeros(1, dtype="<u4"),
            f"{result}/shape": np.full((1, 3), density.box_size, dtype="<u4"),
            f"{result}/psize_A": np.array([density.pixel_size], dtype="<f4"),
        }
        results[result] = "volume.blob"
    write_records(here / "volume.cs", records_of(fields))
    _write_group(here / "volume.csg", "volume", "volume", results, 1)


def _write_group(path: Path, kind: str, name: str, results: Mapping[str, str], count: int) -> None:
    group = {
        "created": time.strftime("%Y-%m-%d %H:%M:%S.000000"),
        "group": {"description": f"{name} of a run of resmfn", "name": name, "title": f"resmfn {name}", "type": kind},
        "results": {
            result: {"metafile": f"{WITHIN}{path.stem}.cs", "num_items": count, "type": type_}
            for result, type_ in results.items()
        },
        "version": FORMAT_VERSION,
    }
    path.write_text(yaml.safe_dump(group))
