"""A picture of a map's surface, as EMDB asks for with an entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from resmfn.core import atomic_write

SIZE = 500
"""Pixels along each side, which EMDB asks for."""
_LIGHT = torch.tensor([-0.4, -0.5, 0.77])
_COLOR = torch.tensor([0.42, 0.62, 0.80])
_AMBIENT = 0.25
_SMOOTHING = 5
"""Pixels of the surface over which its slope is averaged."""


def write_entry_image(path: Path, volume: Tensor, level: float) -> None:
    """Write a picture of the surface (N, N, N) at a level, seen along z, light from above."""
    with atomic_write(path) as temporary:
        Image.fromarray(draw_surface(volume, level)).save(temporary)


def draw_surface(volume: Tensor, level: float, size: int = SIZE) -> np.ndarray:
    """Return the picture (size, size, 3), uint8; what the surface does not cover is white.

    Parameters
    ----------
    volume
        (N, N, N), seen from its last section towards its first, x to the right and y upwards.
    level
        Grey value of the surface.
    size
        Pixels along each side.
    """
    depth = _first_crossing(volume, level, size).flip(0)  # y upwards: otherwise the picture is of the other hand
    covered = torch.isfinite(depth)
    if not covered.any():
        return np.full((size, size, 3), 255, dtype=np.uint8)
    filled = torch.where(covered, depth, depth[covered].min())
    smooth = avg_pool2d(filled[None, None], _SMOOTHING, stride=1, padding=_SMOOTHING // 2, count_include_pad=False)[
        0, 0
    ]
    slope_y, slope_x = torch.gradient(smooth)
    normal = torch.stack((-slope_x, -slope_y, torch.ones_like(slope_x)), dim=-1)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    light = (normal @ (_LIGHT / _LIGHT.norm()).to(normal)).clamp_min(0)
    shade = (_AMBIENT + (1 - _AMBIENT) * light)[..., None] * _COLOR.to(normal)
    picture = torch.where(covered[..., None], shade, torch.ones(3).to(shade))
    return (255 * picture.clamp(0, 1)).round().byte().numpy()


def _first_crossing(volume: Tensor, level: float, size: int) -> Tensor:
    """Return the height (size, size), in pixels of the picture, of the surface met first; -inf where there is none."""
    n = volume.shape[0]
    depth = torch.full((size, size), -torch.inf)
    behind: Tensor | None = None  # the section before, nearer to who looks
    for z in range(n - 1, -1, -1):
        section = interpolate(volume[z][None, None].float(), (size, size), mode="bilinear", align_corners=False)[0, 0]
        new = (section > level) & torch.isinf(depth)
        if new.any():
            nearer = torch.full_like(section, level) if behind is None else behind
            part = ((section - level) / (section - nearer).clamp_min(1e-30)).clamp(0, 1)
            depth = torch.where(new, (z + part) * size / n, depth)
        behind = section
    return depth
