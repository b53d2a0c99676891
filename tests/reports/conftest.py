"""A small finished run and its truth on disk: blobs, in another frame and of the other hand, with noise."""

from pathlib import Path

import pytest
import torch

from resmfn.data import Table, write_map, write_star
from resmfn.data.star.tables import format_cells
from resmfn.evaluation import fourier_shell_correlation, fsc_csv_text
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import euler_from_matrix, exp_so3, random_rotations

BOX, PIXEL, N = 32, 2.0, 60


def write_poses(path: Path, rotation: torch.Tensor, shift: torch.Tensor, rows: list[int], folder: str = "") -> None:
    """Write a particle file with poses; ``rows`` are image numbers counted from 1."""
    rot, tilt, psi = euler_from_matrix(rotation).T
    columns = {
        "rlnImageName": format_cells([f"{i:06d}@{folder}particles.mrcs" for i in rows]),
        "rlnAngleRot": format_cells(rot),
        "rlnAngleTilt": format_cells(tilt),
        "rlnAnglePsi": format_cells(psi),
        "rlnOriginXAngst": format_cells(shift[:, 0]),
        "rlnOriginYAngst": format_cells(shift[:, 1]),
    }
    write_star(path, {"particles": Table(columns)})


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with run/, volume.mrc and particles_true.star; the run must not be written to."""
    generator = torch.Generator().manual_seed(7)
    folder = tmp_path_factory.mktemp("evaluated")
    run = folder / "run"
    run.mkdir()
    blobs = GaussianBlobs.random(25, radius=8, generator=generator)
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    own = GaussianBlobs(
        centers=-blobs.centers @ frame.to(blobs.centers), widths=blobs.widths, amplitudes=blobs.amplitudes
    )
    truth, estimate = blobs.volume(BOX), own.volume(BOX)
    halves = [estimate + 0.1 * torch.randn(truth.shape, generator=generator) for _ in range(2)]
    write_map(folder / "volume.mrc", truth, PIXEL)
    write_map(run / "map.mrc", (halves[0] + halves[1]) / 2, PIXEL)
    (run / "fsc.csv").write_text(fsc_csv_text({"unmasked": fourier_shell_correlation(*halves, PIXEL)}))
    true = random_rotations(N, generator=generator, dtype=torch.float64)
    flip = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    wrong = exp_so3(0.03 * torch.randn(N, 3, generator=generator, dtype=torch.float64))
    estimated = wrong @ flip @ true @ frame
    shift = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    write_poses(folder / "particles_true.star", true, shift, list(range(1, N + 1)))
    order = list(range(N))[::-1]  # another order than the truth, and another folder in the names
    write_poses(run / "particles.star", estimated[order], shift[order] + 1.0, [i + 1 for i in order], "Extract/job7/")
    return folder
