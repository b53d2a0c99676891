"""Particle images of an atomic model, by the formulas of docs/conventions.md and without a line of resmfn.

    python benchmarks/independent/simulate.py MODEL OUT --n 2000 --box 64 --pixel-size 1.5 --snr 0.1

Atoms are Gaussians of their atomic number and one B-factor. Their Fourier transform is a sum of plane waves, and is
taken as that sum, at the pixels of each image: there is no grid to interpolate and nothing beyond Nyquist to fold back,
so images and map are exact to rounding. MODEL is a .pdb, .cif or .csv (element, x, y, z) file.

OUT gets volume.mrc, the true map; particles.mrcs and particles.star, all that a reconstruction may see; and
particles_true.star with the poses and shifts; noise_only.npy, if asked for, lists the images without a molecule.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np
from conventions import ANGLES, DEFOCUS, OPTICS, ORIGIN, ctf, matrices, write_mrc, write_star

VOLTAGE, CS, CONTRAST = 300.0, 2.7, 0.1


def read_atoms(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (n, 3) in A, their center of mass at the origin, and atomic numbers (n,)."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        xyz = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
        number = np.array([gemmi.Element(row["element"]).atomic_number for row in rows], float)
    else:
        structure = gemmi.read_structure(str(path))
        structure.remove_waters()
        structure.remove_hydrogens()
        atoms = [site.atom for site in structure[0].all()]
        xyz = np.array([atom.pos.tolist() for atom in atoms])
        number = np.array([atom.element.atomic_number for atom in atoms], float)
    return xyz - np.average(xyz, axis=0, weights=number), number


def frequencies(box: int, pixel_size: float) -> np.ndarray:
    """Return the frequencies of an axis in 1/A, in the order of numpy's transforms."""
    return np.fft.fftfreq(box, pixel_size)


def waves(position: np.ndarray, frequency: np.ndarray, b_factor: float) -> np.ndarray:
    """Return exp(-2 pi i f x), damped by the B-factor, (frequencies, atoms)."""
    return np.exp(-2j * np.pi * frequency[:, None] * position - b_factor / 4 * frequency[:, None] ** 2)


def centered(transform: np.ndarray) -> np.ndarray:
    """Return the image or map of a transform whose origin is the pixel N // 2 of every axis."""
    return np.fft.fftshift(np.fft.ifftn(transform).real)


def volume(xyz: np.ndarray, number: np.ndarray, box: int, pixel_size: float, b_factor: float) -> np.ndarray:
    """Return the map, [z, y, x]."""
    f = frequencies(box, pixel_size)
    x, y, z = (waves(xyz[:, i], f, b_factor) for i in range(3))
    # At Nyquist of an even box plus and minus are one: the mean of both keeps the map real.
    planes = np.stack([(y * (number * along)) @ x.T for along in z])
    return centered(_without_nyquist(planes))


def projections(
    xyz: np.ndarray, number: np.ndarray, pose: np.ndarray, box: int, pixel_size: float, b_factor: float
) -> Iterator[np.ndarray]:
    """Yield the transform of each projection, [y, x]: what stands at p comes to the first two components of A p."""
    f = frequencies(box, pixel_size)
    for a in pose:
        seen = xyz @ a.T
        yield _without_nyquist((waves(seen[:, 1], f, b_factor) * number) @ waves(seen[:, 0], f, b_factor).T)


class Seen(NamedTuple):
    """How the molecule is seen in each image."""

    pose: np.ndarray
    """(n, 3, 3)."""
    origin: np.ndarray
    """(n, 2), A: the molecule stands at minus the origin."""
    defocus: np.ndarray | None
    """(n, 3); None is no CTF."""


def clean_images(
    xyz: np.ndarray, number: np.ndarray, seen: Seen, box: int, pixel_size: float, b_factor: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each image, and the image without noise."""
    fy, fx = np.meshgrid(*[frequencies(box, pixel_size)] * 2, indexing="ij")
    for i, transform in enumerate(projections(xyz, number, seen.pose, box, pixel_size, b_factor)):
        transform *= np.exp(2j * np.pi * (fx * seen.origin[i, 0] + fy * seen.origin[i, 1]))
        if seen.defocus is not None:
            transform *= ctf(fx, fy, seen.defocus[i], VOLTAGE, CS, CONTRAST)
        yield i, centered(transform)


def clean_images_by_torch(
    xyz: np.ndarray, number: np.ndarray, seen: Seen, box: int, pixel_size: float, b_factor: float, device: str
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows of images, and these without noise: :func:`clean_images` to rounding, some at a time on a device."""
    import torch  # not needed otherwise

    at, weight = (torch.from_numpy(values).to(device) for values in (xyz, number))
    f = torch.from_numpy(frequencies(box, pixel_size)).to(device)
    damping = torch.exp(-b_factor / 4 * f**2)[:, None]
    fy, fx = torch.meshgrid(f, f, indexing="ij")
    inside = torch.ones(box, box, device=device)
    if box % 2 == 0:
        inside[box // 2], inside[:, box // 2] = 0, 0
    step = max(1, 20_000_000 // (box * len(xyz)))
    for start in range(0, len(seen.pose), step):
        rows = slice(start, start + step)
        x, y = (at @ torch.from_numpy(seen.pose[rows, :2]).to(device).mT).unbind(2)
        along_y, along_x = (
            torch.polar(damping * torch.ones_like(axis[:, None]), -2 * np.pi * f[:, None] * axis[:, None])
            for axis in (y, x)
        )
        transform = (along_y * weight) @ along_x.mT * inside
        angle = 2 * np.pi * (f * torch.from_numpy(seen.origin[rows, :1, None]).to(device))
        angle = angle + 2 * np.pi * (f[:, None] * torch.from_numpy(seen.origin[rows, 1:, None]).to(device))
        transform *= torch.polar(torch.ones_like(angle), angle)
        if seen.defocus is not None:
            defocus = torch.from_numpy(seen.defocus[rows].T[:, :, None, None].copy()).to(device)
            transform *= ctf(fx, fy, defocus, VOLTAGE, CS, CONTRAST, torch)
        images = torch.fft.ifft2(transform).real
        yield rows, torch.fft.fftshift(images, dim=(1, 2)).float().cpu().numpy()


def _without_nyquist(transform: np.ndarray) -> np.ndarray:
    """Set the Nyquist planes of an even box to 0: they have no mate of the other sign."""
    for axis, size in enumerate(transform.shape):
        if size % 2 == 0:
            np.moveaxis(transform, axis, 0)[size // 2] = 0
    return transform


def draw_angles(n: int, concentration: float, rng: np.random.Generator) -> np.ndarray:
    """Return Euler angles (n, 3) in degrees: even, or with views drawn to the z axis by exp(c |cos tilt|)."""
    rot, psi = rng.uniform(-180, 180, (2, n))
    share = rng.uniform(0, 1, n)
    c = concentration
    height = share if c == 0 else np.log1p(share * np.expm1(c)) / c
    return np.stack((rot, np.degrees(np.arccos(height * rng.choice((-1, 1), n))), psi), axis=1)


def simulate(given: argparse.Namespace) -> None:
    """Write a data set."""
    rng = np.random.default_rng(given.seed)
    out, n, box, pixel = given.out, given.n, given.box, given.pixel_size
    out.mkdir(parents=True, exist_ok=True)
    xyz, number = read_atoms(given.model)
    write_mrc(out / "volume.mrc", volume(xyz, number, box, pixel, given.b_factor), pixel)
    angles, origin = draw_angles(n, given.preferred, rng), rng.normal(0, given.shift_std, (n, 2))
    mean, spread = rng.uniform(15000, 20000, n), rng.uniform(100, 500, n)
    defocus = np.stack((mean + spread / 2, mean - spread / 2, rng.uniform(0, 180, n)), axis=1)
    scale = np.exp(rng.uniform(*np.log(given.scale_range), n)) * (-1 if given.invert else 1)
    empty = rng.choice(n, round(given.noise_fraction * n), replace=False)
    seen = Seen(matrices(angles), origin, None if given.no_ctf else defocus)
    images = np.empty((n, box, box), np.float32)
    make = clean_images if given.torch is None else partial(clean_images_by_torch, device=given.torch)
    for rows, made in make(xyz, number, seen, box, pixel, given.b_factor):
        images[rows] = made
    noise = np.sqrt(images.var(axis=(1, 2)) / given.snr) if given.snr > 0 else np.zeros(n)
    if len(empty):
        images[empty] = 0
        np.save(out / "noise_only.npy", np.sort(empty))
    grey = float(noise.mean()) or float(images.std())
    for image, sigma, s in zip(images, noise, scale, strict=True):
        image[:] = s * (image + sigma * rng.standard_normal((box, box), dtype=np.float32)) / grey
    write_mrc(out / "particles.mrcs", images, pixel)
    _write_stars(given, defocus, angles, origin)


def _write_stars(given: argparse.Namespace, defocus: np.ndarray, angles: np.ndarray, origin: np.ndarray) -> None:
    names = [f"{i + 1:06d}@particles.mrcs" for i in range(given.n)]
    optics: dict[str, object] = {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "opticsGroup1"}
    optics |= dict(zip(OPTICS, (VOLTAGE, CS, CONTRAST), strict=True))
    optics |= {"rlnImagePixelSize": given.pixel_size, "rlnImageSize": given.box, "rlnImageDimensionality": 2}
    seen = {} if given.no_ctf else dict(zip(DEFOCUS, defocus.T, strict=True))
    true = seen | dict(zip((*ANGLES, *ORIGIN), (*angles.T, *origin.T), strict=True))
    write_star(given.out / "particles.star", optics, seen, names)
    write_star(given.out / "particles_true.star", optics, true, names)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=2000, help="images")
    parser.add_argument("--box", type=int, default=64, help="pixels")
    parser.add_argument("--pixel-size", type=float, default=1.5, help="A")
    parser.add_argument("--b-factor", type=float, default=40.0, help="A^2, of every atom")
    parser.add_argument(
        "--snr", type=float, default=0.1, help="variance of the clean image over that of noise; 0: none"
    )
    parser.add_argument("--shift-std", type=float, default=0.0, help="A, in x and in y")
    parser.add_argument("--preferred", type=float, default=0.0, help="pull of the views to the z axis; 0 is even")
    parser.add_argument("--no-ctf", action="store_true")
    parser.add_argument("--invert", action="store_true", help="molecules black")
    parser.add_argument("--scale-range", type=float, nargs=2, default=(1.0, 1.0), help="grey scale of an image")
    parser.add_argument("--noise-fraction", type=float, default=0.0, help="share of images without a molecule")
    parser.add_argument("--torch", metavar="DEVICE", help="use PyTorch, on cpu or cuda: the same images to rounding")
    parser.add_argument("--seed", type=int, default=0)
    simulate(parser.parse_args())


if __name__ == "__main__":
    main()
