"""What every figure is kept with: the program, the machine and the moment that it was measured with.

A result file holds records: one JSON object a line (``.jsonl``), or one object or a list of them (``.json``). A
record names its ``benchmark`` and ``case``, and has ``made_with`` from :func:`stamp`; the rest are figures.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

STAMP = ("date", "commit", "resmfn", "python", "torch", "processor", "cores", "gpu")
"""What a stamp holds; ``gpu`` is None where there is none."""


def stamp() -> dict[str, object]:
    """Return with what figures are being measured."""
    import torch

    import resmfn

    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "resmfn": resmfn.__version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def append(path: Path, record: dict[str, object]) -> None:
    """Add a record to a file of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")


def read(path: Path) -> list[dict]:
    """Return the records of a file."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


def spread(values: list[float]) -> dict[str, float]:
    """Return the median of repeated measurements, the extremes, and how many they are."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"median": median, "min": ordered[0], "max": ordered[-1], "repeats": len(ordered)}


def _commit() -> str:
    """Return the commit of the checkout, with a plus sign if files differ from it; unknown outside of one."""
    try:
        ask = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **ask).stdout.strip()  # type: ignore[call-overload]
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **ask)  # type: ignore[call-overload]
        return commit + ("+" if changed.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
