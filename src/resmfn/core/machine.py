"""What this computer offers: whether the package can run on it, and what to do about what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from resmfn.core.errors import InputError

Status = Literal["good", "note", "missing", "bad"]
REQUIRED = ("torch", "numpy", "scipy", "mrcfile", "gemmi", "cyclopts", "rich", "yaml", "matplotlib")
OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 11)
CGROUP = Path("/sys/fs/cgroup")
"""Where a container says how much memory it may have."""
OPTIONAL_PROGRAMS = {
    "relion_refine": "RELION can continue from particles.star and map.mrc; some tests check files against it",
    "chimerax": "ChimeraX displays maps; `resmfn report` does not need it",
}
OPTIONAL_PACKAGES = {
    "numba": "compiled loops: on a CPU runs take less time (pip install 'resmfn[fast]')",
    "tensorboard": "curves of several runs in TensorBoard; `resmfn report` and `resmfn watch` do not need it",
    "skimage": "scikit-image: test photographs for `resmfn fit-image`",
}
INSTALL_NAMES = {"yaml": "pyyaml", "skimage": "scikit-image"}
MEETING = "RESMFN_MEETING"
"""Environment variable: the file by which processes that share this computer find each other."""
LITTLE_MEMORY, LITTLE_DISK = 4 * 2**30, 2 * 2**30  # for a note only; no comparison recorded
_GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    status: Status
    """good; note: works, but something is worth knowing; missing: optional and not there; bad: resmfn cannot run."""
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""

    def to_dict(self) -> dict[str, Any]:
        """Return a plain record."""
        return asdict(self)


def examine(folder: Path) -> list[Check]:
    """Look at Python, packages, processor, GPU, memory, and the disk that holds a folder.

    Parameters
    ----------
    folder
        Where runs would be written.
    """
    return [
        _python(),
        *(_package(name) for name in REQUIRED if name != "torch"),
        *_torch(),
        _threads(),
        _memory(),
        _disk(folder),
        *(_program(name, purpose) for name, purpose in OPTIONAL_PROGRAMS.items()),
        *(_optional_package(name, purpose) for name, purpose in OPTIONAL_PACKAGES.items()),
    ]


def can_run(checks: list[Check]) -> bool:
    """Return whether no check failed."""
    return all(check.status != "bad" for check in checks)


def available_memory() -> int | None:
    """Return the bytes that a new process may take: what is free, within a container's limit; None if unknown."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        limit, used = (CGROUP / name for name in ("memory.max", "memory.current"))
        if limit.is_file() and (text := limit.read_text().strip()) != "max":
            found.append(int(text) - int(used.read_text()) + _file_cache())
    except (OSError, ValueError, IndexError):
        pass
    return min(found) if found else None


def _file_cache() -> int:
    """Return the bytes of files that count as used in a container's memory, though the system frees them at need."""
    lines = (CGROUP / "memory.stat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "slab_reclaimable ")))


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes.

    What Linux says to :func:`resource.getrusage` counts the program that started this one: a run that another one
    started which had read 13 GB seemed to have taken as much itself.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, IndexError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def require_memory(
    needed: int, what: str, advice: str = "use a smaller --box-size or a coarser --final-resolution, or free memory"
) -> None:
    """Refuse work that cannot fit in memory, before the system kills the process in the middle of it.

    Parameters
    ----------
    needed
        Bytes, at the least.
    what
        Takes them.
    advice
        What to do if there are not so many.

    Raises
    ------
    InputError
        States how much is free and how much is needed.
    """
    free = available_memory()
    if free is not None and needed > free:
        raise InputError(
            f"out of memory: {what} take {needed / _GIB:.1f} GiB, and {free / _GIB:.1f} GiB are free; {advice}"
        )


def usable_cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_cores() -> int:
    """Return the cores to compute with: all that this process may use, or fewer where OMP_NUM_THREADS says so."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable_cores(), int(allowed)) if allowed.isdecimal() and int(allowed) > 0 else usable_cores()


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < OLDEST_PYTHON:
        return Check("Python", "bad", found, "install Python 3.11 or newer")
    return Check("Python", "good", found)


def _package(name: str) -> Check:
    project = INSTALL_NAMES.get(name, name)
    try:
        return Check(project, "good", version(project))
    except PackageNotFoundError:
        return Check(project, "bad", "not installed", f"pip install {project}")


def _torch() -> list[Check]:
    """Return PyTorch's version and the GPU that it can use."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Check("torch", "bad", f"cannot be imported: {error}", "pip install 'torch>=2.11'")]
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    old = release < OLDEST_TORCH
    advice = "pip install --upgrade 'torch>=2.11'" if old else ""
    checks = [Check("torch", "bad" if old else "good", torch.__version__, advice)]
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(i)
            found = f"{about.name}, {about.total_memory / _GIB:.0f} GiB"
            checks.append(Check("GPU", "good", found, "used unless --device cpu says otherwise"))
    elif torch.version.cuda is None:
        advice = "nothing to do without an NVIDIA GPU; with one, install PyTorch's CUDA build (pytorch.org)"
        checks.append(Check("GPU", "missing", "this PyTorch is built without CUDA; everything runs on the CPU", advice))
    else:
        advice = "if there is an NVIDIA GPU, check that `nvidia-smi` lists it and that its driver is new enough"
        checks.append(Check("GPU", "missing", f"none found (PyTorch for CUDA {torch.version.cuda})", advice))
    return checks


def _threads() -> Check:
    cores, allowed = usable_cores(), allowed_cores()
    if allowed < cores:
        advice = "unset OMP_NUM_THREADS to use all cores"
        return Check("threads", "note", f"{allowed} of {cores} cores, as OMP_NUM_THREADS says", advice)
    return Check("threads", "good", f"{cores} cores")


def _memory() -> Check:
    free = available_memory()
    if free is None:
        return Check("memory", "note", "unknown on this system", "1 GiB is enough for 10,000 images of 64 pixels")
    found = f"{free / _GIB:.1f} GiB free"
    if free < LITTLE_MEMORY:
        return Check(
            "memory", "note", found, "too little for large sets: close other programs, or use a smaller --box-size"
        )
    return Check("memory", "good", found)


def _disk(folder: Path) -> Check:
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.is_dir())
    if not os.access(existing, os.W_OK):
        return Check("disk", "note", f"{existing} cannot be written", "write runs to another folder")
    free = shutil.disk_usage(existing).free
    found = f"{free / _GIB:.1f} GiB free in {existing}"
    if free < LITTLE_DISK:
        return Check("disk", "note", found, "free some space: a run keeps maps and a checkpoint")
    return Check("disk", "good", found)


def _program(name: str, purpose: str) -> Check:
    path = shutil.which(name)
    return Check(name, "good", path) if path else Check(name, "missing", "not on PATH (optional)", purpose)


def _optional_package(name: str, purpose: str) -> Check:
    project = INSTALL_NAMES.get(name, name)
    if importlib.util.find_spec(name) is None:
        return Check(project, "missing", "not installed (optional)", f"pip install {project}: {purpose}")
    return _package(name)
