"""Slices read and added point by point, compiled by numba: :mod:`resmfn.physics.compiled.loops` calls these.

What PyTorch does in a pass over all points for each corner, product and sum is done here at each point while it is in
the processor's registers. All numbers are single precision; grids and images are real arrays whose last axis holds real
and imaginary part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Loop = TypeVar("Loop", bound=Callable[..., object])


def _compiled(function: Loop) -> Loop:
    try:
        return cast(Loop, numba.njit(function, cache=True, fastmath=True, nogil=True))
    except RuntimeError:  # no folder to keep what was compiled in: each process compiles for itself
        return cast(Loop, numba.njit(function, fastmath=True, nogil=True))


@_compiled
def _cell(at: np.float32, size: int) -> tuple[int, np.float32]:
    """Return the voxel before a position, with another after it, and how far beyond it the position is."""
    lowest = min(max(int(at), 0), size - 2)
    return lowest, at - np.float32(lowest)


@_compiled
def add_slices(
    values: Floats,
    weights: Floats,
    frames: Floats,
    pixels: NDArray[np.int64],
    padding: int,
    added: Floats,
    weight: Floats,
) -> None:
    """Add slices ``(n, P, 2)`` and their weights ``(n, P)`` at frames ``(n, 3, 3)``, in place.

    ``values`` is ``(M, M, M, 2)``, ``weights`` ``(M, M, M)``, ``pixels`` ``(P, 2)``.
    """
    size, one = weights.shape[0], np.float32(1)
    half, step = np.float32(size // 2), np.float32(padding)
    for i in range(len(frames)):
        first, second = frames[i, 0], frames[i, 1]
        for p in range(len(pixels)):
            kx, ky = step * np.float32(pixels[p, 0]), step * np.float32(pixels[p, 1])
            ix, fx = _cell(kx * first[0] + ky * second[0] + half, size)
            iy, fy = _cell(kx * first[1] + ky * second[1] + half, size)
            iz, fz = _cell(kx * first[2] + ky * second[2] + half, size)
            real, imaginary, w = added[i, p, 0], added[i, p, 1], weight[i, p]
            for dz in range(2):
                along_z = fz if dz else one - fz
                for dy in range(2):
                    along_y = along_z * (fy if dy else one - fy)
                    upper = along_y * fx
                    for dx, share in ((0, along_y - upper), (1, upper)):
                        values[iz + dz, iy + dy, ix + dx, 0] += share * real
                        values[iz + dz, iy + dy, ix + dx, 1] += share * imaginary
                        weights[iz + dz, iy + dy, ix + dx] += share * w


@_compiled
def slope_rows(
    grid: Floats,
    poses: tuple[Floats, Floats],
    pixels: NDArray[np.int64],
    padding: int,
    ctf: Floats,
    image: Floats,
    per_angstrom: float,
    rows: Floats,
) -> None:
    """Fill the rows ``(n, F + 2, P, 2)`` of images ``(n, P, 2)`` at rotations ``(n, 3, 3)`` and shifts ``(n, 2)``.

    Slopes of the model along the turns and, where F is 5, along the shifts; the model; the image with its shift taken
    out. ``grid`` is ``(M, M, M, 2)``; ``per_angstrom`` is ``2 pi / (N pixel_size)``.
    """
    rotation, shift = poses
    size, n_free = grid.shape[0], rows.shape[1] - 2
    half, step, to_angle = np.float32(size // 2), np.float32(padding), np.float32(per_angstrom)
    most = np.abs(pixels).max()
    of_x, of_y = np.empty((2 * most + 1, 2), np.float32), np.empty((2 * most + 1, 2), np.float32)
    for i in range(len(rotation)):
        a = rotation[i]
        if n_free == 5:
            for at in range(2 * most + 1):
                x, y = (to_angle * shift[i, 0] * np.float32(at - most), to_angle * shift[i, 1] * np.float32(at - most))
                of_x[at, 0], of_x[at, 1] = np.cos(x), np.sin(x)
                of_y[at, 0], of_y[at, 1] = np.cos(y), np.sin(y)
        for p in range(len(pixels)):
            kx, ky = step * np.float32(pixels[p, 0]), step * np.float32(pixels[p, 1])
            ix, fx = _cell(kx * a[0, 0] + ky * a[1, 0] + half, size)
            iy, fy = _cell(kx * a[0, 1] + ky * a[1, 1] + half, size)
            iz, fz = _cell(kx * a[0, 2] + ky * a[1, 2] + half, size)
            for part in range(2):
                # Along x, then y, then z: lower and upper ends become values and slopes.
                v00, v10 = grid[iz, iy, ix, part], grid[iz, iy + 1, ix, part]
                v01, v11 = grid[iz + 1, iy, ix, part], grid[iz + 1, iy + 1, ix, part]
                x00, x10 = grid[iz, iy, ix + 1, part] - v00, grid[iz, iy + 1, ix + 1, part] - v10
                x01, x11 = grid[iz + 1, iy, ix + 1, part] - v01, grid[iz + 1, iy + 1, ix + 1, part] - v11
                v00, v10, v01, v11 = v00 + fx * x00, v10 + fx * x10, v01 + fx * x01, v11 + fx * x11
                y0, y1 = v10 - v00, v11 - v01
                v0, v1 = v00 + fy * y0, v01 + fy * y1
                x0, x1 = x00 + fy * (x10 - x00), x01 + fy * (x11 - x01)
                c = ctf[i, p]
                sx, sy, sz = c * (x0 + fz * (x1 - x0)), c * (y0 + fz * (y1 - y0)), c * (v1 - v0)
                along_x = a[0, 0] * sx + a[0, 1] * sy + a[0, 2] * sz
                along_y = a[1, 0] * sx + a[1, 1] * sy + a[1, 2] * sz
                along_z = a[2, 0] * sx + a[2, 1] * sy + a[2, 2] * sz
                rows[i, 0, p, part] = -ky * along_z
                rows[i, 1, p, part] = kx * along_z
                rows[i, 2, p, part] = ky * along_x - kx * along_y
                rows[i, n_free, p, part] = c * v0 + fz * sz
            real, imaginary = image[i, p, 0], image[i, p, 1]
            if n_free == 5:
                for axis in range(2):
                    turned = to_angle * np.float32(pixels[p, axis])
                    rows[i, 3 + axis, p, 0] = -turned * rows[i, n_free, p, 1]
                    rows[i, 3 + axis, p, 1] = turned * rows[i, n_free, p, 0]
                u, v = of_x[pixels[p, 0] + most], of_y[pixels[p, 1] + most]
                cosine, sine = u[0] * v[0] - u[1] * v[1], u[0] * v[1] + u[1] * v[0]
                real, imaginary = real * cosine + imaginary * sine, imaginary * cosine - real * sine
            rows[i, n_free + 1, p, 0], rows[i, n_free + 1, p, 1] = real, imaginary
