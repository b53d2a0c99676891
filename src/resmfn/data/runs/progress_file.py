"""The progress of a run, for `resmfn watch` and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress

from resmfn.core.progress import ProgressEvent
from resmfn.data.runs.file_names import PROGRESS
from resmfn.data.runs.run_folder import RunFolder

LEAST_INTERVAL = 1.0
"""Least seconds between updates within one step of work; no comparison recorded."""


class ProgressFile:
    """Keeps progress.json up to date: ``stage``, ``message``, ``done`` (0 to 1), ``seconds``, ``updated`` (Unix time).

    Parameters
    ----------
    folder
        The run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._start = time.monotonic()
        self._written = -LEAST_INTERVAL
        self._done = 0.0
        self.earlier_seconds = 0.0
        """What earlier parts of a resumed run took."""

    def __call__(self, event: ProgressEvent) -> None:
        """Write, unless the event is a detail and the last update is recent."""
        now = time.monotonic()
        self._done = max(self._done, event.done or 0.0)
        if not self._folder.has_begun:
            return
        if event.done is None and now - self._written < LEAST_INTERVAL:
            return
        self._written = now
        values = {
            "stage": event.stage,
            "message": event.message,
            "done": round(self._done, 4),
            "seconds": round(self.earlier_seconds + now - self._start, 1),
            "updated": round(time.time(), 1),
        }
        write_lightly(self._folder, PROGRESS, values)


def write_lightly(folder: RunFolder, name: str, values: Mapping[str, object]) -> None:
    """Write a JSON file whole, without waiting for the disk, nor ending the run where the disk is full."""
    temporary = folder.path / f".{name}.tmp"  # one name: what a killed run left is replaced, a link as such
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as file:  # exclusively: follows no link
            file.write(json.dumps(values, indent=1) + "\n")
        temporary.replace(folder.path / name)
