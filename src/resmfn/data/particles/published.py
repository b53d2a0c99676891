"""The folder layout of the data of the published implementation, which people already hold.

A folder holds volume.mrc and, beside it, ``N{n}_snr{snr}[_ctf]/`` with particle_stack.npy (n, N, N), poses.npy
(n, 3, 3) and ctf.npy (n, 7: defocus U and V in Å, angle in degrees, kV, mm, amplitude contrast, phase in degrees).

Its poses R are in a frame of their own: the map is taken as [x, y, z] and summed along its first axis. With
Q = diag(1, 1, -1) and P the exchange of x and z, RELION's matrix of volume.mrc as it is stored is A = Q R P.
The layout is that of Shekarforoush et al., "Residual Multiplicative Filter Networks", NeurIPS 2022.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError, atomic_write
from resmfn.physics.optics import Optics

STACK_FILE = "particle_stack.npy"
POSES_FILE = "poses.npy"
CTF_FILE = "ctf.npy"
VOLUME_FILE = "volume.mrc"

_CTF_COLUMNS = (
    "defocus_u",
    "defocus_v",
    "defocus_angle",
    "voltage",
    "spherical_aberration",
    "amplitude_contrast",
    "phase_shift",
)
_ROTATION_TOLERANCE = 1e-3  # float32 files round to 1e-7; more is no rotation


@dataclass(frozen=True)
class PublishedData:
    """What a folder in the published layout holds, in this package's conventions."""

    images: np.ndarray  #: (n, N, N), read from disk when indexed
    rotations: Tensor  #: (n, 3, 3) matrices A
    optics: Optics | None  #: None for images without CTF


def published_folder_name(n_images: int, snr: float | None, *, with_ctf: bool) -> str:
    """Return the name of the folder: ``N2000_snr0.1_ctf``; ``snr`` None (no noise) is written as inf."""
    ratio = "inf" if snr is None else f"{snr:g}"
    return f"N{n_images}_snr{ratio}{'_ctf' if with_ctf else ''}"


def write_published(
    folder: str | os.PathLike[str], batches: Iterator[Tensor], rotations: Tensor, optics: Optics | None
) -> None:
    """Write images, poses and CTF parameters in the published layout; each file atomically.

    Parameters
    ----------
    folder
        Created if it does not exist.
    batches
        The images in order, some (m, N, N) at a time.
    rotations
        (n, 3, 3) matrices A, one for each image.
    optics
        None for images without CTF: no ctf.npy then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Poses go first and come last: no folder that can be read has images of one set and poses or CTF of another.
    for name in (POSES_FILE, CTF_FILE):
        (folder / name).unlink(missing_ok=True)
    with atomic_write(folder / STACK_FILE) as temporary:
        _write_npy(temporary, batches, len(rotations))
    if optics is not None:
        table = torch.stack([getattr(optics, name) for name in _CTF_COLUMNS], dim=1)
        with atomic_write(folder / CTF_FILE) as temporary:
            np.save(temporary, table.float().cpu().numpy())
    with atomic_write(folder / POSES_FILE) as temporary:
        np.save(temporary, published_from_relion(rotations.double()).float().cpu().numpy())


def _write_npy(path: Path, batches: Iterator[Tensor], n_images: int) -> None:
    """Write a float32 .npy file batch by batch."""
    first = next(batches)
    shape = (n_images, *first.shape[1:])
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(first.float().contiguous().numpy().data)
        for batch in batches:
            file.write(batch.float().contiguous().numpy().data)


def read_published(folder: str | os.PathLike[str]) -> PublishedData:
    """Read a folder ``N{n}_snr{snr}[_ctf]``.

    Raises
    ------
    InputError
        A file is missing or has another shape than the layout says.
    """
    folder = Path(folder)
    images = _load(folder / STACK_FILE)
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(f"{folder / STACK_FILE}: images must have shape (n, N, N), got {images.shape}")
    n = len(images)
    poses = _load(folder / POSES_FILE)
    if poses.shape != (n, 3, 3):
        raise InputError(f"{folder / POSES_FILE}: poses must have shape ({n}, 3, 3), got {poses.shape}")
    matrices = torch.from_numpy(np.array(poses, dtype=np.float64))
    if (matrices @ matrices.mT - torch.eye(3, dtype=torch.float64)).abs().max() > _ROTATION_TOLERANCE:
        raise InputError(f"{folder / POSES_FILE}: poses must be rotation matrices, but their rows are not orthonormal")
    optics = None
    if (folder / CTF_FILE).is_file():
        table = _load(folder / CTF_FILE)
        if table.shape != (n, len(_CTF_COLUMNS)):
            raise InputError(f"{folder / CTF_FILE}: expected shape ({n}, {len(_CTF_COLUMNS)}), got {table.shape}")
        columns = torch.from_numpy(np.array(table, dtype=np.float32)).unbind(1)
        optics = Optics(**dict(zip(_CTF_COLUMNS, columns, strict=True)), b_factor=torch.zeros(n))
    return PublishedData(images, relion_from_published(matrices).float(), optics)


def _load(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: the file is missing; a folder in the published layout has it")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not a complete .npy file ({error}); copy it again") from error


def relion_from_published(rotations: Tensor) -> Tensor:
    """Return RELION's matrices A = Q R P (n, 3, 3) of poses in the published frame."""
    return rotations.flip(-1) * rotations.new_tensor([1, 1, -1])[:, None]


def published_from_relion(rotations: Tensor) -> Tensor:
    """Return poses in the published frame R = Q A P (n, 3, 3) of RELION's matrices; its own inverse."""
    return relion_from_published(rotations)
