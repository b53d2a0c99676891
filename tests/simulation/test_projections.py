"""Images of a map at given poses: against the formation model, RELION, and every way to ask for the impossible."""

import os
import subprocess

import mrcfile
import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data import read_map, read_particles, read_star, write_map
from resmfn.physics import FourierSliceProjector, ImageFormation
from resmfn.simulation.config import SimulationConfig
from resmfn.simulation.particles import simulate
from resmfn.simulation.projections import project


@pytest.fixture
def data_set(map_file, tmp_path):
    simulate(SimulationConfig(source=map_file, out=tmp_path / "set", n_projections=6, snr=None, shift_std=2.0))
    return tmp_path / "set"


def images(path):
    with mrcfile.open(path) as file:
        assert file.header.ispg == 0
        return torch.from_numpy(file.data.copy()).reshape(-1, *file.data.shape[-2:])


def test_images_are_those_of_the_formation_model(data_set, map_file, tmp_path):
    stack = project(map_file, data_set / "particles_true.star", tmp_path / "p.mrcs")
    truth = read_particles(data_set / "particles_true.star")
    rotations, shifts = truth.require_poses()
    formation = ImageFormation(FourierSliceProjector(24, padding=3), 2.0)
    expected = formation(read_map(map_file).data, rotations, shifts, truth.optics)
    torch.testing.assert_close(images(stack), expected, rtol=0, atol=1e-5)
    plain = project(map_file, data_set / "particles_true.star", tmp_path / "plain", ctf=False)
    assert plain == tmp_path / "plain.mrcs"
    torch.testing.assert_close(images(plain), formation(read_map(map_file).data, rotations, shifts), rtol=0, atol=1e-5)


def test_the_star_file_beside_it_points_to_the_new_stack(data_set, map_file, tmp_path):
    stack = project(map_file, data_set / "particles_true.star", tmp_path / "p.mrcs")
    before, after = read_star(data_set / "particles_true.star"), read_star(tmp_path / "p.star")
    assert after["particles"]["rlnImageName"][:2] == ["000001@p.mrcs", "000002@p.mrcs"]
    assert list(after["particles"].columns) == list(before["particles"].columns)
    assert after["particles"]["rlnAngleRot"] == before["particles"]["rlnAngleRot"]
    assert torch.equal(read_particles(tmp_path / "p.star").read_images(slice(None)), images(stack))


def test_poses_alone_are_enough_without_ctf(map_file, tmp_path):
    (tmp_path / "x.star").write_text("data_\nloop_\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n0 0 0\n")
    stack = project(map_file, tmp_path / "x.star", tmp_path / "p.mrcs", ctf=False)
    top = read_map(map_file).data.sum(0)
    assert (images(stack)[0] - top).norm() < 0.02 * top.norm()  # gridding at tilt 0


def test_files_that_exist_are_kept(data_set, map_file, tmp_path):
    star = data_set / "particles_true.star"
    project(map_file, star, tmp_path / "p.mrcs")
    with pytest.raises(InputError, match=r"p\.mrcs: already exists; give --overwrite, or another --out"):
        project(map_file, star, tmp_path / "p.mrcs")
    (tmp_path / "p.mrcs").unlink()
    with pytest.raises(InputError, match=r"p\.star: already exists"):
        project(map_file, star, tmp_path / "p.mrcs")
    project(map_file, star, tmp_path / "p.mrcs", overwrite=True)
    with pytest.raises(InputError, match="the output would replace the STAR file of the poses"):
        project(map_file, tmp_path / "p.star", tmp_path / "p", overwrite=True)


def test_what_does_not_fit_is_named(data_set, map_file, tmp_path):
    star, out = data_set / "particles_true.star", tmp_path / "p"
    volume = read_map(map_file).data
    write_map(tmp_path / "finer.mrc", volume, 1.9)
    with pytest.raises(InputError, match=r"finer\.mrc: voxels of 1\.9 Å, but .*particles_true\.star has pixels of 2 Å"):
        project(tmp_path / "finer.mrc", star, out)
    project(tmp_path / "finer.mrc", star, tmp_path / "q", pixel_size=2.0)
    write_map(tmp_path / "smaller.mrc", volume[2:22, 2:22, 2:22], 2.0)
    with pytest.raises(InputError, match=r"smaller\.mrc: the box has 20 voxels, but .* has images of 24 pixels"):
        project(tmp_path / "smaller.mrc", star, out)
    write_map(tmp_path / "flat.mrc", torch.ones(24, 24, 24), 2.0)
    with pytest.raises(InputError, match=r"flat\.mrc: the map is constant"):
        project(tmp_path / "flat.mrc", star, out)
    with pytest.raises(InputError, match=r"particles\.star: poses are needed"):
        project(map_file, data_set / "particles.star", out)
    text = star.read_text().replace("rlnDefocus", "rlnOther")
    (tmp_path / "plain.star").write_text(text)
    with pytest.raises(InputError, match=r"plain\.star: has no rlnDefocusU, so no CTF can be applied; give --no-ctf"):
        project(map_file, tmp_path / "plain.star", out)
    assert not out.with_suffix(".mrcs").exists()
    assert not out.with_suffix(".star").exists()


def test_a_failure_leaves_neither_stack_nor_star(data_set, map_file, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project(map_file, data_set / "particles_true.star", tmp_path / "p", progress=interrupt)
    assert {path.name for path in tmp_path.iterdir()} == {"set"}


@pytest.mark.relion
def test_images_agree_with_relion_project(relion, tmp_path):
    config = SimulationConfig(source="4ake", out=tmp_path / "set", n_projections=40, snr=None, shift_std=3.0)
    simulate(config)
    folder = tmp_path / "set"
    command = [
        os.fspath(relion / "relion_project"), "--i", "volume.mrc", "--o", "relion", "--ang", "particles_true.star",
        "--ctf", "--angpix", "1.5",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    pairs = zip(images(folder / "particles.mrcs"), images(folder / "relion.mrcs"), strict=True)
    correlations = [np.corrcoef(ours.flatten(), theirs.flatten())[0, 1] for ours, theirs in pairs]
    assert min(correlations) > 0.999
