"""The result files of a run, recorded by digest, so that its figures are not attributed to other files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resmfn.core import InputError
from resmfn.core.digest import digest_of_file
from resmfn.data.runs.own_files import own_files
from resmfn.data.runs.run_folder import RunFolder

RECORD = "files.json"
RESULTS = (
    "map.mrc", "map_filtered.mrc", "map_sharpened.mrc", "half1.mrc", "half2.mrc", "half1_unfil.mrc", "half2_unfil.mrc",
    "mask.mrc", "local_resolution.mrc", "particles.star", "fsc.csv", "validation.json",
)  # fmt: skip
_SPEAK_OF_RESULTS = ("evaluation.json", "evaluation.png", "report.html")
_POSTPROCESS = "postprocess"


@contextmanager
def recorded_results(folder: RunFolder) -> Iterator[None]:
    """Let a run write its results, and record their digests; remove evaluations and reports of earlier results."""
    record = folder.path / RECORD
    before = _read(record)
    record.unlink(missing_ok=True)  # until all of them are there, none can be compared
    yield
    now = {name: digest_of_file(folder.path / name) for name in RESULTS if (folder.path / name).is_file()}
    if before != now:  # or there is no record, as a run that was killed here leaves it
        for path in own_files(folder.path):
            if path.name in _SPEAK_OF_RESULTS or path.parent == folder.path / _POSTPROCESS:
                path.unlink()
    folder.write_json(RECORD, now)


def require_own_results(folder: Path, *names: str) -> None:
    """Refuse a run folder in which a result was replaced by another file.

    Parameters
    ----------
    folder
        The run folder.
    *names
        Files to look at; by default all results. What is missing is not missed here.

    Raises
    ------
    InputError
        Names the file.
    """
    for name, digest in _read(folder / RECORD).items():
        path = folder / name
        if (not names or name in names) and path.is_file() and digest_of_file(path) != digest:
            raise InputError(
                f"{path} is not the file that this run wrote, so the figures do not describe it; restore the run's "
                f"file, or pass the files themselves instead of the folder"
            )


def _read(record: Path) -> dict[str, str]:
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return {name: str(digest) for name, digest in found.items() if name in RESULTS} if isinstance(found, dict) else {}
