"""Blobs seen at known poses, as whitened pixels or as files: what the tests of this folder start from."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import make_generator
from resmfn.data import ImageStackWriter, Table, read_stack_info, write_star
from resmfn.data.star.metadata import pose_columns
from resmfn.data.star.tables import format_cells
from resmfn.fourier import half_plane_pixels
from resmfn.physics import GaussianBlobs, Optics, compute_ctf, phase_shift
from resmfn.reconstruction.images.magnification import Magnification
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import exp_so3, point_group, random_rotations

PIXEL_SIZE = 3.0


@dataclass(frozen=True)
class Scene:
    """Images of blobs in the scale of :class:`Observations`: the noise of a complex pixel has variance 1, or 0."""

    blobs: GaussianBlobs
    box_size: int
    rotation: Tensor
    shift: Tensor
    observations: Observations

    @property
    def index(self) -> Tensor:
        return torch.arange(len(self.rotation))

    @property
    def poses(self) -> Poses:
        return Poses(self.rotation, self.shift)

    @property
    def volume(self) -> Tensor:
        return self.blobs.volume(self.box_size)


def draw_blobs(box_size: int, *, amplitude: float = 1.0, seed: int = 11, dtype: torch.dtype = torch.float32):
    """Return blobs within a third of the box, nothing symmetric about them."""
    blobs = GaussianBlobs.random(12, radius=0.29 * box_size, width=1.4, generator=make_generator(seed), dtype=dtype)
    return replace(blobs, amplitudes=amplitude * blobs.amplitudes)


def varied_optics(n: int, dtype: torch.dtype = torch.float32) -> Optics:
    """Return the optics of ``n`` images, no two alike."""
    same = Optics.uniform(n, dtype=dtype)
    spread = torch.linspace(0, 1, n, dtype=dtype)
    return replace(same, defocus_u=12000 + 9000 * spread, defocus_v=11000 + 9000 * spread, defocus_angle=180 * spread)


def make_scene(
    n: int,
    *,
    box_size: int = 24,
    amplitude: float = 1.0,
    noise: float = 0.0,
    shift: float = 0.0,
    ctf: bool = True,
    seed: int = 0,
    blob_seed: int = 11,
    blobs: GaussianBlobs | None = None,
    magnification: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Scene:
    """Return ``n`` images at random poses, from the closed form of their transform.

    Parameters
    ----------
    amplitude
        Of the blobs.
    noise
        Standard deviation of a complex pixel's noise.
    shift
        Standard deviation of the shifts along an axis, Å.
    blobs
        In place of drawn ones.
    magnification
        (2, 2) or (n, 2, 2): M, of all images or of each.
    """
    generator = make_generator(seed)
    blobs = blobs or draw_blobs(box_size, amplitude=amplitude, seed=blob_seed, dtype=dtype)
    rotation = random_rotations(n, generator=generator, dtype=dtype)
    shifts = shift * torch.randn(n, 2, generator=generator, dtype=dtype)
    pixels = half_plane_pixels((box_size - 1) // 2, radius_min=0.5)
    contrast = torch.ones(n, len(pixels), dtype=dtype)
    m = None if magnification is None else magnification.to(dtype).expand(n, 2, 2)
    if ctf:
        optics = replace(varied_optics(n, dtype), magnification=m)
        contrast = compute_ctf(optics, pixels.to(dtype) / (box_size * PIXEL_SIZE))
    if m is None:
        clean = blobs.transform(rotation, pixels, box_size)
    else:
        of_each = (blobs.transform(rotation[i, None], pixels.to(dtype) @ m[i].T, box_size) for i in range(n))
        clean = torch.cat(list(of_each))
    values = clean / box_size * contrast
    values = values * phase_shift(pixels, shifts, PIXEL_SIZE, box_size)
    values = values + noise * torch.randn(values.shape, generator=generator, dtype=values.dtype)
    observations = Observations(
        values, contrast, pixels, box_size=box_size, pixel_size=PIXEL_SIZE, noise_level=torch.ones(n, dtype=dtype)
    )
    observations.magnification = Magnification(m)
    return Scene(blobs, box_size, rotation, shifts, observations)


def ring(name: str, *, odd: bool = False, box_size: int = 24, amplitude: float = 1.0) -> GaussianBlobs:
    """Return copies of five blobs off the axes by a point group; with ``odd``, the first copy lacks three of them."""
    one, group = draw_blobs(box_size // 2, amplitude=amplitude), point_group(name).float()
    place = torch.tensor([0.2, 0.08, 0.06]) * box_size
    kept = [slice(0, 2 if odd and copy == 0 else 5) for copy in range(len(group))]
    return GaussianBlobs(
        centers=torch.cat([(one.centers[k] + place) @ turn.T for k, turn in zip(kept, group, strict=True)]),
        widths=torch.cat([one.widths[k] for k in kept]),
        amplitudes=torch.cat([one.amplitudes[k] for k in kept]),
    )


def turned(rotation: Tensor, degrees: float, *, seed: int = 5) -> Tensor:
    """Return poses that are ``degrees`` off, each about an axis of its own."""
    axis = torch.randn(len(rotation), 3, generator=make_generator(seed), dtype=rotation.dtype)
    return exp_so3(axis / axis.norm(dim=1, keepdim=True) * math.radians(degrees)) @ rotation


def relative_error(x: Tensor, truth: Tensor) -> float:
    """Return the norm of the difference over that of the truth."""
    return float((x - truth).norm() / truth.norm())


def write_particle_files(
    folder: Path,
    images: Tensor,
    *,
    pixel_size: float = PIXEL_SIZE,
    optics: Optics | None = None,
    poses: Poses | None = None,
    subset: Tensor | None = None,
) -> Path:
    """Write a stack and its STAR file, RELION 3.0's layout; return the STAR file."""
    folder.mkdir(parents=True, exist_ok=True)
    n, box_size, _ = images.shape
    with ImageStackWriter(folder / "particles.mrcs", n, box_size, pixel_size) as stack:
        stack.write(images)
    columns = {
        "rlnImageName": format_cells([f"{i + 1:06d}@particles.mrcs" for i in range(n)]),
        "rlnMicrographName": format_cells([f"micrograph {i % 3}" for i in range(n)]),
        "rlnPixelSize": format_cells([float(pixel_size)] * n),
    }
    if optics is not None:
        columns |= {
            "rlnDefocusU": format_cells(optics.defocus_u.double()),
            "rlnDefocusV": format_cells(optics.defocus_v.double()),
            "rlnDefocusAngle": format_cells(optics.defocus_angle.double()),
            "rlnVoltage": format_cells(optics.voltage.double()),
            "rlnSphericalAberration": format_cells(optics.spherical_aberration.double()),
            "rlnAmplitudeContrast": format_cells(optics.amplitude_contrast.double()),
        }
    if optics is not None and optics.magnification is not None:
        matrix = optics.magnification.double().flatten(1)
        columns |= {f"rlnMagMat{i // 2}{i % 2}": format_cells(matrix[:, i]) for i in range(4)}
    if poses is not None:
        columns |= {name: format_cells(v) for name, v in pose_columns(poses.rotation, poses.shift).items()}
    if subset is not None:
        columns["rlnRandomSubset"] = format_cells(subset)
    write_star(folder / "particles.star", {"particles": Table(columns)})
    return folder / "particles.star"


def stored_images(stack: Path) -> np.memmap:
    """Return the pixels of a stack, to be changed in place."""
    info = read_stack_info(stack)
    return np.memmap(stack, info.dtype, "r+", offset=info.data_offset, shape=(info.n_images, *info.image_shape))
