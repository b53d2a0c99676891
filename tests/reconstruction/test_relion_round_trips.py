"""RELION's own programs read what a run leaves, and agree with it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from reconstruction.conftest import small_blobs
from reconstruction.scenes import PIXEL_SIZE, varied_optics, write_particle_files
from resmfn.core import make_generator
from resmfn.data import Table, read_map, read_particles, read_stack_images, write_star
from resmfn.evaluation import fourier_shell_correlation
from resmfn.fourier import soft_sphere
from resmfn.physics import FourierSliceProjector, ImageFormation
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import geodesic_degrees, random_rotations

BOX, N = 32, 300
pytestmark = pytest.mark.relion


def relion_run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def give_optics_group(star: Path) -> None:
    """Write a file of RELION 3.0 as RELION 3.1 has it."""
    particles = read_particles(star)
    in_optics = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
    columns = particles.table.columns
    optics = {"rlnOpticsGroup": ["1"], "rlnOpticsGroupName": ["one"], **{n: columns[n][:1] for n in in_optics}}
    optics |= {"rlnImagePixelSize": [f"{PIXEL_SIZE:g}"], "rlnImageSize": [str(BOX)], "rlnImageDimensionality": ["2"]}
    rows = {n: cells for n, cells in columns.items() if n not in (*in_optics, "rlnPixelSize")}
    rows["rlnOpticsGroup"] = ["1"] * len(particles)
    tables = {"optics": Table(optics, version="30001"), "particles": Table(rows, version="30001")}
    write_star(star, tables)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with particles.star of a run at known poses and shifts, its images, and the run in `run`."""
    folder = tmp_path_factory.mktemp("project")
    generator = make_generator(5)
    blobs = small_blobs()
    rotation, shift = random_rotations(N, generator=generator), 3 * torch.randn(N, 2, generator=generator)
    optics = varied_optics(N)
    formation = ImageFormation(FourierSliceProjector(BOX), PIXEL_SIZE)
    clean = formation(blobs.volume(BOX), rotation, shift, optics)
    images = clean + clean.std() * torch.randn(clean.shape, generator=generator)
    star = write_particle_files(folder / "input", images, optics=optics, poses=Poses(rotation, shift))
    give_optics_group(star)
    config = ReconstructionConfig(
        particles=star, out=folder / "run", poses="fixed", hidden_dim=96, network_steps=30, contrast="white"
    )
    reconstruct(config)
    for name in ("run/particles.star", "input/particles.mrcs"):
        shutil.copy(folder / name, folder)
    return folder


def test_relion_reconstruct_agrees_with_our_map(project) -> None:
    relion_run(project, "relion_reconstruct", "--i", "particles.star", "--o", "theirs.mrc", "--ctf")
    ours, theirs = (read_map(project / name).data for name in ("run/map.mrc", "theirs.mrc"))
    mask = soft_sphere(BOX, 9.0, 3.0)
    curve = fourier_shell_correlation(ours, theirs, PIXEL_SIZE, mask).correlation
    assert float(curve[1:9].min()) > 0.9
    assert float(curve[1:13].min()) > 0.7


def test_relion_project_of_our_map_at_our_poses_gives_the_images(project) -> None:
    flags = ("--i", "run/map.mrc", "--o", "projected", "--ang", "particles.star", "--ctf")
    relion_run(project, "relion_project", *flags)
    index = np.arange(N)
    theirs, images = (
        torch.from_numpy(read_stack_images(project / name, index)) for name in ("projected.mrcs", "particles.mrcs")
    )
    correlation = torch.stack(
        [torch.corrcoef(torch.stack((a, b)))[0, 1] for a, b in zip(theirs.flatten(1), images.flatten(1), strict=True)]
    )
    assert float(correlation.median()) > 0.55  # 0.71 is what noise as strong as the signal allows


def test_relion_image_handler_reads_our_maps(project) -> None:
    for path in sorted((project / "run").glob("*.mrc")):
        said = relion_run(project, "relion_image_handler", "--i", str(path.relative_to(project)), "--stats")
        assert f"angpix = {PIXEL_SIZE:g}" in said
        deviation = float(said.split("stddev= ")[1].split()[0])
        assert deviation == pytest.approx(float(read_map(path).data.std(correction=0)), rel=1e-3)


def test_relion_refine_starts_from_our_files(project) -> None:
    """One iteration of local search around our poses keeps them; RELION sorts the rows by micrograph."""
    (project / "refined").mkdir(exist_ok=True)
    flags = "--i particles.star --ref run/map.mrc --o refined/start --iter 1 --K 1 --tau2_fudge 4 --ini_high 6 --ctf"
    flags += " --particle_diameter 60 --healpix_order 3 --sigma_ang 2 --offset_range 3 --offset_step 3"
    flags += " --oversampling 0 --firstiter_cc --pad 1 --norm --scale --flatten_solvent --zero_mask"
    flags += " --random_seed 1"  # otherwise it draws by the clock
    relion_run(project, "relion_refine", *flags.split())
    found = read_particles(project / "refined" / "start_it001_data.star", with_images=False)
    ours = read_particles(project / "particles.star", with_images=False)
    row = {name: i for i, name in enumerate(found.table.text("rlnImageName"))}
    order = torch.tensor([row[name] for name in ours.table.text("rlnImageName")])
    assert len(row) == N
    # Its grid has steps of 7.5 degrees. With 24 random seeds 5.4 to 6.5 degrees, and a correlation of 0.953 and more.
    assert float(geodesic_degrees(found.rotations[order], ours.rotations).median()) < 7.5
    theirs = read_map(project / "refined" / "start_it001_class001.mrc").data
    curve = fourier_shell_correlation(read_map(project / "run/map.mrc").data, theirs, PIXEL_SIZE).correlation
    assert float(curve[1:6].min()) > 0.9
    assert [float(x) for x in found.table.text("rlnParticleFigureOfMerit")] == [1.0] * N


def test_relion_star_handler_takes_the_bad_images_out(project) -> None:
    flags = ("--i", "particles.star", "--o", "good.star", "--select", "rlnParticleFigureOfMerit", "--minval", "0.5")
    relion_run(project, "relion_star_handler", *flags)
    assert len(read_particles(project / "good.star", with_images=False)) == N
