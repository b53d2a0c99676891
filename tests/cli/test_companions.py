"""``resmfn reconstruct`` starts its further processes by itself, speaks with one voice, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from reconstruction.test_resume import ENVIRONMENT
from resmfn.cli import companions
from resmfn.cli.reconstruct import EXIT_NOT_RESOLVED
from resmfn.core import machine, make_generator
from resmfn.physics import GaussianBlobs
from resmfn.rotations import random_rotations

BOX = 16


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = make_generator(51)
    blobs = GaussianBlobs.random(20, radius=0.28 * BOX, width=0.8, generator=generator)
    images = blobs.project(random_rotations(61, generator=generator), BOX)
    images = images / images.std() + 0.4 * torch.randn(images.shape, generator=generator)
    return write_particle_files(tmp_path_factory.mktemp("data") / "data", images)


def start(particles: Path, run: Path, scratch: Path, *more: str) -> subprocess.Popen:
    """Start a run of two processes in a process group of its own."""
    scratch.mkdir(exist_ok=True)
    flags = {"n-starts": 1, "hidden-dim": 16, "network-steps": 10, "shift-range": 0, "device": "cpu", "processes": 2}
    flags["mask-diameter"] = 0.9 * BOX * PIXEL_SIZE
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-m", "resmfn", "reconstruct", str(particles), "--out", str(run), *words, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=ENVIRONMENT | {"TMPDIR": str(scratch)},
    )  # fmt: skip


def children_of(process: subprocess.Popen) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [pid for pid in map(int, text.split()) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def wait_for(process: subprocess.Popen, words: str) -> None:
    for line in process.stdout:
        if words in line:
            return
    pytest.fail(f"no {words!r}: {process.stderr.read()}")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="NOT TESTED: lists its children by /proc")
def test_a_signal_to_all_processes_stops_the_run_after_a_step_and_it_goes_on(particles, tmp_path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    first = start(particles, run, scratch)
    wait_for(first, "search: start 1")
    (child,) = children_of(first)
    os.killpg(first.pid, signal.SIGTERM)  # as a queueing system does
    _, error = first.communicate(timeout=120)
    assert first.returncode == 128 + signal.SIGTERM
    assert error.count("\n") == 2
    assert "stopped after a complete step" in error
    assert not Path(f"/proc/{child}").exists()
    assert list(scratch.iterdir()) == []
    second = start(particles, run, scratch, "--resume")
    output, error = second.communicate(timeout=120)
    assert (second.returncode, error) == (EXIT_NOT_RESOLVED, "")  # 16 pixels show no more than halves share
    assert output.count("starting") == output.count("half maps, FSC 0.143") == 1
    assert "2 processes" in output
    summary = json.loads((run / "summary.json").read_text())
    assert summary["processes"] == 2
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="NOT TESTED: lists its children by /proc")
def test_a_lost_companion_ends_the_run_with_a_word(particles, tmp_path) -> None:
    process = start(particles, tmp_path / "run", tmp_path / "scratch")
    wait_for(process, "search: start 1")
    os.kill(*children_of(process), signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error.count("\n")) == (2, 1)
    assert "another process of this run was lost" in error


def test_a_refused_input_is_one_line_and_leaves_nothing(tmp_path) -> None:
    process = start(tmp_path / "none.star", tmp_path / "run", tmp_path / "scratch")
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error.count("\n")) == (2, 1)
    assert "none.star" in error
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "device", "cores", "size"),
    [("auto", "cpu", 1, 1), ("auto", "cpu", 3, 3), ("auto", "cpu", 64, 4), ("auto", "cuda", 8, 1), (6, "cpu", 2, 6)],
)
def test_how_many(wanted, device, cores, size, monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert companions._size(wanted, device, cores) == size
    monkeypatch.setenv("WORLD_SIZE", "2")  # a launcher has started them
    assert companions._size(wanted, device, cores) == 1


def test_a_limit_of_memory_starts_no_further_process_unless_they_are_asked_for(monkeypatch) -> None:
    """Each has maps of its own: with one, the box grows further."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    sizes = [companions.Companions(n, "cpu", 3, memory=8.0)._size for n in ("auto", 2)]
    assert sizes == [1, 2]
    assert companions.Companions("auto", "cpu", 3)._size == 3


def test_a_limit_on_threads_limits_the_cores(monkeypatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.allowed_cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert machine.allowed_cores() == 8


@pytest.mark.parametrize(("asked", "used"), [(None, "FATAL"), ("INFO", "INFO")])
def test_what_gloo_says_of_a_process_that_left_is_shown_only_if_asked_for(monkeypatch, asked, used) -> None:
    """All refuse the same input, one a little earlier: beside our line stood one of Gloo, twice in twelve runs."""
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL", raising=False)
    if asked is not None:
        monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", asked)
    assert companions.Companions(2, "cpu", 2)._place(Path("meeting"))["TORCH_CPP_LOG_LEVEL"] == used
