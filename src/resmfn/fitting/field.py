"""A fitted field: a network, and where its values stand in an image or a map."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from resmfn.core.atomic import atomic_write
from resmfn.core.errors import InputError
from resmfn.fitting.samples import pixel_center_coordinates
from resmfn.networks import (
    MultiplicativeFilterNetwork,
    box_coordinates,
    load_plain,
    network_from_state,
    network_state,
)

FORMAT = "resmfn.field/1"
CHUNK_POINTS = 32_768
"""Points evaluated at a time."""


@dataclass(frozen=True)
class FittedField:
    """A continuous image or map with several scales."""

    network: MultiplicativeFilterNetwork
    """Its output is the pixel value (0 to 1) or the density itself."""
    kind: Literal["image", "volume"]
    shape: tuple[int, ...]
    """Of the image or map that it was fitted to, at full resolution."""
    pixel_size: float | None = None
    """Å per voxel at that resolution, for volumes."""

    def coordinates(self, shape: tuple[int, ...]) -> Tensor:
        """Points of a grid that covers the same field: pixel centers, or voxels from the origin N // 2; (P, dim)."""
        network = self.network
        if self.kind == "image":
            coords = pixel_center_coordinates(shape, self.shape, dtype=network.dtype)
            return coords.to(network.device)
        return box_coordinates(shape[0], 3, device=network.device, dtype=network.dtype)

    def sample(self, shape: tuple[int, ...] | None = None, scale: int | None = None) -> Tensor:
        """Values of one scale (None: the finest) on a grid of any shape (None: the original's).

        Returns
        -------
        Tensor
            (*shape, channels) for images, (*shape) for volumes.
        """
        shape = shape or self.shape
        with torch.no_grad():
            parts = [self.network(chunk, scale) for chunk in self.coordinates(shape).split(CHUNK_POINTS)]
        values = torch.cat(parts).reshape(*shape, -1)
        return values if self.kind == "image" else values[..., 0]


def evaluate_scales(network: MultiplicativeFilterNetwork, coords: Tensor, n_scales: int) -> Tensor:
    """Values of scales 1 to ``n_scales`` at points, chunk by chunk and without gradients; (n_scales, P, out_dim)."""
    with torch.no_grad():
        return torch.cat([torch.stack(network.outputs(c, n_scales)) for c in coords.split(CHUNK_POINTS)], dim=1)


def with_affine_output(network: MultiplicativeFilterNetwork, gain: float, offset: float) -> MultiplicativeFilterNetwork:
    """Copy a network such that every scale gives ``gain * y + offset`` where it gave ``y``."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for i, head in enumerate(network.heads):
            layer = cast("torch.nn.Linear", head)
            layer.weight.mul_(gain)
            layer.bias.mul_(gain)
            if i == 0 or not network.config.residual:  # outputs that are sums of heads take the offset once
                layer.bias.add_(offset)
    return network


def save_field(path: str | os.PathLike[str], field: FittedField) -> None:
    """Write a field; the file is whole or not there, and holds tensors and plain values only."""
    record = {
        "format": FORMAT,
        "kind": field.kind,
        "shape": list(field.shape),
        "pixel_size": field.pixel_size,
        "network": network_state(field.network),
    }
    with atomic_write(path) as temporary:
        torch.save(record, temporary)


def load_field(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> FittedField:
    """Read a field that :func:`save_field` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or holds anything but tensors and plain values.
    """
    record = load_plain(path, "fitted field")
    try:
        return _field_from(record, device)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _field_from(record: Any, device: torch.device | str) -> FittedField:
    found = record.get("format") if isinstance(record, dict) else type(record).__name__
    if found != FORMAT:
        raise InputError(f"a fitted field must have format {FORMAT!r}, got {found!r}; field.pt of a fit is one")
    try:
        network = network_from_state(record["network"], device=device)
        return FittedField(network, record["kind"], tuple(record["shape"]), record["pixel_size"])
    except (KeyError, TypeError) as error:
        raise InputError(f"the field lacks {error}; it is damaged") from None
