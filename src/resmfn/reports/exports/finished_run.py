"""What must be true of a run before it is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resmfn.core import InputError
from resmfn.data.runs.file_names import MAP, PARTICLES, SUMMARY
from resmfn.data.runs.result_files import require_own_results
from resmfn.reports.inputs import StrPath, read_json

SHARPENED = "map_sharpened.mrc"


def require_finished_run(run: StrPath, *names: str, has_map: bool = True) -> dict[str, Any]:
    """Return the summary of a run that has ended, found something, and has the files that are needed.

    Parameters
    ----------
    run
        The run folder, or one of a class.
    *names
        Files that it must have beside map and particles.
    has_map
        Whether it has a map; the folder above those of several classes has none.

    Raises
    ------
    InputError
        It is no run folder, goes on, lacks a file, found no structure, or its files were exchanged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not (folder / SUMMARY).is_file():
        raise InputError(f"{folder}: there is no {SUMMARY}, so this run is not finished; let it end, or go on with it")
    missing = [name for name in (*([MAP] if has_map else []), PARTICLES, *names) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {', '.join(missing)} is missing; runs of `resmfn reconstruct` have it, those of the published "
            "preset have no half maps"
        )
    require_own_results(folder)
    summary = read_json(folder / SUMMARY)
    if summary.get("structure_found") is False:
        raise InputError(f"{folder}: this run found no structure, its maps and poses are of noise; nothing is written")
    return summary
