"""Where to compute."""

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
        A GPU is asked for and there is none.
    """
    import torch  # here, so that importing the error classes costs no second

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("--device cuda needs a GPU that this PyTorch can use, and there is none; use --device cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")
