"""Bookkeeping of a run: progress in its files, and the time and memory that it used."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from resmfn.core.device import peak_gpu_memory
from resmfn.core.machine import peak_memory
from resmfn.core.processes import Team
from resmfn.core.progress import Listener, ProgressEvent
from resmfn.data.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Costs:
    """What a run has cost so far, over all its parts."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes."""
    peak_gpu_memory: int = 0
    """Bytes; 0 without a GPU."""

    def after(self, seconds: float, cpu_seconds: float, memory: int, gpu_memory: int) -> Costs:
        """Return them after so many seconds more, wall and CPU, and these peaks of memory, bytes."""
        return Costs(
            self.seconds + seconds,
            self.cpu_seconds + cpu_seconds,
            max(self.peak_memory, memory),
            max(self.peak_gpu_memory, gpu_memory),
        )


class CostedState(Protocol):
    """A state that knows what the run has cost up to it."""

    costs: Costs
    n_metrics: int

    @property
    def format(self) -> int:
        """Version of the form that :meth:`to_dict` gives it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""


class Clock:
    """Wall and CPU time since the last lap."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def lap(self) -> tuple[float, float]:
        """Return the seconds, wall and CPU, since the last lap."""
        wall, cpu = time.monotonic(), time.process_time()
        passed = (wall - self._wall, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu
        return passed


class ProgressReporter:
    """Passes progress events to the run's files and to listeners.

    Parameters
    ----------
    folder
        The run's.
    *listeners
        Called in order, after the log; None is skipped.
    """

    def __init__(self, folder: RunFolder, *listeners: Listener | None) -> None:
        self._folder = folder
        self._listeners = [listener for listener in listeners if listener is not None]

    def __call__(self, event: ProgressEvent) -> None:
        """Log an event, record its figures, pass it on."""
        self._folder.log(f"{event.stage}: {event.message}")
        if event.values:
            self._folder.record(stage=event.stage, **event.values)
        for listener in self._listeners:
            listener(event)


def add_costs(state: CostedState, clock: Clock, team: Team) -> None:
    """Add what all processes have spent since the last time to a state: CPU seconds and memory of all together."""
    seconds, cpu_seconds = clock.lap()
    spent = torch.tensor([cpu_seconds, float(peak_memory()), float(peak_gpu_memory())], dtype=torch.float64)
    team.sum_(spent)
    state.costs = state.costs.after(seconds, float(spent[0]), int(spent[1]), int(spent[2]))


def save(folder: RunFolder, state: CostedState) -> None:
    """Store a state whole."""
    state.n_metrics = folder.count_metrics()
    folder.save(state.to_dict(), state.format)
