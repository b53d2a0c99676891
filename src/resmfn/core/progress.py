"""What long tasks report while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressEvent:
    """A report, for a person or a log, after a piece of work."""

    stage: str
    message: str
    done: float | None = None
    """Share of the run, 0 to 1: a guess; None inside a piece of work."""
    values: dict[str, float] | None = None
    """Figures worth recording."""


Listener = Callable[[ProgressEvent], None]


def duration(seconds: float) -> str:
    """Return a duration in a readable unit: 89 s, 89 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
