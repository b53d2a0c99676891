"""A run that is killed, at any moment, and resumed ends with the same files, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from reconstruction import killed_run
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.cli.reconstruct import EXIT_NOT_RESOLVED
from resmfn.core import make_generator
from resmfn.data.runs.own_files import own_files
from resmfn.physics import GaussianBlobs
from resmfn.rotations import random_rotations

BOX, N = 16, 60
NOT_RESOLVED = 4  # so few images of so few pixels say too little
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]),
}
MOMENTS = [
    [["log", 1]],  # the folder is there, nothing is read
    [["half a line", 1]],  # the first start is done, its line is not
    [["before save", 1]],  # its line is written, no checkpoint yet
    [["in save", 1]],  # half a checkpoint lies there
    [["before rename", 4]],  # written and flushed, but for its name
    [["after save", 1]],  # the first checkpoint
    [["search", 3]],  # in the second start
    [["before save", 2]],  # the second start is saved, the control is done and not saved
    [["after save", 1]],  # the control
    [["after save", 1]],  # the focus
    [["poses", 2]],  # in a round of the halves
    [["record", 2]],  # two rounds on, the second not saved
    [["map", 2]],  # all rounds on: half of the maps are written
    [["star", 1]],
    [["summary", 1]],
    [],
    [],  # a run that is through, resumed once more
]
COMMAND = """
import sys
from reconstruction import killed_run
from resmfn.cli.main import main
sys.exit(main())
"""
SAME = ("map.mrc", "map_filtered.mrc", "half1.mrc", "half2.mrc", "map_scale1.mrc", "particles.star", "fsc.csv",
        "mask.mrc", "half1_unfil.mrc", "half2_unfil.mrc", "map_sharpened.mrc", "local_resolution.mrc",
        "fsc_directional.csv", "validation.json")  # fmt: skip


def kill_and_resume(settings: dict[str, object], moments: list) -> list[int]:
    """Return the signals that ended each attempt, 0 for a run that went through."""
    program = Path(killed_run.__file__)
    result = subprocess.run(
        [sys.executable, str(program), json.dumps(settings), json.dumps(moments)],
        capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [int(line) for line in result.stdout.split()]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return the settings of a tiny run that goes through all phases, shifts and two starts included."""
    folder = tmp_path_factory.mktemp("tiny")
    generator = make_generator(41)
    blobs = GaussianBlobs.random(20, radius=0.28 * BOX, width=0.8, generator=generator)
    images = blobs.project(random_rotations(N, generator=generator), BOX)
    images = images / images.std() + 0.7 * torch.randn(images.shape, generator=generator)
    return {
        "particles": str(write_particle_files(folder / "data", images)),
        "n_starts": 2,
        "hidden_dim": 16,
        "network_steps": 5,
        "shift_range": 4.0,
        "mask_diameter": 0.9 * BOX * PIXEL_SIZE,
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def uninterrupted(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nobody disturbed."""
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert kill_and_resume(settings | {"out": str(run)}, [[]]) == [0]
    return run


def assert_same_results(run: Path, uninterrupted: Path) -> None:
    for name in SAME:
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    assert {path.name for path in run.glob("*.mrc")} == {path.name for path in uninterrupted.glob("*.mrc")}
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert lines == (uninterrupted / "metrics.jsonl").read_text().splitlines()  # none twice, none lost
    own, other = (json.loads((folder / "summary.json").read_text()) for folder in (run, uninterrupted))
    changing = {"seconds", "cpu_seconds", "peak_memory"}
    assert {k: v for k, v in own.items() if k not in changing} == {k: v for k, v in other.items() if k not in changing}


def test_the_undisturbed_run_says_something(uninterrupted) -> None:
    """The comparisons below see nothing if the maps are empty."""
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"search", "control", "focus", "halves", "validate", "joint"}
    assert json.loads((uninterrupted / "summary.json").read_text())["log_likelihood"][0] > 1


def test_overwriting_knows_every_file_of_a_run(uninterrupted) -> None:
    left = {path.name for path in uninterrupted.rglob("*") if path.is_file()} - {
        p.name for p in own_files(uninterrupted)
    }
    assert left == {"config.yaml", ".lock"}


def test_a_run_killed_at_every_kind_of_moment_ends_with_the_same_files(settings, uninterrupted, tmp_path) -> None:
    run = tmp_path / "run"
    ended = kill_and_resume(settings | {"out": str(run)}, MOMENTS)
    assert ended == [signal.SIGKILL] * (len(MOMENTS) - 2) + [0, 0]
    assert_same_results(run, uninterrupted)
    log = (run / "run.log").read_text()
    assert "resume: from phase search, step 1" in log
    assert "resume: from phase halves" in log
    assert "resume: from phase done" in log


def test_the_time_of_all_parts_is_added_up(settings, tmp_path) -> None:
    run = tmp_path / "run"
    seconds = []
    for resume in (False, True):
        again = settings | {"out": str(run), "resume": resume}
        assert kill_and_resume(again, [[["after save", 1]]]) == [signal.SIGKILL]
        state = torch.load(run / "checkpoint.pt", weights_only=True)
        seconds.append((state["phase"], state["costs"]["seconds"], state["costs"]["cpu_seconds"]))
    assert [phase for phase, _, _ in seconds] == ["search", "control"]
    assert all(0 < first < second for first, second in zip(*[times[1:] for times in seconds], strict=True))


def test_the_command_killed_from_outside_goes_on_and_ends_with_the_same_files(
    settings, uninterrupted, tmp_path
) -> None:
    run = tmp_path / "run"
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "particles"]
    command = [sys.executable, "-c", COMMAND, "reconstruct", str(settings["particles"]), "--out", str(run), *flags]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not (run / "checkpoint.pt").exists():
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (run / "summary.json").exists()
    result = subprocess.run([*command, "--resume"], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == EXIT_NOT_RESOLVED, result.stderr
    assert "resume" in (run / "run.log").read_text()
    assert_same_results(run, uninterrupted)


def test_the_settings_that_a_run_leaves_repeat_it(uninterrupted, tmp_path) -> None:
    config, again = uninterrupted / "config.yaml", tmp_path / "again"
    command = [sys.executable, "-c", COMMAND, "reconstruct", "--config", str(config), "--out", str(again)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == EXIT_NOT_RESOLVED, result.stderr
    assert_same_results(again, uninterrupted)
