"""What evaluate finds, writes and refuses."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import read_map, write_map
from resmfn.evaluation import fourier_shell_correlation, spherical_mask
from resmfn.fourier import resize_map
from resmfn.reports.scoring import evaluate

DOCS = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def key_paths(entries, prefix=""):
    for key, value in entries.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from key_paths(value, f"{prefix}{key}.")


@pytest.fixture(scope="module")
def truth(finished_run):
    return {"reference": finished_run / "volume.mrc", "true_poses": finished_run / "particles_true.star"}


@pytest.fixture(scope="module")
def evaluated(finished_run, truth, tmp_path_factory):
    """The evaluation, and the folder that it was written to."""
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    return evaluate(finished_run / "run", **truth, out=out), out


def test_a_run_in_another_frame_and_hand_is_scored_as_what_it_is(evaluated):
    found, _ = evaluated
    assert found.maps.alignment.hand == found.poses.alignment.hand == -1
    assert found.map_to_pose_degrees() < 1.5
    assert found.maps.unmasked.correlation[:7].min() > 0.95
    assert 1 < found.poses.errors.median < 4  # three axes of 1.7 degrees each
    assert found.poses.shifts.rms == pytest.approx(1.4, abs=0.2)
    assert found.poses.n_particles == 60


def test_the_json_holds_the_documented_keys_and_no_others(evaluated):
    entries = json.loads((evaluated[1] / "evaluation.json").read_text())
    documented = set(re.findall(r"`([\w.]+)`", DOCS.read_text()))
    sections = {"map", "fsc", "poses", "shifts", "views", "fsc.unmasked", "fsc.masked"}
    for path in key_paths(entries):
        assert path in sections or path in documented or path.rpartition(".")[2] in documented, path
    in_table = re.findall(r"^\| (`.+?) \|", DOCS.read_text().partition("## evaluation.json")[2], flags=re.MULTILINE)
    written = set(key_paths(entries))
    for cell in in_table:
        for path in re.findall(r"`([\w.]+)`", cell):
            assert path in written, f"{path} is documented but was not written"


def test_the_json_holds_the_numbers_of_the_record(evaluated):
    found, folder = evaluated
    entries = json.loads((folder / "evaluation.json").read_text())
    assert entries["fsc"]["unmasked"]["resolution_05"] == found.maps.unmasked.resolution_at(0.5)
    assert entries["poses"]["median"] == found.poses.errors.median
    assert entries["map"]["rotation"] == found.maps.alignment.rotation.tolist()
    assert entries["mask"]["file"] is None
    assert 30 < entries["mask"]["diameter"] < 44


def test_a_picture_that_cannot_be_drawn_costs_no_figure(finished_run, truth, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError

    monkeypatch.setattr("resmfn.reports.figures.draw_evaluation", fails)
    with pytest.raises(RuntimeError):
        evaluate(finished_run / "run", true_poses=truth["true_poses"], out=tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["poses"]["n_particles"] == 60


def test_a_run_folder_takes_its_own_files_and_keeps_the_others(finished_run, truth, tmp_path):
    run = shutil.copytree(finished_run / "run", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    evaluate(run, **truth)
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert set(after) - set(before) == {"evaluation.json", "evaluation.png"}
    assert {name: after[name] for name in before} == before
    evaluate(run, true_poses=truth["true_poses"], figure=False)  # a second time is no error
    assert json.loads((run / "evaluation.json").read_text())["map"] is None


def test_two_star_files_without_maps(finished_run, tmp_path):
    found = evaluate(
        finished_run / "run" / "particles.star", true_poses=finished_run / "particles_true.star", out=tmp_path
    )
    assert found.maps is None
    assert found.poses.alignment.hand == -1
    assert json.loads((tmp_path / "evaluation.json").read_text())["map"] is None


def test_a_map_alone(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = evaluate(finished_run / "run" / "map.mrc", reference=finished_run, figure=False)  # a folder with volume.mrc
    assert found.poses is None
    assert found.rotations is None
    assert list(tmp_path.iterdir()) == []


def test_the_masked_curve_is_that_of_the_mask_given(finished_run, truth, tmp_path):
    mask = spherical_mask(32, 2.0, 30.0)
    write_map(tmp_path / "mask.mrc", mask, 2.0)
    found = evaluate(finished_run / "run" / "map.mrc", reference=truth["reference"], mask=tmp_path / "mask.mrc").maps
    reference = read_map(truth["reference"]).data
    expected = fourier_shell_correlation(found.aligned * mask, reference * mask, 2.0)
    torch.testing.assert_close(found.masked.correlation, expected.correlation)
    assert not torch.allclose(found.masked.correlation, found.unmasked.correlation)


def test_a_finer_reference_is_resampled(finished_run, tmp_path):
    fine = resize_map(read_map(finished_run / "volume.mrc").data, 48)
    write_map(tmp_path / "fine.mrc", fine, 2.0 * 32 / 48)
    found = evaluate(finished_run / "run" / "map.mrc", reference=tmp_path / "fine.mrc")
    assert found.maps.aligned.shape == (32, 32, 32)
    assert found.maps.unmasked.correlation[:7].min() > 0.95


@pytest.mark.parametrize(
    ("run", "given", "message"),
    [
        ("run", {}, "nothing to compare with: give --reference, --true-poses or both"),
        ("nowhere", {"reference": "volume.mrc"}, "nowhere: no such run folder, map or STAR file"),
        (".", {"reference": "volume.mrc"}, r"holds neither map\.mrc nor particles\.star"),
        ("run/particles.star", {"reference": "volume.mrc"}, r"no map to compare with .*volume\.mrc"),
        ("run/map.mrc", {"true_poses": "particles_true.star"}, r"no particles\.star to compare with"),
        ("run", {"reference": "absent.mrc"}, r"absent\.mrc"),
        ("run", {"true_poses": "absent.star"}, r"absent\.star"),
    ],
)
def test_what_has_no_counterpart_is_refused_and_nothing_is_written(finished_run, tmp_path, run, given, message):
    given = {name: finished_run / path for name, path in given.items()}
    with pytest.raises(InputError, match=message):
        evaluate(finished_run / run, **given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_poses_of_classes_are_compared_class_by_class_but_those_of_states_together(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run / "run", run)
    (run / "class2").mkdir()
    with pytest.raises(InputError, match=r"each class are in a frame of its own.*run/class1"):
        evaluate(run, true_poses=finished_run / "particles_true.star", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (run / "config.yaml").write_text("local_states: true\n")
    assert evaluate(run, true_poses=finished_run / "particles_true.star", out=tmp_path / "out").poses is not None


def test_an_out_that_is_a_file_is_refused(finished_run, truth, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: cannot create the folder"):
        evaluate(finished_run / "run" / "particles.star", true_poses=truth["true_poses"], out=tmp_path / "taken")


@pytest.mark.long
def test_a_box_of_64_takes_less_than_15_seconds(finished_run, tmp_path):
    for source, name in ((finished_run / "run" / "map.mrc", "a.mrc"), (finished_run / "volume.mrc", "b.mrc")):
        write_map(tmp_path / name, resize_map(read_map(source).data, 64), 1.0)
    start = time.perf_counter()
    evaluate(tmp_path / "a.mrc", reference=tmp_path / "b.mrc", out=tmp_path)
    assert time.perf_counter() - start < 15
