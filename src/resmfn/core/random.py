"""Seeded random streams. Nothing in the package draws from torch's or numpy's global state."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def make_generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` that starts at ``seed``.

    The same seed gives the same numbers on one device; CPU and CUDA streams differ.
    """
    import torch  # here, so that importing the error classes costs no second

    return torch.Generator(device=device).manual_seed(seed)


def spawn(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return the random stream of one purpose, independent of the streams of all other names.

    A draw added to one purpose then leaves the numbers of the others as they were.

    Parameters
    ----------
    seed
        The seed of the whole run.
    names
        What the stream is for, such as ``"noise", 3``. ``3`` and ``"3"`` are different names.
    device
        Where the generator lives.
    """
    label = repr((seed, *names)).encode()
    digest = hashlib.blake2b(label, digest_size=8).digest()
    return make_generator(int.from_bytes(digest, "little") >> 1, device)
