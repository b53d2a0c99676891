"""What is looked at before a run, and what is said about it."""

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from resmfn.cli.main import main
from resmfn.core import machine
from resmfn.core.machine import Check, can_run, examine


def check(name: str, folder: Path) -> Check:
    return next(c for c in examine(folder) if c.name == name)


def test_this_machine_can_run_and_says_with_what(tmp_path, capsys) -> None:
    assert main(["doctor", "--json", "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["can_run"] is True
    checks = {c["name"]: c for c in found["checks"]}
    assert checks["torch"]["found"] == torch.__version__
    assert {"Python", "numpy", "GPU", "threads", "memory", "disk", "relion_refine", "tensorboard"} <= set(checks)
    assert all(c["status"] in ("good", "note", "missing", "bad") for c in found["checks"])
    assert all(c["advice"] for c in found["checks"] if c["status"] in ("missing", "bad"))


def test_a_package_that_is_missing_stops_it_and_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr(machine, "REQUIRED", ("torch", "numpy", "no-such-package"))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "BAD   no-such-package" in text
    assert "pip install no-such-package" in text
    assert "cannot run here yet" in text


def test_an_old_python_and_an_old_torch_stop_it(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(machine, "OLDEST_PYTHON", (4, 0))
    assert not can_run([check("Python", tmp_path)])
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert check("torch", tmp_path).status == "bad"


def test_little_room_and_few_threads_are_noted(monkeypatch, tmp_path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage(0, 0, 2**20))
    monkeypatch.setattr(machine, "available_memory", lambda: 2**30)
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for name, words in (("disk", "0.0 GiB free"), ("memory", "1.0 GiB free"), ("threads", "2 of 8 cores")):
        found = check(name, tmp_path)
        assert (found.status, found.found.startswith(words)) == ("note", True), found
        assert found.advice
    assert can_run(examine(tmp_path))


def test_memory_is_what_a_container_leaves() -> None:
    free = machine.available_memory()
    assert free is None or 0 < free < 2**50


def test_files_that_the_system_has_read_do_not_count_as_used(tmp_path, monkeypatch) -> None:
    """A container's memory fills with image stacks that were read, which the system drops at need."""
    group = tmp_path / "cgroup"
    group.mkdir()
    for name, text in {"memory.max": "1000", "memory.current": "990"}.items():
        (group / name).write_text(text)
    (group / "memory.stat").write_text("anon 90\ninactive_file 850\nactive_file 50\nslab_reclaimable 20\n")
    monkeypatch.setattr(machine, "CGROUP", group)
    assert machine.available_memory() == 10 + 850 + 20


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_that_will_hold_it(tmp_path) -> None:
    assert str(tmp_path) in check("disk", tmp_path / "to" / "come").found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_learn_the_commands(shell, capsys) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "reconstruct" in script
    assert "mask-diameter" in script


def test_the_memory_of_a_program_is_its_own_and_not_that_of_who_started_it() -> None:
    own = "from resmfn.core.machine import peak_memory; print(peak_memory())"
    of_a_large_one = (
        f"import subprocess, sys; x = b'x' * 2**30; subprocess.run([sys.executable, '-c', {own!r}], check=True)"
    )
    alone, below = (
        int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for code in (own, of_a_large_one)
    )
    assert alone < 2**30
    assert below == pytest.approx(alone, rel=0.2)
