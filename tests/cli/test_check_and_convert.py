"""The commands that look at particle sets and convert them: what they print, write and return."""

import json

import pytest
import torch

from resmfn.cli.main import main
from resmfn.data import ImageStackWriter, Table, read_map, read_star, write_map, write_star

STAR = """
data_optics
loop_
_rlnOpticsGroup
_rlnOpticsGroupName
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnImagePixelSize
1 a 300 2.7 0.1 1.5

data_particles
loop_
_rlnImageName
_rlnOpticsGroup
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
1@sub/a.mrcs 1 10000 9000 10
2@sub/a.mrcs 1 20000 19000 10
"""


@pytest.fixture
def star(tmp_path, generator):
    (tmp_path / "sub").mkdir()
    with ImageStackWriter(tmp_path / "sub" / "a.mrcs", 2, 16, 1.5) as stack:
        stack.write(torch.randn(2, 16, 16, generator=generator))
    (tmp_path / "x.star").write_text(STAR)
    return tmp_path / "x.star"


def test_check_prints_a_table(star, capsys):
    assert main(["check", str(star)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line[:15].strip(): line[15:].strip() for line in lines}
    assert (table["images"], table["stacks"], table["box"], table["pixel size"]) == ("2", "1", "16 pixels", "1.5 Å")
    assert table["optics 1"] == "300 kV, Cs 2.7 mm, amplitude contrast 0.1, 2 images"
    assert table["defocus"] == "9500 to 19500 Å"
    assert table["bad images"] == "0 of 2 examined"


def test_check_prints_json(star, capsys):
    assert main(["check", str(star), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["readable"], record["n_images"], record["box_sizes"]) == (True, 2, [16])


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_check_says_how_strong_the_background_is(star, generator, strength, capsys):
    """A ramp of half a standard deviation over an image of 32 pixels; noise alone looks like one of a twentieth."""
    size, axis = 32, torch.arange(32) - 15.5
    images = torch.randn(2, size, size, generator=generator) + strength * axis / axis.square().mean().sqrt()
    with ImageStackWriter(star.parent / "sub" / "a.mrcs", 2, size, 1.5) as stack:
        stack.write(images)
    assert main(["check", str(star), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ramp"] == pytest.approx(strength, abs=0.12)
    assert main(["check", str(star)]) == 0
    assert "standard deviations of the noise (rms over the image, median)" in capsys.readouterr().out


def test_check_estimates_for_the_working_box(star, capsys):
    assert main(["check", str(star), "--box-size", "8"]) == 0
    assert "working box     8 pixels of 3 Å" in capsys.readouterr().out
    assert main(["check", str(star), "--box-size", "32"]) == 2
    assert "--box-size must be at most the images' box of 16 pixels" in capsys.readouterr().out


def test_metadata_needs_no_stack(star, capsys):
    (star.parent / "sub" / "a.mrcs").unlink()
    assert main(["check", str(star), "--metadata-only"]) == 0
    assert "bad images" not in capsys.readouterr().out
    assert main(["check", str(star)]) == 2
    assert "row 1: the image stack sub/a.mrcs is not in" in capsys.readouterr().err
    assert main(["check", str(star), "--json"]) == 2
    record = json.loads(capsys.readouterr().out)
    assert record["readable"] is False
    assert "sub/a.mrcs is not in" in record["reason"]


def test_what_would_fail_is_said_with_exit_code_2(star, capsys):
    with ImageStackWriter(star.parent / "sub" / "a.mrcs", 2, 16, 1.5) as stack:
        stack.write(torch.zeros(2, 16, 16))
    assert main(["check", str(star)]) == 2
    assert "would fail" in (out := capsys.readouterr().out)
    assert "row 1: the image is constant (and 1 others" in out


def test_names_that_lead_out_need_the_flag(star, capsys):
    other = star.parent / "deep"
    other.mkdir()
    star.write_text(STAR.replace("sub/a.mrcs", "../sub/a.mrcs"))
    assert main(["check", str(star), "--datadir", str(other)]) == 2
    assert "--allow-outside" in capsys.readouterr().err
    assert main(["check", str(star), "--datadir", str(other), "--allow-outside"]) == 0


def test_convert_there_and_back(star, capsys):
    cs, back = star.with_name("x.cs"), star.with_name("y.star")
    assert main(["convert", str(star), str(cs)]) == 0
    assert capsys.readouterr().out == f"2 particles: {cs} written\n"
    assert main(["convert", str(cs), str(back)]) == 0
    assert main(["check", str(back)]) == 0
    assert main(["convert", str(star), str(cs)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["convert", str(star), str(cs), "--overwrite"]) == 0


def test_refused_particles_leave_nothing(star, capsys):
    out = star.with_name("folder")
    assert main(["convert", str(star), str(out)]) == 2
    assert "poses are needed" in capsys.readouterr().err
    assert not out.exists()


def test_a_map_that_is_no_cube_is_checked_and_made_one(tmp_path, capsys):
    slab, cube = tmp_path / "slab.map", tmp_path / "cube.mrc"
    write_map(slab, torch.rand(4, 6, 8), 1.5)
    assert main(["check", str(slab)]) == 0
    out = capsys.readouterr().out
    assert "voxels          8 x 6 x 4 along x, y, z\nvoxel size      1.5 x 1.5 x 1.5 Å\n" in out
    assert "note            where maps are compared or masked" in out
    assert main(["convert", str(slab), str(cube)]) == 0
    assert capsys.readouterr().out == f"{cube}: written, 8 voxels a side\n"
    assert read_map(cube).pixel_size == 1.5
    assert main(["check", str(cube), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["readable"], record["sides"], record["notes"]) == (True, [8, 8, 8], [])


def test_a_map_without_voxel_size_is_read_when_it_is_given(tmp_path, capsys):
    write_map(tmp_path / "x.map", torch.rand(4, 4, 4), 0.0)
    assert main(["check", str(tmp_path / "x.map")]) == 2
    assert "voxel size      not stated" in (out := capsys.readouterr().out)
    assert "would fail" in out
    assert main(["check", str(tmp_path / "x.map"), "--pixel-size", "2"]) == 0
    assert main(["convert", str(tmp_path / "x.map"), str(tmp_path / "y.mrc")]) == 2
    assert "give --pixel-size" in capsys.readouterr().err
    assert not (tmp_path / "y.mrc").exists()
    assert main(["convert", str(tmp_path / "x.map"), str(tmp_path / "y.mrc"), "--pixel-size", "2"]) == 0
    assert read_map(tmp_path / "y.mrc").pixel_size == 2


def test_select_says_what_it_wrote_and_refuses_what_it_cannot_mean(tmp_path, capsys) -> None:
    rows = {"rlnImageName": [f"{i + 1}@stack.mrcs" for i in range(6)], "rlnAngleRot": ["1.0"] * 6}
    rows["rlnClassNumber"] = ["1", "1", "2", "2", "3", "3"]
    rows["rlnClassProbability"] = ["1.0", "0.4", "1.0", "0.9", "0.9", "0.5"]
    rows["rlnParticleFigureOfMerit"] = ["1.0", "1.0", "0.5", "1.0", "1.0", "0.2"]
    run = tmp_path / "run"
    run.mkdir()
    write_star(run / "particles.star", {"particles": Table(rows)})
    out = tmp_path / "good.star"
    assert main(["select", str(run), "--classes", "1,2", "--min-probability", "0.8", "--out", str(out)]) == 0
    assert "2 of 6 particles" in (said := capsys.readouterr().out)
    assert "Each class has poses in a frame, and of a hand, of its own" in said
    assert read_star(out)["particles"]["rlnImageName"] == ["1@stack.mrcs", "4@stack.mrcs"]
    (run / "config.yaml").write_text("local_states: true\n")
    for words in (["--classes", "1,2", "--overwrite"], ["--classes", "1", "--overwrite"]):
        assert main(["select", str(run), *words, "--out", str(out)]) == 0
        assert "frame" not in capsys.readouterr().out
    for words, said in (
        (["--classes", "1,x", "--out", "a.star"], "--classes"),
        (["--classes", "7", "--out", str(tmp_path / "a.star")], "classes 1, 2, 3"),
        (["--out", str(tmp_path / "a.txt")], "--out"),
        (["--out", str(out)], "--overwrite"),
    ):
        assert main(["select", str(run), *words]) == 2
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.star", "run"]
