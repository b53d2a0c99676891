"""Poses, CTF, shells and files as docs/conventions.md fixes them, written from its formulas and from nothing of resmfn.

Only numpy, mrcfile and gemmi: what judges the package shares no line with it.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import gemmi
import mrcfile
import numpy as np

OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGIN = ("rlnOriginXAngst", "rlnOriginYAngst")
DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


def matrices(angles: np.ndarray) -> np.ndarray:
    """Return A = (Rz(rot) Ry(tilt) Rz(psi))^T, (n, 3, 3), of Euler angles (n, 3) in degrees."""
    (cr, ct, cp), (sr, st, sp) = (f(np.radians(angles)).T for f in (np.cos, np.sin))
    rows = [
        [cr * ct * cp - sr * sp, sr * ct * cp + cr * sp, -st * cp],
        [-cr * ct * sp - sr * cp, -sr * ct * sp + cr * cp, st * sp],
        [cr * st, sr * st, ct],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def ctf(fx: Any, fy: Any, defocus: Any, voltage: float, cs: float, contrast: float, functions: ModuleType = np) -> Any:
    """Return the CTF at frequencies in 1/A: defocus U, V (A) and angle (degrees), kV, mm, a share.

    Of one image, or of several where the three of ``defocus`` have axes for it. Numpy's or torch's, as ``functions``.
    """
    volt = 1e3 * voltage
    wavelength = 12.2643 / np.sqrt(volt * (1 + 0.978466e-6 * volt))  # A, relativistic
    squared, angle = fx**2 + fy**2, functions.arctan2(fy, fx)
    u, v, turned = defocus
    depth = ((u + v) + (u - v) * functions.cos(2 * (angle - turned * (np.pi / 180)))) / 2
    gamma = np.pi * wavelength * depth * squared - np.pi / 2 * 1e7 * cs * wavelength**3 * squared**2
    return np.sqrt(1 - contrast**2) * functions.sin(gamma) + contrast * functions.cos(gamma)


def shell_sums(values: np.ndarray, shells: np.ndarray, n: int) -> np.ndarray:
    """Sum values of a centered transform over its shells 0 to n - 1."""
    inside = shells < n
    return np.bincount(shells[inside], weights=values[inside], minlength=n)


def fsc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Fourier shell correlation of two maps: hard shells one Fourier pixel wide, 0 to N // 2."""
    n = len(a) // 2 + 1
    k = np.fft.fftfreq(len(a)) * len(a)
    shells = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    one, two = np.fft.fftn(a), np.fft.fftn(b)
    cross = shell_sums((one * two.conj()).real, shells, n)
    power = shell_sums(abs(one) ** 2, shells, n) * shell_sums(abs(two) ** 2, shells, n)
    return np.where(power > 0, cross / np.sqrt(np.maximum(power, 1e-300)), 0.0)


def crossing(curve: np.ndarray, threshold: float, side: float) -> float:
    """Return the resolution in A at which a curve first falls below a threshold; Nyquist where it never does."""
    below = np.flatnonzero(curve[1:-1] < threshold)
    if len(below) == 0:
        return side / (len(curve) - 1)
    k = below[0] + 1
    step = (curve[k - 1] - threshold) / (curve[k - 1] - curve[k]) if curve[k - 1] > threshold else 0.0
    return side / (k - 1 + step) if k - 1 + step > 0 else float("inf")


def read_map(path: Path) -> tuple[np.ndarray, float]:
    """Return a map as it is stored, [z, y, x], in float64, and its pixel size in A."""
    with mrcfile.open(path, permissive=True) as file:
        return file.data.astype(float), float(file.voxel_size.x)


def write_mrc(path: Path, data: np.ndarray, pixel_size: float) -> None:
    """Write a map or, if its name ends in .mrcs, a stack."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(data.astype(np.float32))
        if path.suffix == ".mrcs":
            file.set_image_stack()
        file.voxel_size = pixel_size


def read_columns(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """Return columns of numbers (n, columns) of a STAR file's particle table."""
    block = _particles(path)
    return np.array([[float(cell) for cell in block.find_values(f"_{name}")] for name in names]).T


def read_names(path: Path) -> list[str]:
    """Return the images of a STAR file: number and file, the folder left out."""
    pairs = [gemmi.cif.as_string(cell).partition("@") for cell in _particles(path).find_values("_rlnImageName")]
    return [f"{int(number)}@{Path(stack).name}" for number, _, stack in pairs]


def write_star(path: Path, optics: dict[str, object], columns: dict[str, np.ndarray], names: list[str]) -> None:
    """Write a RELION 3.1 STAR file of one optics group."""
    text = "\n# version 30001\n\ndata_optics\n\nloop_\n" + "".join(f"_{name}\n" for name in optics)
    text += " ".join(str(value) for value in optics.values()) + "\n\n\n# version 30001\n\ndata_particles\n\nloop_\n"
    text += "".join(f"_{name}\n" for name in ("rlnImageName", "rlnOpticsGroup", *columns))
    rows = zip(names, *(column.tolist() for column in columns.values()), strict=True)
    path.write_text(text + "".join(f"{name} 1 {' '.join(f'{v:.6f}' for v in values)}\n" for name, *values in rows))


def _particles(path: Path) -> gemmi.cif.Block:
    document = gemmi.cif.read(str(path))
    block = document.find_block("particles")
    return document.sole_block() if block is None else block
