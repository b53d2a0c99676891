"""Who may write a run folder, and what it keeps."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from resmfn.core import InputError
from resmfn.data.runs.file_names import CHECKPOINT, CONFIG, LOG, METRICS
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction.config import ReconstructionConfig

HOLD = """
import sys
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.data.runs.run_folder import RunFolder
with RunFolder(ReconstructionConfig(particles="p.star", out=sys.argv[1], resume=True)) as folder:
    folder.begin()
    print("open", flush=True)
    sys.stdin.read()
"""


def config(out: Path, **settings: object) -> ReconstructionConfig:
    return ReconstructionConfig(particles="particles.star", out=out, **settings)


@contextmanager
def opened(config: ReconstructionConfig) -> Iterator[RunFolder]:
    """Open a run folder and begin, as a run whose input is in order does."""
    with RunFolder(config) as folder:
        folder.begin()
        yield folder


def begun(out: Path, **settings: object) -> Path:
    """Make a run folder with a checkpoint."""
    with opened(config(out, **settings)) as folder:
        folder.save({"phase": "focus", "values": torch.arange(3.0)})
    return out


def assert_refused(config: ReconstructionConfig, message: str) -> None:
    """Open a run folder that must not be opened."""
    folder = RunFolder(config)
    try:
        with pytest.raises(InputError, match=message), folder:
            pass
    finally:
        folder._lock.release()  # see test_a_refused_folder_is_let_go


# --- who may write -----------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_the_lock_dies_with_the_first(tmp_path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "open\n"
            before = (out / CONFIG).read_bytes()
            for settings in ({"resume": True}, {"overwrite": True}):
                assert_refused(config(out, **settings), f"another process is writing {out}")
            assert (out / CONFIG).read_bytes() == before
        finally:
            holder.kill()
    with opened(config(out, resume=True)):
        pass


def test_the_same_process_may_not_open_it_twice(tmp_path) -> None:
    with opened(config(tmp_path / "run")):
        assert_refused(config(tmp_path / "run", resume=True), "another process is writing")


def test_a_refused_folder_is_let_go(tmp_path) -> None:
    folder = RunFolder(config(begun(tmp_path / "run"), resume=True, seed=1))
    with pytest.raises(InputError, match="begun with"), folder:
        pass
    with opened(config(tmp_path / "run", resume=True)):
        pass


def test_a_closed_folder_is_free(tmp_path) -> None:
    for settings in ({}, {"resume": True}, {"overwrite": True}):
        with opened(config(tmp_path / "run", **settings)):
            pass


# --- what may be written -----------------------------------------------------------------------------


def test_a_run_is_never_replaced_unasked(tmp_path) -> None:
    out = begun(tmp_path / "run")
    assert_refused(config(out), "holds a run; give --resume to continue it, --overwrite")
    assert (out / CHECKPOINT).exists()


@pytest.mark.parametrize("settings", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_of_something_else_is_refused_whatever_is_asked(tmp_path, settings) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert_refused(config(tmp_path, **settings), "exists and is not a run folder; choose another name")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path) -> None:
    (tmp_path / "run").write_text("")
    assert_refused(config(tmp_path / "run"), "is not a run folder")


def test_a_path_through_a_file_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(config(tmp_path / "file" / "run"), "cannot make the run folder .*file")


@pytest.mark.parametrize("settings", [{"resume": True}, {"overwrite": True}])
def test_a_run_that_does_not_begin_leaves_the_folder_as_it_was(tmp_path, settings) -> None:
    out = begun(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="bad"), RunFolder(config(out, **settings)) as folder:
        folder.log("reading")
        raise InputError("bad")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_does_not_begin_leaves_no_folder(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(config(tmp_path / "run")):
        raise KeyboardInterrupt
    assert not (tmp_path / "run").exists()


def test_what_was_said_before_the_run_began_is_in_its_log(tmp_path) -> None:
    with RunFolder(config(tmp_path / "run")) as folder:
        folder.log("reading")
        folder.begin()
        folder.log("read")
    lines = (tmp_path / "run" / "run.log").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["reading", "read"]


def test_an_empty_folder_may_become_a_run(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    with opened(config(tmp_path / "run")) as folder:
        assert folder.load() is None
    assert (tmp_path / "run" / CONFIG).exists()


def test_missing_parents_are_made(tmp_path) -> None:
    with opened(config(tmp_path / "a" / "b" / "run")):
        pass
    assert (tmp_path / "a" / "b" / "run" / CONFIG).exists()


def test_refused_input_leaves_no_folder(tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="bad"), opened(config(out)) as folder:
        folder.log("reading")
        folder.record(stage="read")
        raise InputError("bad input")
    assert not out.exists()


def test_an_error_after_a_checkpoint_leaves_the_folder(tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="disk"), opened(config(out)) as folder:
        folder.save({"phase": "focus"})
        raise InputError("the disk is full")
    assert (out / CHECKPOINT).exists()


def test_an_interrupt_leaves_the_folder(tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), opened(config(out)):
        raise KeyboardInterrupt
    assert (out / CONFIG).exists()


def test_refused_input_leaves_what_stood_in_the_folder_before(tmp_path) -> None:
    out = begun(tmp_path / "run")
    with pytest.raises(InputError, match="bad"), opened(config(out, resume=True)):
        raise InputError("bad input")
    assert (out / CHECKPOINT).exists()


# --- settings ----------------------------------------------------------------------------------------


def test_the_settings_are_written_down_in_full(tmp_path) -> None:
    with opened(config(tmp_path / "run", shift_range=3.5, seed=7)):
        pass
    written = yaml.safe_load((tmp_path / "run" / CONFIG).read_text())
    assert written["shift_range"] == 3.5
    assert written["seed"] == 7
    assert written["particles"] == str(Path("particles.star").absolute())  # read from anywhere
    assert set(written) == set(ReconstructionConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, r"begun with --seed 0, not 1; resume with the original settings"),
        ({"shift_range": 4.0}, r"--shift-range 10\.0, not 4\.0"),
        ({"poses": "fixed"}, r"--poses unknown, not fixed"),
        ({"mask": "mask.mrc"}, r"--mask None, not .*mask\.mrc"),
        ({"hidden_dim": 64}, r"--hidden-dim None, not 64"),
    ],
)
def test_a_run_goes_on_with_the_settings_it_was_begun_with(tmp_path, settings, message) -> None:
    out = begun(tmp_path / "run")
    before = (out / CONFIG).read_bytes()
    assert_refused(config(out, resume=True, **settings), message)
    assert (out / CONFIG).read_bytes() == before


def test_other_particles_are_other_settings(tmp_path) -> None:
    out = begun(tmp_path / "run")
    other = ReconstructionConfig(particles="other.star", out=out, resume=True)
    assert_refused(other, r"--particles .*particles\.star, not .*other\.star")


def test_device_and_folders_may_change(tmp_path) -> None:
    out = begun(tmp_path / "run")
    with opened(config(out, resume=True, device="cpu", datadir=tmp_path)) as folder:
        assert folder.load() is not None


def test_before_the_first_checkpoint_a_resumed_run_starts_afresh_with_any_settings(tmp_path) -> None:
    with opened(config(tmp_path / "run")):
        pass
    with opened(config(tmp_path / "run", resume=True, seed=5)) as folder:
        assert folder.load() is None
    assert yaml.safe_load((tmp_path / "run" / CONFIG).read_text())["seed"] == 5


def test_resuming_nothing_is_a_fresh_start(tmp_path) -> None:
    with opened(config(tmp_path / "run", resume=True)) as folder:
        assert folder.load() is None


def test_a_folder_that_moved_is_resumed_where_it_is(tmp_path) -> None:
    begun(tmp_path / "run").rename(tmp_path / "elsewhere")
    with opened(config(tmp_path / "elsewhere", resume=True)) as folder:
        assert folder.load()["phase"] == "focus"


@pytest.mark.parametrize("text", ["a: [", "", "- 1\n"])
def test_settings_that_cannot_be_read_and_are_nowhere_else_are_one_clear_error(tmp_path, text) -> None:
    out = begun(tmp_path / "run")
    (out / CONFIG).write_text(text)
    torch.save({"phase": "focus"}, out / CHECKPOINT)
    assert_refused(config(out, resume=True), r"config\.yaml")


# --- checkpoint --------------------------------------------------------------------------------------


class Trap:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_comes_back_as_it_was(tmp_path) -> None:
    state = {"phase": "halves", "step": 3, "maps": {"half1": torch.randn(3, 3, generator=torch.Generator())}}
    with opened(config(tmp_path / "run")) as folder:
        folder.save(state)
        assert folder.load() is None  # nobody asked to resume
    with opened(config(tmp_path / "run", resume=True)) as folder:
        loaded = folder.load()
    assert (loaded["phase"], loaded["step"]) == ("halves", 3)
    assert torch.equal(loaded["maps"]["half1"], state["maps"]["half1"])


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path) -> None:
    out, harm = begun(tmp_path / "run"), tmp_path / "harm"
    torch.save({"phase": "focus", "trap": Trap(harm)}, out / CHECKPOINT)
    with (
        opened(config(out, resume=True)) as folder,
        pytest.raises(InputError, match=r"(?s)checkpoint\.pt cannot be read.*start again with --overwrite"),
    ):
        folder.load()
    assert not harm.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, content) -> None:
    out = begun(tmp_path / "run")
    whole = (out / CHECKPOINT).read_bytes()
    (out / CHECKPOINT).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with (
        opened(config(out, resume=True)) as folder,
        pytest.raises(InputError, match="cannot be read"),
    ):
        folder.load()


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    def fail(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:13])
        raise OSError(28, "No space left on device")

    with opened(config(tmp_path / "run", resume=True)) as folder:
        folder.save({"phase": "focus"})
        monkeypatch.setattr(Path, "write_bytes", fail)
        with pytest.raises(InputError, match="No space left on device"):
            folder.save({"phase": "halves"})
        assert folder.load() == {"phase": "focus"}
    assert not [path for path in (tmp_path / "run").iterdir() if "tmp" in path.name]


# --- log and metrics ---------------------------------------------------------------------------------


def test_metrics_are_lines_of_json_and_go_back_to_the_checkpoint(tmp_path) -> None:
    with opened(config(tmp_path / "run")) as folder:
        assert folder.count_metrics() == 0
        for step in range(5):
            folder.record(stage="halves", step=step)
        assert folder.count_metrics() == 5
        with (tmp_path / "run" / METRICS).open("a") as file:
            file.write('{"stage": "hal')  # killed while it wrote
        folder.keep_metrics(3)
        folder.record(stage="halves", step="again")
        lines = (tmp_path / "run" / METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, "again"]


def test_there_may_be_no_metrics_to_drop(tmp_path) -> None:
    with opened(config(tmp_path / "run")) as folder:
        folder.keep_metrics(0)
    assert not (tmp_path / "run" / METRICS).exists()


def test_the_log_has_a_time_for_each_line(tmp_path) -> None:
    with opened(config(tmp_path / "run")) as folder:
        folder.log("first")
        folder.log("second")
    lines = (tmp_path / "run" / "run.log").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["first", "second"]
    assert all(line[:2] == "20" and line[10] == " " for line in lines)


def test_a_run_begun_before_a_setting_existed_goes_on_with_its_default(tmp_path) -> None:
    run = begun(tmp_path / "run")
    settings = yaml.safe_load((run / CONFIG).read_text())
    del settings["box_size"]
    (run / CONFIG).write_text(yaml.safe_dump(settings))
    assert_refused(config(run, resume=True, box_size=32), "begun with --box-size None, not 32")
    with opened(config(run, resume=True)) as folder:
        assert folder.load() is not None


# --- what a crash can leave -------------------------------------------------------------------------


def two_checkpoints(folder: Path, **settings: object) -> None:
    with opened(config(folder, **settings)) as run:
        for number in (1, 2):
            run.record(number=number)
            run.save({"phase": "halves", "step": number, "n_metrics": run.count_metrics()})


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_cut_off_checkpoint_gives_way_to_the_one_before_it(tmp_path, keep: int) -> None:
    two_checkpoints(tmp_path / "run")
    newest = tmp_path / "run" / CHECKPOINT
    newest.write_bytes(newest.read_bytes()[:keep])
    with opened(config(tmp_path / "run", resume=True)) as run:
        assert run.load()["step"] == 1
    assert "continuing from the checkpoint before it" in (tmp_path / "run" / LOG).read_text()


def test_a_kill_between_the_two_renames_leaves_the_checkpoint_before(tmp_path) -> None:
    two_checkpoints(tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).unlink()
    with opened(config(tmp_path / "run", resume=True)) as run:
        assert run.load()["step"] == 1


def test_two_broken_checkpoints_are_an_error_that_names_them(tmp_path) -> None:
    two_checkpoints(tmp_path / "run")
    for name in (CHECKPOINT, "checkpoint_previous.pt"):
        (tmp_path / "run" / name).write_bytes(b"PK")
    with (
        pytest.raises(InputError, match=r"checkpoint\.pt cannot .*checkpoint_previous\.pt cannot .*--overwrite"),
        opened(config(tmp_path / "run", resume=True)) as run,
    ):
        run.load()


@pytest.mark.parametrize("text", ["", "particles: [", "particles: p.st"])
def test_settings_that_were_cut_off_are_in_the_checkpoint(tmp_path, text: str) -> None:
    two_checkpoints(tmp_path / "run", seed=4)
    (tmp_path / "run" / CONFIG).write_text(text)
    with opened(config(tmp_path / "run", resume=True, seed=4)) as run:
        assert run.load()["step"] == 2
    assert "its settings were restored from the checkpoint" in (tmp_path / "run" / LOG).read_text()
    (tmp_path / "run" / CONFIG).write_text(text)
    with (
        pytest.raises(InputError, match="begun with --seed 4, not 5"),
        opened(config(tmp_path / "run", resume=True, seed=5)),
    ):
        pass


def test_metrics_that_were_cut_off_are_cut_at_a_whole_line_and_said_to_be(tmp_path) -> None:
    two_checkpoints(tmp_path / "run")
    metrics = tmp_path / "run" / METRICS
    metrics.write_text(metrics.read_text()[:-4])
    with opened(config(tmp_path / "run", resume=True)) as run:
        run.keep_metrics(run.load()["n_metrics"])
        run.record(number=3)
    assert [json.loads(line)["number"] for line in metrics.read_text().splitlines()] == [1, 3]
    assert "has lost 1 of its lines" in (tmp_path / "run" / LOG).read_text()


def test_files_that_a_kill_cut_off_are_swept_away(tmp_path) -> None:
    run = tmp_path / "run"
    two_checkpoints(run)
    for name in (".checkpoint.0123456789ab.tmp.pt", ".half1.0123456789ab.tmp.mrc", ".report.0123456789ab.tmp.html"):
        (run / name).write_bytes(bytes(10))
    with opened(config(run, resume=True)):
        assert [path.suffix for path in run.glob(".*.tmp.*")] == [".html"]  # it may be another process's, at work


def test_a_full_disk_is_one_error_that_says_how_to_go_on(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    two_checkpoints(tmp_path / "run")
    with (
        pytest.raises(InputError, match="the disk is full.*free some space, and continue with --resume"),
        opened(config(tmp_path / "run", resume=True)) as run,
    ):
        monkeypatch.setattr(Path, "write_bytes", full)
        run.save({"phase": "done"})
    monkeypatch.undo()
    with opened(config(tmp_path / "run", resume=True)) as run:
        assert run.load()["step"] == 2
