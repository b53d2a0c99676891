"""The device to compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resmfn.core.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """Return the device of a name: auto is a GPU if there is one.

    Raises
    ------
    InputError
        A GPU was requested, and there is none.
    """
    import torch  # here, so that importing the error classes costs no second

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("--device cuda needs a GPU that this PyTorch can use, and there is none; use --device cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def limit_gpu_memory(device: torch.device, gibibytes: float) -> None:
    """Limit the GPU memory that this process may take from now on.

    PyTorch then raises its out-of-memory error as if the GPU had no more; the driver's own share, some hundred MiB,
    comes on top.

    Raises
    ------
    InputError
        The device is no GPU, or has less.
    """
    import torch

    if device.type != "cuda":
        raise InputError(f"--gpu-memory {gibibytes:g} limits a GPU, and the run is on the CPU; leave it out")
    total = torch.cuda.get_device_properties().total_memory / 2**30  # of the one in use, as in the line after next
    if gibibytes > total:
        raise InputError(f"--gpu-memory must be at most the GPU's {total:.1f} GiB, got {gibibytes:g}")
    torch.cuda.set_per_process_memory_fraction(gibibytes / total)


def peak_gpu_memory() -> int:
    """Return the peak GPU memory of this process's tensors in bytes; 0 if it used none."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
