"""Maps small enough to embed in a page: fewer voxels, 8 bits each, compressed."""

from __future__ import annotations

import base64
import math
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resmfn.data import read_map
from resmfn.fourier import resize_map

LEAST_SIZE = 64
"""Smaller boxes are padded in Fourier space: a surface through few voxels looks like stairs."""
MOST_SIZE, MOST_SIZE_FIRST = 64, 96
"""Voxels a side that are kept; of the map that is shown first, more."""
TAIL = 1e-4
"""Share of voxels whose values are clipped at either end, so that one bright voxel does not use up the 8 bits."""
_LEVEL = 9


def pack_map(path: Path, title: str, resolution: float | None = None, *, is_first: bool = False) -> dict[str, Any]:
    """Return a map as the page's viewer reads it.

    Parameters
    ----------
    path
        Map file.
    title
        Its name on the page.
    resolution
        Å; voxels need not be smaller than a third of it.
    is_first
        Whether it is the map that is shown first, which may be larger.

    Returns
    -------
    dict
        ``size`` n, ``pixel`` Å, ``low`` and ``high`` (values of bytes 0 and 255), ``mean`` and ``deviation`` of all
        voxels, ``voxels``: n^3 bytes, x fastest, then y, then z, as zlib and base64. The origin is voxel n // 2.
    """
    density = read_map(path)
    side = density.box_size * density.pixel_size
    size = _viewer_size(density.box_size, side, resolution, MOST_SIZE_FIRST if is_first else MOST_SIZE)
    data = density.data if size == density.box_size else resize_map(density.data, size)
    low, high = _range(data)
    scaled = (data - low) / (high - low) * 255
    voxels = scaled.round().clamp(0, 255).byte().numpy().tobytes()
    return {
        "title": title,
        "file": path.name,
        "size": size,
        "box": density.box_size,
        "pixel": side / size,
        "low": low,
        "high": high,
        "mean": float(data.double().mean()),
        "deviation": float(data.double().std()),
        "voxels": base64.b64encode(zlib.compress(voxels, _LEVEL)).decode(),
    }


def pack_local(path: Path) -> dict[str, Any]:
    """Return a map of local resolution as the page's viewer reads it: nearest voxels of at most 64 a side.

    Returns
    -------
    dict
        ``size``, ``pixel`` and ``voxels`` as of :func:`pack_map`; bytes 1 to 255 are ``low`` to ``high`` Å, the finest
        and the coarsest 2 % cut off, and 0 is outside of the mask.
    """
    density = read_map(path)
    size = min(density.box_size, MOST_SIZE)
    step = density.box_size / size
    nearest = ((torch.arange(size) - size // 2) * step).round().long() + density.box_size // 2
    nearest = nearest.clamp(0, density.box_size - 1)
    data = density.data[nearest][:, nearest][:, :, nearest]
    inside = data[data > 0].sort().values
    low, high = (float(inside[int(share * (len(inside) - 1))]) if len(inside) else 0.0 for share in (0.02, 0.98))
    high = max(high, low + 0.01)
    scaled = (1 + 254 * (data - low) / (high - low)).round().clamp(1, 255)
    voxels = torch.where(data > 0, scaled, 0).byte().numpy().tobytes()
    return {
        "size": size,
        "pixel": density.pixel_size * step,
        "low": round(low, 3),
        "high": round(high, 3),
        "voxels": base64.b64encode(zlib.compress(voxels, _LEVEL)).decode(),
    }


def _viewer_size(box_size: int, side: float, resolution: float | None, most: int) -> int:
    wanted = LEAST_SIZE
    if resolution is not None and math.isfinite(resolution):
        wanted = max(wanted, 2 * math.ceil(1.5 * side / resolution))
    return min(wanted, most, max(box_size, LEAST_SIZE))


def _range(data: Tensor) -> tuple[float, float]:
    """Return the values at the tails; a constant map gets a range that is not empty."""
    ordered = data.flatten().sort().values
    cut = int(TAIL * len(ordered))
    low, high = float(ordered[cut]), float(ordered[len(ordered) - 1 - cut])
    if not high > low:
        low, high = float(ordered[0]), float(ordered[-1])
    return (low, high) if high > low else (low, low + 1.0)
