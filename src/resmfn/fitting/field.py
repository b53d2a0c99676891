"""A fitted field: a network, and the sampling of the image or map that it was fitted to."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from resmfn.core.atomic import atomic_write
from resmfn.core.errors import InputError
from resmfn.fitting.samples import pixel_center_axes
from resmfn.networks import (
    LinearFilter,
    MultiplicativeFilterNetwork,
    crop_centered,
    filter_series,
    load_plain,
    network_from_state,
    network_state,
    series_on_axes,
)
from resmfn.networks.checkpoint import FORMAT as NETWORK_FORMAT

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
    at_centers: bool = True
    """Whether an image's samples stand at the centers of pixels; else they stand as voxels do, one at the origin."""

    def axes(self, shape: tuple[int, ...]) -> list[Tensor]:
        """Coordinates along each axis of a grid that covers the same field, in boxes, in double precision."""
        if self.kind == "image" and self.at_centers:
            return pixel_center_axes(shape, self.shape)
        return [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]

    def coordinates(self, shape: tuple[int, ...]) -> Tensor:
        """Points of a grid that covers the same field: pixel centers, or voxels from the origin N // 2; (P, dim)."""
        mesh = torch.meshgrid(*[axis.to(self.network.dtype) for axis in self.axes(shape)], indexing="ij")
        return torch.stack([m.reshape(-1) for m in mesh], dim=1).to(self.network.device)

    def sample(
        self,
        shape: tuple[int, ...] | None = None,
        scale: float | None = None,
        kernel: LinearFilter | None = None,
    ) -> Tensor:
        """Values of one scale on a grid of any shape, filtered if asked for; exact wherever the grid's points are.

        Parameters
        ----------
        shape
            Of the grid (None: the original's).
        scale
            1 is the coarsest; None the finest. Between two scales (2.5) is the finer one's Fourier series up to a
            frequency between their bands (:func:`band_between`).
        kernel
            Its width in pixels of the original, for a volume with a pixel size in Å.

        Returns
        -------
        Tensor
            (*shape, channels) for images, (*shape) for volumes.
        """
        shape = shape or self.shape
        if kernel is not None or (scale is not None and scale != int(scale)):
            return self._from_series(shape, scale, kernel)
        scale = None if scale is None else int(scale)
        with torch.no_grad():
            parts = [self.network(chunk, scale) for chunk in self.coordinates(shape).split(CHUNK_POINTS)]
        values = torch.cat(parts).reshape(*shape, -1)
        return values if self.kind == "image" else values[..., 0]

    def _from_series(self, shape: tuple[int, ...], scale: float | None, kernel: LinearFilter | None) -> Tensor:
        network, dim = self.network, len(shape)
        if not network.config.quantized:
            raise InputError(
                "filters and scales between two need a field with whole frequencies, and this one has others; fit it "
                "with --quantized"
            )
        whole = None if scale is None else math.ceil(scale)
        with torch.no_grad():
            series = network.fourier_coefficients(whole)
            if scale is not None:
                series = crop_centered(series, 2 * math.floor(band_between(network, scale)) + 1, dim)
            if kernel is not None:
                series = filter_series(series, kernel.scaled(1 / (max(self.shape) * (self.pixel_size or 1.0))), dim)
            values = series_on_axes(series, [axis.to(network.device) for axis in self.axes(shape)])
        if self.kind == "volume":
            return values
        return values.movedim(0, -1) if network.config.out_dim > 1 else values[..., None]


def band_between(network: MultiplicativeFilterNetwork, scale: float) -> float:
    """Return the band of any scale, also of one between two: half-width in cycles per box, by geometric interpolation.

    Raises
    ------
    InputError
        If the scale is not within 1 to the network's number of scales.
    """
    if not 1 <= scale <= network.n_scales:
        raise InputError(f"scale must lie in 1 (coarsest) .. {network.n_scales} (finest), got {scale:g}")
    low, share = math.floor(scale), scale - math.floor(scale)
    upper = network.half_width(math.ceil(scale))
    return upper**share * network.half_width(low) ** (1 - share)


def evaluate_scales(network: MultiplicativeFilterNetwork, coords: Tensor, n_scales: int) -> Tensor:
    """Values of scales 1 to ``n_scales`` at points, chunk by chunk and without gradients; (n_scales, P, out_dim)."""
    with torch.no_grad():
        return torch.cat([torch.stack(network.outputs(c, n_scales)) for c in coords.split(CHUNK_POINTS)], dim=1)


def save_field(path: str | os.PathLike[str], field: FittedField) -> None:
    """Write a field; the file is whole or not there, and holds tensors and plain values only."""
    record = {
        "format": FORMAT,
        "kind": field.kind,
        "shape": list(field.shape),
        "pixel_size": field.pixel_size,
        "at_centers": field.at_centers,
        "network": network_state(field.network),
    }
    with atomic_write(path) as temporary:
        torch.save(record, temporary)


def load_field(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> FittedField:
    """Read a field that :func:`save_field` wrote, or a bare network of :func:`resmfn.networks.save_network`.

    A network of two dimensions is an image of its box_size, one of three a volume whose pixel size is not known. Their
    samples stand at ``(i - N // 2) / N``.

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
    if found == NETWORK_FORMAT:
        return _field_of(network_from_state(record, device=device))
    if found != FORMAT:
        raise InputError(
            f"a fitted field must have format {FORMAT!r} or {NETWORK_FORMAT!r}, got {found!r}; field.pt of a fit is one"
        )
    try:
        network = network_from_state(record["network"], device=device)
        shape, at_centers = tuple(record["shape"]), record.get("at_centers", True)
        return FittedField(network, record["kind"], shape, record["pixel_size"], at_centers)
    except (KeyError, TypeError) as error:
        raise InputError(f"the field lacks {error}; it is damaged") from None


def _field_of(network: MultiplicativeFilterNetwork) -> FittedField:
    """Return a bare network as a field."""
    kinds: dict[int, Literal["image", "volume"]] = {2: "image", 3: "volume"}
    config = network.config
    kind = kinds.get(config.dim)
    if kind is None or config.out_dim not in ((1, 3) if kind == "image" else (1,)):
        raise InputError(
            "a network that is sampled must have 2 dimensions and 1 or 3 outputs, or 3 dimensions and 1 output, "
            f"got {config.dim} and {config.out_dim}"
        )
    return FittedField(network, kind, (config.box_size,) * config.dim, at_centers=False)
