"""Pictures as PNG data URIs, without a drawing library: gray images and the sphere of views."""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np
import torch
from torch import Tensor

from resmfn.evaluation import view_density

VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137), (53, 183, 121),
    (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip
"""The color map viridis (Smith and van der Walt 2015, CC0) at even distances."""
MOST_VIEWS = 5000
"""Most views that the picture is drawn from; a density needs no more."""


def png_uri(pixels: np.ndarray) -> str:
    """Return 8-bit pixels (height, width), or (height, width, 4) with transparency, as a data URI; row 0 on top."""
    height, width = pixels.shape[:2]
    color_type = 0 if pixels.ndim == 2 else 6
    rows = np.concatenate((np.zeros((height, 1), np.uint8), pixels.reshape(height, -1).astype(np.uint8)), axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def gray_uri(image: np.ndarray) -> str:
    """Return an image (y upwards, as in a stack) as a picture whose gray values span mean +- 3 deviations."""
    spread = float(image.std()) or 1.0
    grey = (image - image.mean()) / (6 * spread) + 0.5
    return png_uri((255 * grey.clip(0, 1)[::-1]).round())


def colored(values: np.ndarray) -> np.ndarray:
    """Return values of 0 to 1 as viridis colors, (..., 3) of 0 to 255."""
    at = values.clip(0, 1) * (len(VIRIDIS) - 1)
    low = np.minimum(at.astype(int), len(VIRIDIS) - 2)
    table = np.array(VIRIDIS, dtype=np.float64)
    share = (at - low)[..., None]
    return table[low] * (1 - share) + table[low + 1] * share


def mollweide_uri(rotation: Tensor, width: int = 480) -> tuple[str, float]:
    """Return :func:`view_sphere` as a picture, transparent outside, and the density of its brightest color."""
    density = view_sphere(rotation, width)
    top = max(2.0, float(np.nanmax(density)))
    alpha = np.where(np.isnan(density), 0.0, 255.0)[..., None]
    return png_uri(np.concatenate((colored(np.nan_to_num(density) / top), alpha), axis=-1).round()), top


def view_sphere(rotation: Tensor, width: int = 480) -> np.ndarray:
    """Return the density of views over the sphere in Mollweide's equal-area projection; 1 is uniform, NaN outside.

    Parameters
    ----------
    rotation
        A, (n, 3, 3).
    width
        Pixels; the height is half of it.

    Returns
    -------
    ndarray
        (width // 2, width), row 0 on top.

    Notes
    -----
    x is the angle rot, -180 to 180 degrees; the top is tilt 0. Mollweide: Snyder, USGS Professional Paper 1395, p. 249.
    """
    step = max(1, math.ceil(len(rotation) / MOST_VIEWS))
    height = width // 2
    y, x = np.meshgrid(1 - (2 * np.arange(height) + 1) / height, (2 * np.arange(width) + 1) / width - 1, indexing="ij")
    theta = np.arcsin(y)
    inside = np.abs(x) <= np.cos(theta)
    latitude = np.arcsin(((2 * theta + np.sin(2 * theta)) / math.pi).clip(-1, 1))
    longitude = math.pi * np.where(inside, x / np.cos(theta).clip(1e-9), 0)
    density = _density_table(rotation[::step].double())
    rows = (math.pi / 2 - latitude) / math.pi * (density.shape[0] - 1)
    columns = (longitude + math.pi) / (2 * math.pi) * (density.shape[1] - 1)
    return np.where(inside, density[rows.round().astype(int), columns.round().astype(int)], math.nan)


def graticule() -> tuple[list[np.ndarray], list[tuple[float, str]]]:
    """Return what is drawn over :func:`view_sphere`, which spans -1 to 1 along x and along y (up).

    Returns
    -------
    tuple
        Lines (k, 2) of rot every 60 degrees and of tilt every 30; for each meridian, x on the equator and its label.
    """
    thetas = np.linspace(-math.pi / 2, math.pi / 2, 37)
    lines, labels = [], []
    for rot in range(-120, 121, 60):
        lines.append(np.stack((rot / 180 * np.cos(thetas), np.sin(thetas)), axis=1))
        labels.append((rot / 180, f"{rot}°"))
    for tilt in (30, 60, 90, 120, 150):
        theta = _mollweide_angle(math.radians(90 - tilt))
        lines.append(np.array([[-math.cos(theta), math.sin(theta)], [math.cos(theta), math.sin(theta)]]))
    return lines, labels


def _density_table(rotation: Tensor) -> np.ndarray:
    """Density at tilt 0 to 180 (rows) and rot -180 to 180 (columns), every three degrees, spread to every one."""
    tilt, rot = torch.linspace(0, math.pi, 61).double(), torch.linspace(-math.pi, math.pi, 121).double()
    t, r = torch.meshgrid(tilt, rot, indexing="ij")
    directions = torch.stack((t.sin() * r.cos(), t.sin() * r.sin(), t.cos()), -1).reshape(-1, 3)
    table = view_density(rotation, directions).reshape(1, 1, 61, 121)
    fine = torch.nn.functional.interpolate(table, (181, 361), mode="bilinear", align_corners=True)
    return np.asarray(fine[0, 0].numpy())


def _mollweide_angle(latitude: float) -> float:
    """Solve 2 t + sin 2t = pi sin(latitude) by Newton's method."""
    angle = latitude
    for _ in range(20):
        angle -= (2 * angle + math.sin(2 * angle) - math.pi * math.sin(latitude)) / (2 + 2 * math.cos(2 * angle))
    return angle
