"""What is written goes to the run folder alone: no link is followed, no foreign file is touched, nothing half."""

import os
import re
from pathlib import Path

import pytest
import torch

from resmfn.core import InputError
from resmfn.core.atomic import append_line, open_plain
from resmfn.data.runs.own_files import OWN, is_own, own_files, remove_own_files
from resmfn.data.runs.progress_file import write_lightly
from resmfn.data.runs.run_folder import CONFIG, RunFolder
from resmfn.reconstruction.config import ReconstructionConfig

TREASURE = "years of work"


def config(out: Path, **settings: object) -> ReconstructionConfig:
    return ReconstructionConfig(particles="particles.star", out=out, **settings)


def begun(out: Path) -> Path:
    """Make a run folder with a checkpoint, a line of log and one of metrics."""
    with RunFolder(config(out)) as folder:
        folder.begin()
        folder.record(step=1)
        folder.log("begun")
        folder.save({"phase": "focus", "n_metrics": 1, "values": torch.arange(3.0)})
    return out


def contents(folder: Path) -> dict[str, object]:
    """Return every path below a folder with what it holds; links as links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        held = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = held
    return found


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """Return a file of the user's that no run may touch."""
    path = tmp_path / "thesis.txt"
    path.write_text(TREASURE)
    return path


# --- links -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".lock", "run.log", "metrics.jsonl"])
@pytest.mark.parametrize("settings", [{}, {"resume": True}, {"overwrite": True}])
def test_nothing_is_written_through_a_link(tmp_path, treasure, name, settings) -> None:
    out = begun(tmp_path / "run")
    (out / name).unlink()
    (out / name).symlink_to(treasure)
    before = contents(out)
    try:
        with RunFolder(config(out, **settings)) as folder:
            folder.begin()
            folder.record(step=2)
        assert settings == {"overwrite": True} and name != ".lock"  # which takes the link away
        assert not (out / name).is_symlink()
    except InputError:
        assert contents(out) == before
    assert treasure.read_text() == TREASURE


@pytest.mark.parametrize("name", ["maps", "fields", "tensorboard"])
def test_a_linked_folder_is_not_written_to(tmp_path, name) -> None:
    out = begun(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (out / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{name} is a symbolic link"), RunFolder(config(out, resume=True)):
        pass


def test_a_link_in_place_of_a_lock_costs_its_target_nothing_though_the_run_is_refused(tmp_path, treasure) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(treasure)
    with pytest.raises(InputError, match=r"\.lock is a symbolic link"), RunFolder(config(tmp_path / "run")):
        pass
    assert treasure.read_text() == TREASURE
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_dead_link_makes_no_file_elsewhere(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "made-by-accident")
    with pytest.raises(InputError, match="symbolic link"), RunFolder(config(tmp_path / "run")):
        pass
    assert not (tmp_path / "made-by-accident").exists()


def test_the_fixed_temporary_name_of_progress_follows_no_link(tmp_path, treasure) -> None:
    out = begun(tmp_path / "run")
    (out / ".progress.json.tmp").symlink_to(treasure)
    with RunFolder(config(out, resume=True)) as folder:
        write_lightly(folder, "progress.json", {"done": 0.5})
    assert treasure.read_text() == TREASURE
    assert (out / "progress.json").read_text().startswith("{")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        append_line(tmp_path / "pipe", "a line\n")
    with pytest.raises(InputError, match="not a regular file"):
        open_plain(tmp_path / "pipe", os.O_RDWR)


def test_the_lock_is_not_emptied(tmp_path) -> None:
    out = begun(tmp_path / "run")
    (out / ".lock").write_text("a note that somebody left")
    with RunFolder(config(out, resume=True)), pytest.raises(InputError, match="another process"):
        RunFolder(config(out, resume=True)).__enter__()
    assert (out / ".lock").read_text() == "a note that somebody left"


# --- a refused run changes nothing ---------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"resume": True, "seed": 1}])
def test_a_refused_run_leaves_no_lock_where_there_was_none(tmp_path, settings) -> None:
    out = begun(tmp_path / "run")
    (out / ".lock").unlink()
    before = contents(out)
    with pytest.raises(InputError), RunFolder(config(out, **settings)):
        pass
    assert contents(out) == before


def test_a_refused_run_leaves_no_parents(tmp_path) -> None:
    with pytest.raises(InputError, match="bad"), RunFolder(config(tmp_path / "a" / "b" / "run")):
        raise InputError("bad")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["out_dir: here\n", "- 1\n", "a: [", ""])
def test_a_config_yaml_of_another_program_makes_no_run_folder(tmp_path, text) -> None:
    (tmp_path / CONFIG).write_text(text)
    (tmp_path / "particles.star").write_text(TREASURE)
    (tmp_path / ".lock").touch()
    before = contents(tmp_path)
    for settings in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match="is not a run folder"), RunFolder(config(tmp_path, **settings)):
            pass
    assert contents(tmp_path) == before


def test_input_that_overwriting_would_take_away_is_refused(tmp_path) -> None:
    out = begun(tmp_path / "run")
    (out / "particles.star").write_text(TREASURE)
    (out / "notes.star").write_text(TREASURE)
    settings = ReconstructionConfig(particles=out / "particles.star", out=out, overwrite=True)
    with pytest.raises(InputError, match=r"--particles .*particles\.star is part of the run"), RunFolder(settings):
        pass
    assert (out / "particles.star").read_text() == TREASURE
    with RunFolder(ReconstructionConfig(particles=out / "notes.star", out=out, overwrite=True)) as folder:
        folder.begin()
    assert (out / "notes.star").read_text() == TREASURE


# --- --overwrite -------------------------------------------------------------------------------------


def fill(out: Path) -> list[str]:
    """Put one file of every kind that a run makes into a folder, and files of the user's; return the latter."""
    for pattern in OWN:
        path = out / re.sub(r"\[0-9\]|\*", "7", pattern)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    foreign = ["notes.txt", "maps/mine.mrc", "fields/7/drawing.svg", "figures/map.mrc", "postprocess/old/fsc.csv"]
    foreign += ["class1_C2/map.mrc", "classification/map.mrc"]  # runs of the user's
    for name in foreign:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(TREASURE)
    return foreign


def test_overwriting_removes_what_a_run_made_and_keeps_what_is_foreign(tmp_path, treasure) -> None:
    out = begun(tmp_path / "run")
    foreign = fill(out)
    (out / "map_scale2.mrc").unlink(missing_ok=True)
    (out / "map_scale2.mrc").symlink_to(treasure)
    with RunFolder(config(out, overwrite=True)) as folder:
        folder.begin()
        assert folder.load() is None
        assert not folder.has_checkpoint
    files = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    assert files == {CONFIG, ".lock", *foreign}
    assert not (out / "tensorboard").exists()
    assert treasure.read_text() == TREASURE


def test_a_file_that_cannot_be_removed_leaves_all_as_it_was(tmp_path, monkeypatch) -> None:
    out = begun(tmp_path / "run")
    fill(out)
    before = contents(out)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name == "summary.json":
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with (
        pytest.raises(InputError, match=r"summary\.json: cannot be removed \(Permission denied\); nothing was changed"),
        RunFolder(config(out, overwrite=True)) as folder,
    ):
        folder.begin()
    assert contents(out) == before


def test_what_a_kill_left_half_removed_goes_with_the_next_run(tmp_path) -> None:
    out = begun(tmp_path / "run")
    (out / ".removed.0123456789ab").mkdir()
    (out / ".removed.0123456789ab" / "0").touch()
    (out / ".map.0123456789ab.tmp.mrc").touch()
    (out / ".notes.tmp.txt").touch()  # the user's
    with RunFolder(config(out, resume=True)) as folder:
        folder.begin()
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == {".lock", ".notes.tmp.txt"}


def test_a_linked_folder_is_not_walked_into(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "epoch001_scale1.mrc").write_text(TREASURE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "maps").symlink_to(tmp_path / "elsewhere")
    assert own_files(tmp_path / "run") == []
    remove_own_files(tmp_path / "run")
    assert (tmp_path / "run" / "maps" / "epoch001_scale1.mrc").read_text() == TREASURE


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("map.mrc", True), ("map_scale12.mrc", True), ("fields/cat/epoch_000012/scale3.png", True),
        ("map2.mrc", False), ("maps/a/epoch1_scale1.mrc", False), ("sub/map.mrc", False), ("config.yaml", False),
    ],
)  # fmt: skip
def test_what_is_a_runs_own(tmp_path, name, own) -> None:
    assert is_own(tmp_path, tmp_path / name) is own
