"""Networks on disk: tensors and plain values only, so that loading can never run code."""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict
from typing import Any

import torch

from resmfn.core.atomic import atomic_write
from resmfn.core.errors import InputError
from resmfn.networks.config import NetworkConfig
from resmfn.networks.mfn import MultiplicativeFilterNetwork

FORMAT = "resmfn.network/1"


def save_network(path: str | os.PathLike[str], network: MultiplicativeFilterNetwork) -> None:
    """Write settings, frozen filters and weights; the file is whole or not there."""
    with atomic_write(path) as temporary:
        torch.save(network_state(network), temporary)


def load_network(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> MultiplicativeFilterNetwork:
    """Read a network that :func:`save_network` wrote, bit for bit, in the precision it had.

    Raises
    ------
    InputError
        If the file is missing, no checkpoint, damaged, or holds anything but tensors and plain values.
    """
    state = load_plain(path, "network checkpoint")
    try:
        return network_from_state(state, device=device)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_plain(path: str | os.PathLike[str], what: str) -> Any:
    """Load tensors and plain values that torch.save wrote, on the CPU; ``what`` is the file's name in messages.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds anything else.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of odd pickles: refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no {what} at {path}: the file does not exist") from None
    except OSError as error:
        raise InputError(f"{path} is not a readable {what}: {error.strerror or 'it cannot be read'}") from None
    except Exception:  # what is no pickle ends the unpickler in any way, and PyTorch's words advise to run the code
        raise InputError(
            f"{path} is not a readable {what}: it is of another kind, is damaged, or holds code, which is never run"
        ) from None


def network_state(network: MultiplicativeFilterNetwork) -> dict[str, object]:
    """Plain dictionary of a network, to be part of a larger checkpoint; tensors are copied to the CPU."""
    weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    return {"format": FORMAT, "config": asdict(network.config), "state_dict": weights}


def network_from_state(state: object, *, device: torch.device | str = "cpu") -> MultiplicativeFilterNetwork:
    """Build the network that :func:`network_state` described.

    Raises
    ------
    InputError
        If the dictionary is of another format or does not fit together.
    """
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"a network's state must have format {FORMAT!r}, got {found!r}")
    try:
        config, weights = NetworkConfig(**state["config"]), state["state_dict"]
        dtype = weights["linears.0.weight"].dtype
        network = MultiplicativeFilterNetwork(config, generator=torch.Generator(), dtype=dtype)
        network.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise InputError(f"settings and weights do not match: {' '.join(str(error).split())}") from None
    return network.to(device)
