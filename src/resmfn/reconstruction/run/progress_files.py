"""Files for `resmfn watch` and the report of a running run: progress, the map so far, provenance."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

import numpy
import torch

from resmfn.data import write_map
from resmfn.data.runs.progress_file import write_lightly
from resmfn.data.runs.run_folder import RunFolder
from resmfn.physics.compiled import version_of_numba
from resmfn.reconstruction.run.context import HALVES, RunContext

if TYPE_CHECKING:
    from torch import Tensor

PROVENANCE, PREVIEW = "provenance.json", "preview.mrc"


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
        "numba": version_of_numba(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }
    write_lightly(folder, PROVENANCE, values)


def write_preview(folder: RunFolder, run: RunContext) -> None:
    """Write preview.mrc, the map so far: the joint one, else the mean of the halves; nothing before there is one."""
    references = run.state.maps.references
    found: list[Tensor] = [references[name] for name in ("joint",) if name in references]
    found = found or [references[name] for name in HALVES if name in references]
    if found:
        mean = torch.stack(found).mean(dim=0).cpu()
        write_map(folder.path / PREVIEW, mean * run.observations.gray_scale, run.map_pixel_size)
