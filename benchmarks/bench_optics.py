"""What each term of recorded images costs: FSC with the truth of a set that has it, against the same set without.

Images of adenylate kinase (4ake) at random poses: CTF, aberrations and magnification of the package's own forward model
(relion_project agrees, tests/physics/test_recorded_by_relion.py), white noise, and what was done to the images since,
noise included. They are written, read back as any set, and solved at their true poses; "columns left out" is the same
set read as if it were plain. With ``--wide`` images are cropped from a box of twice the side, as real ones are: a CTF
spreads signal out of the box then, where a set that is simulated in its own box has it come in again on the other side.

    python benchmarks/bench_optics.py
    python benchmarks/bench_optics.py --wide
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from records import append, stamp
from torch import Tensor

from resmfn.core.random import make_generator, spawn
from resmfn.data import ImageStackWriter, ParticleSet, Table, read_particles, write_star
from resmfn.data.star.tables import format_cells
from resmfn.evaluation.fsc import fourier_shell_correlation
from resmfn.fourier import fftn_centered, half_plane_from_images, half_plane_pixels, shell_average, soft_sphere
from resmfn.physics import FourierSliceProjector, ImageFormation, compute_ctf
from resmfn.physics.shift import phase_shift
from resmfn.reconstruction.images.magnification import magnification_of
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.rotations import euler_from_matrix, random_rotations
from resmfn.simulation.sources import load_density

RESULTS = Path(__file__).parent / "results" / "optics.jsonl"
MAGNIFICATION = {"rlnMagMat00": "1.02", "rlnMagMat01": "0.01", "rlnMagMat10": "-0.005", "rlnMagMat11": "0.97"}
SETS: dict[str, dict[str, str]] = {
    "plain": {},
    "premultiplied": {"rlnCtfDataAreCtfPremultiplied": "1"},
    "phase-flipped": {"rlnCtfDataArePhaseFlipped": "1"},
    "beam tilt": {"rlnBeamTiltX": "6", "rlnBeamTiltY": "-4"},
    "odd Zernikes": {"rlnOddZernike": "[0,0,-900,0,0,700]"},
    "even Zernikes": {"rlnEvenZernike": "[0,0,0,12,0,0,0,0,1500]"},
    "anisotropic": MAGNIFICATION,
    "anisotropic, premultiplied": {**MAGNIFICATION, "rlnCtfDataAreCtfPremultiplied": "1"},
    "anisotropic, phase-flipped": {**MAGNIFICATION, "rlnCtfDataArePhaseFlipped": "1"},
}


@dataclass(frozen=True)
class Scene:
    """The molecule and how it is imaged."""

    volume: Tensor
    box_size: int
    pixel_size: float
    n: int
    noise: float
    is_wide: bool
    defocus: float
    """Å: the least; the largest is 9,000 Å beyond."""

    @property
    def simulated_box(self) -> int:
        """Side of the box that images are made in."""
        return self.box_size * (2 if self.is_wide else 1)


def write_set(folder: Path, scene: Scene, columns: dict[str, str]) -> Path:
    """Write recorded images and their STAR file, the same poses, defoci and noise for all sets."""
    generator = make_generator(1)
    rotation = random_rotations(scene.n, generator=generator, dtype=torch.float64)
    shift = 2 * torch.randn(scene.n, 2, generator=generator, dtype=torch.float64)
    defocus = scene.defocus + 9_000 * torch.rand(scene.n, generator=generator, dtype=torch.float64)
    rot, tilt, psi = euler_from_matrix(rotation).T
    optics = {
        "rlnOpticsGroup": "1", "rlnVoltage": "300", "rlnSphericalAberration": "2.7", "rlnAmplitudeContrast": "0.1",
        "rlnImagePixelSize": str(scene.pixel_size), "rlnImageSize": str(scene.box_size), "rlnImageDimensionality": "2",
    }  # fmt: skip
    particles = {
        "rlnImageName": [f"{i + 1:06d}@set.mrcs" for i in range(scene.n)], "rlnOpticsGroup": ["1"] * scene.n,
        "rlnDefocusU": format_cells(defocus + 150), "rlnDefocusV": format_cells(defocus - 150),
        "rlnDefocusAngle": format_cells(torch.linspace(0, 180, scene.n)), "rlnAngleRot": format_cells(rot),
        "rlnAngleTilt": format_cells(tilt), "rlnAnglePsi": format_cells(psi),
        "rlnOriginXAngst": format_cells(shift[:, 0]), "rlnOriginYAngst": format_cells(shift[:, 1]),
    }  # fmt: skip
    tables = {
        "optics": Table({name: [cell] for name, cell in {**optics, **columns}.items()}, version="30001"),
        "particles": Table(particles, version="30001"),
    }
    write_star(folder / "set.star", tables)
    recorded = recorded_images(scene, read_particles(folder / "set.star", with_images=False), rotation, shift)
    with ImageStackWriter(folder / "set.mrcs", scene.n, scene.box_size, scene.pixel_size) as stack:
        stack.write(recorded)
    return folder / "set.star"


def recorded_images(scene: Scene, particles: ParticleSet, rotation: Tensor, shift: Tensor) -> Tensor:
    """Return the images with noise; what was done to them since was done to both."""
    optics, side = particles.recorded or particles.optics, scene.simulated_box
    form = ImageFormation(FourierSliceProjector(side, padding=3), scene.pixel_size)
    volume = torch.nn.functional.pad(scene.volume, [(side - scene.box_size) // 2] * 6)
    frequency = torch.fft.fftfreq(side, scene.pixel_size)
    frequencies = torch.stack(torch.meshgrid(frequency[: side // 2 + 1].abs(), frequency, indexing="xy"), dim=-1)
    noise, images = spawn(2, "noise"), []
    for start in range(0, scene.n, 50):
        part = slice(start, start + 50)
        chosen = optics.select(part).to(dtype=torch.float32)
        clean = form(volume, rotation[part].float(), shift[part].float(), chosen)
        white = scene.noise * torch.randn(clean.shape, generator=noise)
        factor = torch.ones(len(clean), 1, 1)
        if chosen.phase_flipped is not None:
            factor = torch.where(compute_ctf(chosen, frequencies) < 0, -1.0, 1.0)
        if chosen.premultiplied is not None:
            factor = compute_ctf(chosen, frequencies)
        white = torch.fft.irfft2(torch.fft.rfft2(white) * factor, s=(side, side))
        cut = (side - scene.box_size) // 2
        images.append((clean + white)[:, cut : cut + scene.box_size, cut : cut + scene.box_size])
    return torch.cat(images)


def solve(star: Path, scene: Scene) -> Tensor:
    """Return the map of a set at the poses of its file, whatever its columns say undone as it is read."""
    particles = read_particles(star).in_common_frame()
    rotation, shift = (values.float() for values in particles.require_poses())
    box = scene.box_size
    pixels = half_plane_pixels(box / 2 - 1)
    grid = MapGrid(box, box)
    sums = SliceSums(grid, torch.device("cpu"))
    for start in range(0, scene.n, 50):
        part = slice(start, start + 50)
        optics = particles.optics.select(part).to(dtype=torch.float32)
        images = particles.read_images(part).float()
        values = half_plane_from_images(images, pixels) / box
        frequencies = pixels.float() / (box * scene.pixel_size)
        ctf = compute_ctf(optics, frequencies)
        moved = values * phase_shift(pixels, shift[part], scene.pixel_size, box).conj()
        magnification = magnification_of(optics, torch.device("cpu"))
        frames = magnification.frames(slice(None), rotation[part])
        ctf = magnification.in_band(ctf, torch.arange(len(ctf)), pixels)
        sums.add(ctf * moved / scene.noise**2, ctf.square() / scene.noise**2, frames, pixels)
    mask = soft_sphere(box, 0.42 * box, 4.0)
    power = fourier_power(scene.volume)
    return MapEquations(sums, mask).solve(mask, 1 / power, iterations=15)


def fourier_power(volume: Tensor) -> Tensor:
    """Return the power of each shell of a map, in voxels' scale."""
    side = volume.shape[0]
    return shell_average(fftn_centered(volume).abs().square(), side).clamp_min(1e-12) / side**3


def main() -> None:
    """Measure each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--box", type=int, default=48)
    parser.add_argument("--pixel", type=float, default=2.5)
    parser.add_argument("--noise", type=float, default=2.0, help="standard deviation, in those of a projection")
    parser.add_argument("--defocus", type=float, default=8_000, help="least defocus, Å")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--only", nargs="*", default=list(SETS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    volume = load_density("4ake", given.box, given.pixel, 40.0).data.float()
    deviation = float(volume.sum(dim=0).std())
    scene = Scene(volume, given.box, given.pixel, given.n, given.noise * deviation, given.wide, given.defocus)
    mask = soft_sphere(given.box, 0.42 * given.box, 4.0)
    plain = None
    for name in given.only:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            star = write_set(Path(folder), scene, SETS[name])
            found = fourier_shell_correlation(solve(star, scene), volume, given.pixel, mask).resolution_at(0.5)
            left_out = None
            if SETS[name]:
                text = star.read_text()
                for column in SETS[name]:
                    text = text.replace(f"_{column}", f"_resmfnLeftOut{column}", 1)
                star.write_text(text)
                ignored = solve(star, scene)
                left_out = fourier_shell_correlation(ignored, volume, given.pixel, mask).resolution_at(0.5)
        plain = found if name == "plain" else plain
        record = {
            "benchmark": "optics", "case": name, "wide": given.wide, "n": given.n, "box_size": given.box,
            "pixel_size": given.pixel, "noise": given.noise, "defocus": given.defocus, "resolution_05": round(found, 3),
            "of_plain": None if plain is None else round(found / plain, 3),
            "columns_left_out": None if left_out is None else round(left_out, 3),
            "cpu_seconds": round(time.process_time() - start, 1), "made_with": stamp(),
        }  # fmt: skip
        append(given.out, record)
        print({key: value for key, value in record.items() if key != "made_with"}, flush=True)


if __name__ == "__main__":
    main()
