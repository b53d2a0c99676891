"""Simulated data sets: what they hold, what they promise of noise and scale, and that they come whole or not at all."""

import math
import resource
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data import read_map, read_particles, read_star, write_map
from resmfn.data.particles.published import read_published
from resmfn.physics import FourierSliceProjector, ImageFormation
from resmfn.simulation.config import SimulationConfig
from resmfn.simulation.particles import simulate

FILES = {"particles.mrcs", "particles.star", "particles_true.star", "volume.mrc"}


@pytest.fixture
def make(map_file, tmp_path):
    """Return a function that simulates 40 images and gives the folder and the record."""

    def _make(name="out", **settings):
        made = simulate(
            SimulationConfig(**{"source": map_file, "out": tmp_path / name, "n_projections": 40, **settings})
        )
        return tmp_path / name, made

    return _make


def stack(folder):
    with mrcfile.open(folder / "particles.mrcs") as file:
        return torch.from_numpy(file.data.copy())


def test_a_data_set_is_four_files(make):
    folder, made = make()
    assert {path.name for path in folder.iterdir()} == FILES
    assert (made.n_images, made.box_size, made.pixel_size, made.folder) == (40, 24, 2.0, folder)


def test_the_reconstruction_sees_no_pose(make):
    folder, _ = make()
    blind, truth = read_star(folder / "particles.star"), read_star(folder / "particles_true.star")
    poses = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst", "rlnRandomSubset"]
    assert list(blind["particles"].columns) == list(truth["particles"].columns)[:-6]
    assert list(truth["particles"].columns)[-6:] == poses
    assert blind["optics"] == truth["optics"]
    for column in blind["particles"].columns:
        assert blind["particles"][column] == truth["particles"][column]
    assert set(truth["particles"]["rlnRandomSubset"]) == {"1", "2"}
    assert blind["particles"].version == "30001"


def test_optics_are_drawn_from_their_ranges(make):
    folder, _ = make(
        n_projections=500, defocus_range=(8000.0, 9000.0), astigmatism_range=(200.0, 300.0),
        voltage=200.0, spherical_aberration=1.4, amplitude_contrast=0.07, phase_shift=90.0,
    )  # fmt: skip
    optics = read_particles(folder / "particles.star").optics
    mean, difference = (optics.defocus_u + optics.defocus_v) / 2, optics.defocus_u - optics.defocus_v
    for values, low, high in ((mean, 8000, 9000), (difference, 200, 300), (optics.defocus_angle, 0, 180)):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
    assert {float(v) for v in optics.voltage} == {200.0}
    assert {float(v) for v in optics.phase_shift} == {90.0}
    torch.testing.assert_close(optics.amplitude_contrast[0], torch.tensor(0.07))
    torch.testing.assert_close(optics.spherical_aberration[0], torch.tensor(1.4))


def test_a_map_that_is_no_cube_is_simulated_in_the_middle_of_one(make, map_file, tmp_path):
    whole = read_map(map_file)
    write_map(tmp_path / "cropped.mrc", whole.data[4:-2, 2:-2], 2.0)  # 18 x 20 x 24 voxels
    folder, made = make(source=tmp_path / "cropped.mrc")
    kept = torch.zeros_like(whole.data)
    kept[3:-3, 2:-2] = whole.data[4:-2, 2:-2]
    assert made.box_size == 24
    assert torch.equal(read_map(folder / "volume.mrc").data, kept)


def test_images_are_those_of_volume_and_truth(make, map_file):
    folder, made = make(snr=None, shift_std=3.0)
    density = read_map(folder / "volume.mrc")
    assert torch.equal(density.data, read_map(map_file).data)
    truth = read_particles(folder / "particles_true.star")
    rotations, shifts = truth.require_poses()
    expected = ImageFormation(FourierSliceProjector(24, padding=3), 2.0)(density.data, rotations, shifts, truth.optics)
    torch.testing.assert_close(stack(folder), expected * made.image_scale, rtol=0, atol=1e-4)
    assert 2 < shifts.std() < 4


def test_images_without_ctf_are_plain_projections(make, blobs):
    folder, made = make(snr=None, ctf=False, n_projections=5)
    truth = read_particles(folder / "particles_true.star")
    assert truth.optics is None
    expected = blobs.project(truth.rotations.double(), 24)
    error = (stack(folder).double() / made.image_scale - expected).norm() / expected.norm()
    assert error < 0.01


@pytest.mark.parametrize("snr", [0.1, 2.0])
def test_noise_has_the_stated_share_of_each_image(make, snr):
    clean, made_clean = make("clean", snr=None)
    noisy, made = make("noisy", snr=snr)
    signal = stack(clean) / made_clean.image_scale
    noise = stack(noisy) / made.image_scale - signal
    ratio = signal.var(dim=(1, 2)) / noise.var(dim=(1, 2))
    assert float(ratio.log().mean().exp()) == pytest.approx(snr, rel=0.03)
    assert float(ratio.log().std()) < 4 * math.sqrt(2 / 24**2)  # the same in every image, up to chance


@pytest.mark.parametrize("snr", [0.1, None])
def test_the_whole_stack_has_standard_deviation_one(make, snr):
    folder, _ = make(snr=snr)
    assert float(stack(folder).double().std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_one_seed_is_one_data_set(make):
    first, again, other = (make(name, seed=seed)[0] for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    for name in FILES:
        assert (first / name).read_bytes() == (again / name).read_bytes()
    assert (first / "particles.mrcs").read_bytes() != (other / "particles.mrcs").read_bytes()
    assert (first / "particles_true.star").read_text() != (other / "particles_true.star").read_text()


def test_streams_are_independent_of_one_another(make):
    """Poses stay when noise, optics or shifts are drawn otherwise."""
    plain = read_particles(make("a")[0] / "particles_true.star")
    changed = read_particles(make("b", snr=1.0, shift_std=2.0, ctf=False)[0] / "particles_true.star")
    assert torch.equal(plain.rotations, changed.rotations)


def test_noise_depends_on_the_seed(make):
    poses = make("a")[0] / "particles_true.star"
    first, second = (stack(make(f"{seed}", seed=seed, ctf=False, poses_from=poses)[0]) for seed in (1, 2))
    assert not torch.allclose(first, second, atol=0.1)


def test_views_are_uniform_or_concentrated_as_asked(make):
    def mean_height(name, concentration):
        folder, _ = make(name, n_projections=2000, view_concentration=concentration)
        return float(read_particles(folder / "particles_true.star").rotations[:, 2, 2].abs().mean())

    assert mean_height("even", 0.0) == pytest.approx(0.5, abs=0.03)
    c = 4.0  # mean of t under exp(c t) on [0, 1]
    assert mean_height("uneven", c) == pytest.approx(1 / (1 - math.exp(-c)) - 1 / c, abs=0.03)


def test_poses_can_be_taken_from_a_star_file(make):
    folder, _ = make("first", shift_std=3.0)
    again, made = make("second", n_projections=None, poses_from=folder / "particles_true.star", seed=5)
    assert made.n_images == 40
    first, second = (read_particles(f / "particles_true.star", dtype=torch.float64) for f in (folder, again))
    torch.testing.assert_close(second.rotations, first.rotations, rtol=0, atol=1e-7)
    torch.testing.assert_close(second.shifts, first.shifts, rtol=0, atol=1e-6)
    fewer, made = make("third", n_projections=7, poses_from=folder / "particles_true.star")
    assert len(read_particles(fewer / "particles.star")) == made.n_images == 7
    with pytest.raises(InputError, match=r"has 40 rows, but --n-projections asks for 41"):
        make("fourth", n_projections=41, poses_from=folder / "particles_true.star")
    with pytest.raises(InputError, match="poses are needed"):
        make("fifth", n_projections=None, poses_from=folder / "particles.star")


def test_the_published_layout_holds_the_same_data(make):
    folder, _ = make(layout="published", snr=0.5)
    published = read_published(folder / "N40_snr0.5_ctf")
    truth = read_particles(folder / "particles_true.star")
    np.testing.assert_array_equal(published.images, stack(folder).numpy())
    torch.testing.assert_close(published.rotations, truth.rotations, rtol=0, atol=1e-6)
    torch.testing.assert_close(published.optics.defocus_u, truth.optics.defocus_u)
    assert {path.name for path in folder.iterdir()} == FILES | {"N40_snr0.5_ctf"}


def test_the_built_in_molecule_has_the_published_sampling(tmp_path):
    made = simulate(SimulationConfig(source="4ake", out=tmp_path / "x", n_projections=3))
    assert (made.box_size, made.pixel_size) == (64, 1.5)


def test_progress_is_told_to_the_end(map_file, tmp_path):
    told = []
    config = SimulationConfig(source=map_file, out=tmp_path / "x", n_projections=3000)
    simulate(config, lambda done, total: told.append((done, total)))
    assert told[-1] == (3000, 3000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 1


def test_output_that_exists_is_kept(make):
    folder, _ = make()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=r"out: the folder exists and has files; give --overwrite, or another folder"):
        make(seed=1)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    make(seed=1, overwrite=True)
    assert (folder / "particles.mrcs").read_bytes() != before[folder / "particles.mrcs"]


def test_nothing_is_left_of_a_simulation_that_fails(map_file, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    config = SimulationConfig(source=map_file, out=tmp_path / "x", n_projections=40)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, interrupt)
    with pytest.raises(InputError, match="there is no such file"):
        simulate(replace(config, source=tmp_path / "none.mrc"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(make, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))  # the map fits, the images do not
    try:
        with pytest.raises(
            InputError, match=r"cannot write .*/out/particles\.mrcs: File too large; free some space, or choose"
        ):
            make()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_projections": 0}, r"--n-projections must be at least 1, got 0"),
        ({"snr": 0.0}, "--snr must be above 0, got 0"),
        ({"snr": math.inf}, "--snr must be a finite number, got inf"),
        ({"box_size": 4}, "--box-size must be at least 8, got 4"),
        ({"pixel_size": 0.0}, "--pixel-size must be at least 0.01 Å"),
        ({"b_factor": -1.0}, "--b-factor must be at least 0"),
        ({"shift_std": -1.0}, "--shift-std must be at least 0"),
        ({"view_concentration": -1.0}, "--view-concentration must be at least 0"),
        ({"defocus_range": (2.0, 1.0)}, "--defocus-range must be two numbers in Å, the smaller first"),
        ({"astigmatism_range": (-2.0, 1.0)}, "--astigmatism-range must be at least 0"),
        ({"voltage": 0.0}, "--voltage must be at least 1 kV"),
        ({"amplitude_contrast": 1.5}, "--amplitude-contrast must be at most 1"),
        ({"layout": "spider"}, "--layout must be relion or published, got spider"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"poses_from": "x.star", "shift_std": 1.0}, "--poses-from sets poses and shifts"),
    ],
)
def test_settings_that_cannot_be_are_named_by_their_flag(settings, message):
    with pytest.raises(InputError, match=message):
        SimulationConfig(source="4ake", out="x", **settings)


@pytest.mark.shared
def test_images_agree_with_an_independent_simulator(shared, tmp_path, capsys, monkeypatch):
    """The other one projects in real space by trilinear interpolation, which damps high frequencies."""
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("make_particles", shared / "tools" / "make_particles.py")
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    model = shared / "corpus" / "models" / "adk_open.pdb"
    arguments = (
        f"x {model} {tmp_path / 'theirs'} --n 12 --box 48 --pixel-size 2 --snr 1e9 --shift-std 3 --noise-fraction 0"
    )
    monkeypatch.setattr(sys, "argv", arguments.split())
    other.main()
    from resmfn.simulation.projections import project

    ours = project(tmp_path / "theirs" / "volume.mrc", tmp_path / "theirs" / "particles_true.star", tmp_path / "ours")
    with mrcfile.open(ours) as a, mrcfile.open(tmp_path / "theirs" / "particles.mrcs") as b:
        correlations = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a.data, b.data, strict=True)]
    assert min(correlations) > 0.985
    config = SimulationConfig(source=model, out=tmp_path / "map", n_projections=1, box_size=48, pixel_size=2.0)
    simulate(config)
    mine, theirs = (read_map(tmp_path / name / "volume.mrc").data for name in ("map", "theirs"))
    assert (mine - theirs).norm() < 1e-3 * theirs.norm()
