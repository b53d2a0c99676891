"""Aberrations, magnification, scale and premultiplication, as RELION's programs apply and undo them.

relion_project applies what the CTF has; relion_reconstruct undoes all of it, so that images made here with one sign or
index wrong would not come together again.
"""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resmfn.data import ImageStackWriter, read_map, read_particles, read_stack_images, write_map, write_particles
from resmfn.fourier import fftn_centered, radius_grid
from resmfn.physics import FourierSliceProjector, ImageFormation, Optics, electron_wavelength
from resmfn.physics.aberrations import coma_of_beam_tilt
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import random_rotations

pytestmark = pytest.mark.relion

BOX, PIXEL, N = 40, 1.5, 300
EVEN = [0.3, 3.8, 2.4, 3.5, 40.5, 2.4, 10.0, -20.0, 30.3]
ODD = [0.3, 0.2, -25.8, 0.0, 0.0, 12.6]
MAGNIFICATION = [[1.03, 0.01], [0.03, 0.97]]
TILT = [5.0, -2.4]
EVEN_COLUMN = {"rlnEvenZernike": f"[{','.join(map(str, EVEN))}]"}
ODD_COLUMN = {"rlnOddZernike": f"[{','.join(map(str, ODD))}]"}
MAGNIFICATION_COLUMNS = {f"rlnMagMat{i}{j}": str(MAGNIFICATION[i][j]) for i in (0, 1) for j in (0, 1)}
TILT_COLUMNS = {"rlnBeamTiltX": str(TILT[0]), "rlnBeamTiltY": str(TILT[1])}
PREMULTIPLIED = {"rlnCtfDataAreCtfPremultiplied": "1"}


class Scene:
    """A map, poses, and what makes images of them, here and by RELION."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        generator = torch.Generator().manual_seed(5)
        self.volume = GaussianBlobs.random(30, radius=10, width=1.0, generator=generator).volume(BOX)
        self.rotation = random_rotations(N, generator=generator)
        self.shift = 3 * torch.randn(N, 2, generator=generator)
        self.form = ImageFormation(FourierSliceProjector(BOX, padding=3), PIXEL)
        defocus = 9000 + 15 * torch.arange(N).float()
        angle = 15 * torch.arange(N).float()
        plain = Optics.uniform(N)
        self.optics = replace(plain, defocus_u=defocus, defocus_v=defocus - 500, defocus_angle=angle)
        write_map(folder / "map.mrc", self.volume, PIXEL)

    def write_star(self, name: str, group: dict[str, str], particle: dict[str, str] | None = None) -> None:
        optics = {"rlnOpticsGroup": "1", "rlnOpticsGroupName": "g", "rlnVoltage": "300"} | {
            "rlnSphericalAberration": "2.7",
            "rlnAmplitudeContrast": "0.1",
            "rlnImagePixelSize": str(PIXEL),
            "rlnImageSize": str(BOX),
            "rlnImageDimensionality": "2",
        }
        optics |= group
        columns = ["rlnImageName", "rlnOpticsGroup", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]
        more = particle or {}
        defocus = [self.optics.defocus_u, self.optics.defocus_v, self.optics.defocus_angle]
        rows = [
            f"{i + 1:06d}@{name}.mrcs 1 {' '.join([*(str(float(value[i])) for value in defocus), *more.values()])}"
            for i in range(N)
        ]
        text = "\n# version 30001\n\ndata_optics\n\nloop_\n" + "".join(f"_{column}\n" for column in optics)
        text += " ".join(optics.values()) + "\n\n# version 30001\n\ndata_particles\n\nloop_\n"
        text += "".join(f"_{column}\n" for column in [*columns, *more]) + "\n".join(rows) + "\n"
        (self.folder / "bare.star").write_text(text)
        bare = read_particles(self.folder / "bare.star", with_images=False)
        write_particles(self.folder / f"{name}.star", bare.with_poses(self.rotation, self.shift))

    def images(self, optics: Optics, rows: slice = slice(None)) -> torch.Tensor:
        return self.form(self.volume, self.rotation[rows], self.shift[rows], optics.select(rows))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("recorded"))


def run(scene: Scene, *command: object) -> None:
    done = subprocess.run(list(map(str, command)), cwd=scene.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def changed(optics: Optics, **aberrations: list[float] | torch.Tensor) -> Optics:
    return replace(optics, **{name: torch.as_tensor(value).expand(N, -1) for name, value in aberrations.items()})


def test_relion_projects_even_aberrations_scale_and_particle_values_as_we_do(relion: Path, scene: Scene) -> None:
    scene.write_star("even", EVEN_COLUMN, {"rlnCtfScalefactor": "0.5", "rlnVoltage": "200", "rlnCtfBfactor": "20"})
    command = (relion / "relion_project", "--i", "map.mrc", "--ang", "even.star", "--o", "even", "--ctf")
    run(scene, *command, "--angpix", PIXEL)
    rows = slice(0, 40)
    theirs = torch.tensor(read_stack_images(scene.folder / "even.mrcs", np.arange(40)))
    read = read_particles(scene.folder / "even.star", with_images=False).optics
    assert read is not None
    told = changed(scene.optics, even_aberration=EVEN)
    told = replace(told, scale=torch.full((N,), 0.5), voltage=torch.full((N,), 200.0), b_factor=torch.full((N,), 20.0))
    for optics in (told, read):
        ours = scene.images(optics, rows)
        assert torch.nn.functional.cosine_similarity(ours.flatten(1), theirs.flatten(1)).min() > 0.999
        assert float((ours * theirs).sum() / ours.square().sum()) == pytest.approx(1, abs=5e-3)


def agreement(scene: Scene, relion: Path, columns: dict[str, str], optics: Optics) -> float:
    """Return the lowest shell's correlation with the map of RELION's reconstruction of images made here."""
    scene.write_star("made", columns)
    with ImageStackWriter(scene.folder / "made.mrcs", N, BOX, PIXEL) as stack:
        stack.write(scene.images(optics))
    run(scene, relion / "relion_reconstruct", "--i", "made.star", "--o", "rebuilt.mrc", "--ctf")
    theirs, ours = fftn_centered(read_map(scene.folder / "rebuilt.mrc").data), fftn_centered(scene.volume)
    shells = radius_grid(BOX, 3).round()
    correlations = []
    for shell in range(3, 19):
        a, b = theirs[shells == shell], ours[shells == shell]
        correlations.append(float((a * b.conj()).sum().real / (a.norm() * b.norm())))
    return min(correlations)


def test_relion_undoes_what_we_apply(relion: Path, scene: Scene) -> None:
    """All at once: each has its own sign and order, and none may be wrong."""
    wavelength = electron_wavelength(scene.optics.voltage)
    tilt = torch.tensor([TILT]).expand(N, 2)
    coma = coma_of_beam_tilt(tilt, scene.optics.spherical_aberration, wavelength)
    odd = torch.nn.functional.pad(coma, (0, 1)) + torch.tensor(ODD)
    full = replace(
        changed(scene.optics, even_aberration=EVEN),
        odd_aberration=odd,
        magnification=torch.tensor(MAGNIFICATION).expand(N, 2, 2),
        premultiplied=torch.ones(N, dtype=torch.bool),
    )
    columns = {**EVEN_COLUMN, **ODD_COLUMN, **TILT_COLUMNS, **MAGNIFICATION_COLUMNS, **PREMULTIPLIED}
    assert agreement(scene, relion, columns, full) > 0.995
    read = read_particles(scene.folder / "made.star").optics
    assert read is not None
    torch.testing.assert_close(scene.images(read, slice(0, 20)), scene.images(full, slice(0, 20)))
    assert full.magnification is not None
    wrong = {
        "tilt": replace(full, odd_aberration=torch.tensor(ODD) - torch.nn.functional.pad(coma, (0, 1))),
        "magnification": replace(full, magnification=full.magnification.inverse()),
        "premultiplied": replace(full, premultiplied=None),
    }
    for name, optics in wrong.items():
        assert agreement(scene, relion, columns, optics) < 0.9, name
