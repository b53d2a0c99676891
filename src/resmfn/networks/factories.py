"""The variants that the paper compares, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from resmfn.core.errors import InputError
from resmfn.networks.config import NetworkConfig
from resmfn.networks.frequencies import Initialization
from resmfn.networks.mfn import MultiplicativeFilterNetwork


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a network is built and trained (Shekarforoush et al., arXiv 2206.00746)."""

    name: str
    skip: bool
    """Outputs accumulate over scales (residual connections)."""
    init: Initialization
    """How frozen frequencies are drawn."""
    staged: bool
    """Scales are added one after the other, coarse to fine."""
    loss: Literal["all", "current"]
    """Scales in the loss: all that are active, or the finest active one."""
    detach_finished: bool = False
    """A finished scale's head sees its features detached: only that head still moves for it."""


VARIANTS = {
    v.name: v
    for v in (
        Variant(name="vanilla", skip=False, init="old", staged=False, loss="all"),
        Variant(name="staged", skip=False, init="old", staged=True, loss="current"),
        Variant(name="staged-fair", skip=False, init="old", staged=True, loss="all", detach_finished=True),
        Variant(name="staged-residual", skip=True, init="old", staged=True, loss="current"),
        Variant(name="residual-mfn", skip=True, init="new", staged=True, loss="current"),
    )
}


def variant(name: str) -> Variant:
    """Look a variant up by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in VARIANTS:
        raise InputError(f"unknown variant {name!r}; choose one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def build_network(
    name: str, config: NetworkConfig, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> MultiplicativeFilterNetwork:
    """Draw the network of a variant: ``config`` with the variant's skip connections and initialization."""
    chosen = variant(name)
    config = replace(config, residual=chosen.skip, init=chosen.init)
    return MultiplicativeFilterNetwork(config, generator=generator, dtype=dtype)


def residual_mfn(
    dim: int,
    hidden_dim: int,
    out_dim: int = 1,
    n_scales: int = 3,
    box_size: int = 64,
    *,
    quantized: bool = True,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> MultiplicativeFilterNetwork:
    """Draw the paper's network: skip connections and the "new" initialization."""
    config = NetworkConfig(
        dim=dim, hidden_dim=hidden_dim, out_dim=out_dim, n_scales=n_scales, box_size=box_size, quantized=quantized
    )
    return build_network("residual-mfn", config, generator=generator, dtype=dtype)
