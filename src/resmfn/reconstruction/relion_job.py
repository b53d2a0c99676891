"""A reconstruction as an External job of RELION: its files become nodes of the project's pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from resmfn.core import InputError
from resmfn.core.progress import ProgressEvent
from resmfn.data.runs.file_names import LOCAL_RESOLUTION, MASK, PARTICLES, UNMASKED_HALF_MAPS
from resmfn.data.star import pipeline_nodes as pipeline
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.reconstruct import ReconstructionResult, reconstruct

RUN_FOLDER = "run"
"""In the job's folder, which RELION fills with files of its own."""
NODES = {
    PARTICLES: pipeline.PARTICLES,
    "map_filtered.mrc": pipeline.REFERENCE,
    **dict.fromkeys(UNMASKED_HALF_MAPS, pipeline.HALF_MAP),
    MASK: pipeline.MASK,
    "map_sharpened.mrc": pipeline.FINAL_MAP,
    LOCAL_RESOLUTION: pipeline.LOCAL_RESOLUTION,
}
"""Files of a run, and what they are to RELION."""


def settings_of_relion_job(config: ReconstructionConfig, job: Path) -> ReconstructionConfig:
    """Return the settings of a run within a job of RELION's; the current folder must be the project's.

    The run is ``run`` in the job's folder; one that was begun there goes on, unless the settings say overwrite.

    Parameters
    ----------
    config
        Settings; ``out``, ``resume`` and ``datadir`` are set here.
    job
        The job's folder, within the project.

    Raises
    ------
    InputError
        Image names would not start from the project folder.
    """
    if config.datadir is not None or config.strip_prefix is not None:
        flag = "--datadir" if config.datadir is not None else "--strip-prefix"
        raise InputError(
            f"{flag} cannot be used in a RELION job: jobs that follow look for images from the project folder, by the "
            "names that particles.star has; make links there, or correct the names"
        )
    return replace(config, out=job / RUN_FOLDER, datadir=Path.cwd(), resume=not config.overwrite)


def reconstruct_as_relion_job(
    settings: ReconstructionConfig,
    job: Path,
    listener: Callable[[ProgressEvent], None] | None = None,
    *,
    stop: Callable[[], bool] | None = None,
) -> ReconstructionResult:
    """Reconstruct within a job of RELION's, and list the results for the jobs that follow.

    Parameters
    ----------
    settings
        Of :func:`settings_of_relion_job`.
    job
        The job's folder, within the project, which is the current folder.
    listener, stop
        As :func:`resmfn.reconstruction.reconstruct` takes them.

    Raises
    ------
    InputError
        The input cannot be used.
    StoppedError
        The run was asked to stop, and did.
    """
    (job / pipeline.OUTPUT_NODES).unlink(missing_ok=True)
    result = reconstruct(settings, listener, stop=stop)
    place = os.path.relpath(result.run)
    found = {f"{place}/{name}": kind for name, kind in NODES.items() if (result.run / name).is_file()}
    pipeline.write_output_nodes(job, found)
    return result
