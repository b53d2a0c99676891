"""What a run writes for those who watch it: how far it is, the map so far, and what program it is."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import numpy
import torch

from resmfn.data import write_map
from resmfn.data.run_folder import RunFolder
from resmfn.reconstruction.context import HALVES, ProgressEvent, RunContext

if TYPE_CHECKING:
    from torch import Tensor

PROGRESS, PROVENANCE, PREVIEW = "progress.json", "provenance.json", "preview.mrc"
LEAST_INTERVAL = 1.0
"""Seconds between two writings inside a piece of work."""


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
        """Write, unless the event is a detail and the last writing is fresh."""
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
        _write_lightly(self._folder, PROGRESS, values)


def write_provenance(folder: RunFolder, device: torch.device) -> None:
    """Write provenance.json: the command, versions and machine that the run, or its last part, was made with."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    values: dict[str, object] = {
        "command": shlex.join(sys.argv),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "resmfn": import_module("resmfn").__version__,  # the package imports this module for type checkers
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }
    _write_lightly(folder, PROVENANCE, values)


def write_preview(folder: RunFolder, run: RunContext) -> None:
    """Write preview.mrc, the map so far: the joint one, else the mean of the halves; nothing before there is one."""
    references = run.state.references
    found: list[Tensor] = [references[name] for name in ("joint",) if name in references]
    found = found or [references[name] for name in HALVES if name in references]
    if found:
        mean = torch.stack(found).mean(dim=0).cpu()
        write_map(folder.path / PREVIEW, mean * run.observations.grey, run.pixel_size)


def _write_lightly(folder: RunFolder, name: str, values: Mapping[str, object]) -> None:
    """Write a JSON file whole, without waiting for the disk, nor ending the run where the disk is full."""
    temporary = folder.path / f".{name}.tmp"  # one name: what a killed run left is written over
    with suppress(OSError):
        temporary.write_text(json.dumps(values, indent=1) + "\n")
        temporary.replace(folder.path / name)
