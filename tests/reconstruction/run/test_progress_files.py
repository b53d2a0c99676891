"""What those who watch a run can read."""

import json
from pathlib import Path

import pytest
import torch

from resmfn.data.runs.file_names import PROGRESS
from resmfn.data.runs.progress_file import ProgressFile
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction import ProgressEvent, ReconstructionConfig
from resmfn.reconstruction.run import progress_files as signs_of_life
from resmfn.reconstruction.run.progress_files import PREVIEW, PROVENANCE
from resmfn.reconstruction.run.records import Maps


@pytest.fixture
def folder(tmp_path: Path):
    with RunFolder(ReconstructionConfig(particles=tmp_path / "p.star", out=tmp_path / "run")) as opened:
        yield opened


def read(folder: RunFolder) -> dict:
    return json.loads((folder.path / PROGRESS).read_text())


def test_progress_is_kept_up_to_date_but_for_details_that_follow_at_once(folder, monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(signs_of_life.time, "monotonic", lambda: clock[0])
    tell = ProgressFile(folder)
    tell(ProgressEvent("read", "images", 0.1))
    assert not (folder.path / PROGRESS).exists()  # not this run's folder yet
    folder.begin()
    tell.earlier_seconds = 50.0
    clock[0] += 10
    tell(ProgressEvent("search", "start 1", 0.3))
    first = read(folder)
    assert (first["stage"], first["message"], first["done"], first["seconds"]) == ("search", "start 1", 0.3, 60.0)
    clock[0] += 0.4
    tell(ProgressEvent("search", "a detail"))
    assert read(folder) == first
    clock[0] += 2
    tell(ProgressEvent("search", "another detail"))
    assert (read(folder)["message"], read(folder)["done"]) == ("another detail", 0.3)


def test_a_full_disk_is_no_reason_to_stop_here(folder, monkeypatch) -> None:
    folder.begin()
    (folder.path / f".{PROGRESS}.tmp").mkdir()
    ProgressFile(folder)(ProgressEvent("search", "start 1", 0.3))
    assert not (folder.path / PROGRESS).exists()


def test_the_program_is_named(folder, monkeypatch) -> None:
    folder.begin()
    monkeypatch.setattr("sys.argv", ["resmfn", "reconstruct", "a file.star"])
    signs_of_life.write_provenance(folder, torch.device("cpu"))
    found = json.loads((folder.path / PROVENANCE).read_text())
    assert found["command"] == "resmfn reconstruct 'a file.star'"
    assert found["torch"] == torch.__version__
    assert found["gpu"] is None


def test_the_map_so_far_is_the_joint_one_or_the_mean_of_the_halves(context, tmp_path) -> None:
    from resmfn.data import read_map

    run = context()
    folder = RunFolder(run.config)
    folder.path.mkdir()
    signs_of_life.write_preview(folder, run)
    assert not (folder.path / PREVIEW).exists()
    size, gray_scale = run.box_size, run.observations.gray_scale
    halves = {"half1": torch.ones(size, size, size), "half2": 3 * torch.ones(size, size, size)}
    run.state.maps = Maps(references=halves)
    signs_of_life.write_preview(folder, run)
    assert torch.allclose(read_map(folder.path / PREVIEW).data, torch.tensor(2 * gray_scale))
    run.state.maps = run.state.maps.with_references({"joint": torch.zeros(size, size, size)})
    signs_of_life.write_preview(folder, run)
    assert float(read_map(folder.path / PREVIEW).data.abs().max()) == 0
