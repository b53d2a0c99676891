"""The two commands that make images: flags reach the simulator, faults are one line and exit code 2."""

import pytest
import torch

from resmfn.cli.main import main
from resmfn.data import read_particles, read_stack_info, write_map


@pytest.fixture
def map_file(tmp_path, generator):
    write_map(tmp_path / "map.mrc", torch.randn(16, 16, 16, generator=generator), 2.0)
    return tmp_path / "map.mrc"


def test_simulate_then_project(map_file, tmp_path, capsys):
    out = tmp_path / "set"
    assert (
        main(["simulate", str(map_file), "--out", str(out), "--n-projections", "5", "--snr", "none", "--seed", "3"])
        == 0
    )
    assert "set: 5 images of 16 x 16 pixels, 2 Å/pixel, in " in capsys.readouterr().out
    assert len(read_particles(out / "particles.star")) == 5
    stack = tmp_path / "p.mrcs"
    assert main(["project", str(out / "volume.mrc"), str(out / "particles_true.star"), "--out", str(stack)]) == 0
    assert f"{stack} and {tmp_path / 'p.star'}: written in" in capsys.readouterr().out
    assert read_stack_info(stack).n_images == 5


def test_ranges_and_switches_reach_the_simulator(map_file, tmp_path):
    ranges = ["--defocus-range", "8000", "8001", "--astigmatism-range", "0", "0", "--voltage", "200"]
    arguments = [*ranges, "--n-projections", "30", "--shift-std", "2"]
    assert main(["simulate", str(map_file), "--out", str(tmp_path / "a"), *arguments]) == 0
    particles = read_particles(tmp_path / "a" / "particles_true.star")
    assert 8000 <= float(particles.optics.defocus_u.min()) <= float(particles.optics.defocus_v.max()) <= 8001
    assert float(particles.optics.voltage[0]) == 200
    assert 1 < float(particles.shifts.std()) < 3
    layout = ["--layout", "published", "--no-ctf", "--n-projections", "3"]
    assert main(["simulate", str(map_file), "--out", str(tmp_path / "b"), *layout]) == 0
    assert (tmp_path / "b" / "N3_snr0.1" / "particle_stack.npy").is_file()
    assert read_particles(tmp_path / "b" / "particles.star").optics is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "5ake", "--out", "OUT"], "5ake: there is no such file"),
        (["simulate", "MAP", "--out", "OUT", "--snr", "-1"], "--snr must be above 0, got -1"),
        (["simulate", "MAP", "--out", "OUT", "--snr", "loud"], "--snr"),
        (["simulate", "MAP", "--out", "OUT", "--n-projections", "many"], "--n-projections"),
        (["simulate", "MAP"], "--out"),
        (["simulate", "MAP", "--out", "."], "the folder exists and has files; give --overwrite"),
        (["project", "MAP", "none.star", "--out", "OUT"], "none.star: does not exist"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(map_file, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    names = {"MAP": str(map_file), "OUT": str(tmp_path / "out")}
    assert main([names.get(argument, argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert set(tmp_path.rglob("*")) == before


def test_help_says_units_and_defaults(capsys):
    assert main(["simulate", "--help"]) == 0
    text = capsys.readouterr().out
    for words in (
        "--n-projections",
        "--snr",
        "--ctf",
        "--shift-std",
        "--view-concentration",
        "--poses-from",
        "[default: 0.1]",
    ):
        assert words in text
