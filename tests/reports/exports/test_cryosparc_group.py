"""A run as result groups: read back by our own reader always, by cryoSPARC's where it is installed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from reports.exports.finished import BOX, PIXEL, N, make_finished, random_poses, write_particles_star
from resmfn.cli.main import main
from resmfn.core import InputError
from resmfn.data import read_map, read_particles, read_star
from resmfn.data.cryosparc.records import read_records
from resmfn.reports.exports.cryosparc_group import write_result_groups
from resmfn.rotations import exp_so3


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_finished(tmp_path)


def read_group(path: Path) -> dict:
    """Return a group, having checked that every file it names is there and says as many items."""
    group = yaml.safe_load(path.read_text())
    assert set(group) == {"created", "group", "results", "version"}
    assert set(group["group"]) == {"description", "name", "title", "type"}
    for name, result in group["results"].items():
        assert result["metafile"].startswith(">")
        records = read_records(path.parent / result["metafile"][1:])
        assert len(records) == result["num_items"]
        assert any(field.startswith(f"{name}/") for field in records.dtype.names)
    return group


def test_particles_come_back_with_every_column_and_pose(run, tmp_path) -> None:
    written = write_result_groups(run, tmp_path / "groups")
    group = read_group(tmp_path / "groups/particles.csg")
    assert group["group"]["type"] == "particle"
    assert {name: result["type"] for name, result in group["results"].items()} == {
        "blob": "particle.blob", "ctf": "particle.ctf", "alignments3D": "particle.alignments3D",
    }  # fmt: skip
    found = read_particles(tmp_path / "groups/particles.cs", dtype=torch.float64)
    rotation, shift = random_poses()
    assert written.n_particles == len(found) == N
    assert float((found.rotations - rotation).abs().max()) < 1e-5
    assert float((found.shifts - shift).abs().max()) < 1e-5
    before = read_star(run / "particles.star")["particles"]
    for name in ("rlnMicrographName", "rlnCoordinateX"):
        assert [text.strip("'\"") for text in before[name]] == [str(value) for value in plain(found.table.text(name))]
    for name in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnRandomSubset"):
        assert np.allclose(np.array(found.table[name], float), np.array(before[name], float), rtol=1e-6)
    assert found.metadata.numbers("rlnVoltage").tolist() == [300.0, 200.0] * (N // 2)


def plain(cells: list[str]) -> list[str]:
    return [f"{float(cell):.6f}" if cell.replace(".", "").isdigit() else cell for cell in cells]


def test_every_image_is_reached_within_the_folder(run, tmp_path) -> None:
    write_result_groups(run, tmp_path / "groups")
    found = read_particles(tmp_path / "groups/particles.cs")
    original = read_particles(run / "particles.star", datadir=tmp_path / "project")
    rows = torch.arange(N)
    assert torch.equal(found.read_images(rows), original.read_images(rows))
    paths = [path.decode() for path in found.records["blob/path"].tolist()]
    assert all(path.startswith(">images/") and (tmp_path / "groups" / path[1:]).is_file() for path in paths)


def test_the_volume_names_maps_that_are_there(run, tmp_path) -> None:
    write_result_groups(run, tmp_path / "groups")
    group = read_group(tmp_path / "groups/volume.csg")
    assert list(group["results"]) == ["map", "map_half_A", "map_half_B", "map_sharp", "mask_refine"]
    record = read_records(tmp_path / "groups/volume.cs")[0]
    for result, name in (("map", "map.mrc"), ("map_half_B", "half2_unfil.mrc"), ("mask_refine", "mask.mrc")):
        density = read_map(tmp_path / "groups" / record[f"{result}/path"].decode()[1:])
        assert torch.equal(density.data, read_map(run / name).data)
        assert record[f"{result}/shape"].tolist() == [BOX] * 3
        assert record[f"{result}/psize_A"] == PIXEL


def test_black_particles_are_said_to_be_black(tmp_path) -> None:
    run = make_finished(tmp_path, contrast="black")
    write_result_groups(run, tmp_path / "groups")
    assert set(read_records(tmp_path / "groups/particles.cs")["blob/sign"].tolist()) == {-1.0}


def test_particles_of_cryosparc_keep_uid_and_paths_in_their_project(run, tmp_path) -> None:
    """A passthrough field, a uid and a path of the project J12: as they came."""
    uid = [str(2**63 + i) for i in range(N)]
    kept = {"cs/uid": uid, "cs/blob/path": ["J12/extract/a.mrc"] * N, "cs/blob/idx": [str(i) for i in range(N)]}
    kept |= {"cs/blob/sign": ["-1.0"] * N, "cs/location/center_x_frac": ["0.25"] * N, "cs/blob/psize_A": ["3.0"] * N}
    named = {"rlnImageName": [f"{i + 1:06d}@J12/extract/a.mrc" for i in range(N)]}
    write_particles_star(run / "particles.star", **named, **kept)
    shutil.rmtree(tmp_path / "project")  # the images need not be here
    write_result_groups(run, tmp_path / "groups")
    records = read_records(tmp_path / "groups/particles.cs")
    assert records["uid"].tolist() == [int(text) for text in uid]
    assert set(records["blob/path"].tolist()) == {b"J12/extract/a.mrc"}
    assert set(records["blob/sign"].tolist()) == {-1.0}
    assert read_group(tmp_path / "groups/particles.csg")["results"]["location"]["type"] == "particle.location"


def test_images_that_cryosparc_has_not_got_are_linked_although_a_path_of_its_is_kept(run, tmp_path) -> None:
    """RELION has extracted the images anew, and kept the columns of cryoSPARC as it found them."""
    kept = {"cs/blob/path": ["J12/extract/a.mrc"] * N, "cs/blob/idx": [str(i) for i in range(N)]}
    write_particles_star(run / "particles.star", **kept, **{"cs/blob/psize_A": ["1.5"] * N})
    write_result_groups(run, tmp_path / "groups")
    found = read_particles(tmp_path / "groups/particles.cs")
    original = read_particles(run / "particles.star", datadir=tmp_path / "project")
    assert torch.equal(found.read_images(slice(None)), original.read_images(slice(None)))
    assert set(found.records["blob/psize_A"].tolist()) == {PIXEL}


def test_classes_are_groups_of_their_own(run, tmp_path) -> None:
    classes = {"rlnClassNumber": [str(1 + i % 3) for i in range(N)], "rlnClassProbability": ["0.900000"] * N}
    write_particles_star(run / "particles.star", **classes)
    for name in ("class2", "class10", "class3"):
        shutil.copytree(run, tmp_path / name)
    (tmp_path / "class3/summary.json").write_text('{"structure_found": false}')
    for name in ("class2", "class10", "class3"):
        shutil.move(tmp_path / name, run / name)
    (run / "map.mrc").unlink()  # each class has a map of its own, and the run above them none
    written = write_result_groups(run, tmp_path / "groups")
    assert [path.relative_to(tmp_path / "groups").as_posix() for path in written.groups] == [
        "particles.csg", "class2/particles.csg", "class2/volume.csg", "class10/particles.csg", "class10/volume.csg",
    ]  # fmt: skip
    group = read_group(tmp_path / "groups/class2/particles.csg")
    assert group["results"]["alignments3D_multi"]["type"] == "particle.alignments3D_multi"
    records = read_records(tmp_path / "groups/particles.cs")
    assert records["alignments3D/class"].tolist() == [i % 3 for i in range(N)]
    assert records["alignments3D_multi/class_posterior"][1] == pytest.approx([0.05, 0.9, 0.05])
    assert records["alignments3D_multi/pose"].shape == (N, 3, 3)
    # a class folder by itself, by the same function
    alone = write_result_groups(run / "class2", tmp_path / "alone")
    assert [path.name for path in alone.groups] == ["particles.csg", "volume.csg"]


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (lambda run: (run / "summary.json").unlink(), "not finished"),
        (lambda run: (run / "map.mrc").unlink(), "map.mrc is missing"),
        (lambda run: (run / "summary.json").write_text('{"structure_found": false}'), "no structure"),
        (lambda run: shutil.rmtree(run.parent / "project"), "image stack"),
        (lambda run: (run.parent / "groups").write_text(""), "exists already"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing_behind(run, tmp_path, break_it, fault) -> None:
    break_it(run)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=fault):
        write_result_groups(run, tmp_path / "groups")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_names_the_groups(run, tmp_path, capsys) -> None:
    assert main(["cryosparc-group", str(run), "--out", str(tmp_path / "groups")]) == 0
    printed = capsys.readouterr().out
    assert f"{N} particles" in printed
    assert str(tmp_path / "groups/particles.csg") in printed


@pytest.mark.cryosparc
def test_cryosparc_tools_read_every_field(run, tmp_path) -> None:
    from cryosparc.dataset import Dataset

    kept = {"rlnClassNumber": [str(1 + i % 2) for i in range(N)], "cs/location/center_x_frac": ["0.25"] * N}
    write_particles_star(run / "particles.star", **kept)
    write_result_groups(run, tmp_path / "groups")
    records = read_records(tmp_path / "groups/particles.cs")
    found = Dataset.load(str(tmp_path / "groups/particles.cs"))
    assert len(found) == N
    assert set(found.fields()) == set(records.dtype.names)
    rotation, shift = random_poses()
    matrices = exp_so3(torch.from_numpy(np.array(found["alignments3D/pose"], dtype=np.float64))).mT
    assert float((matrices - rotation).abs().max()) < 1e-5
    shifts = np.array(found["alignments3D/shift"]) * np.array(found["alignments3D/psize_A"])[:, None]
    assert float(np.abs(shifts - shift.numpy()).max()) < 1e-5
    assert list(found["rln/CoordinateX"]) == [100.25 + i for i in range(N)]
    assert set(found["location/center_x_frac"]) == {0.25}
    assert str(found["blob/path"][0]).startswith(">images/")
    volume = Dataset.load(str(tmp_path / "groups/volume.cs"))
    assert str(volume["map_half_A/path"][0]) == ">maps/half1_unfil.mrc"
    assert list(volume["map/shape"][0]) == [BOX] * 3
