"""``resmfn report`` and ``resmfn watch``: what they print, and that Ctrl-C ends watching and not more."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from reports.example_run import make_run
from resmfn.cli.main import main


def test_report_says_where_the_page_is(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "run", done=False)
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert re.match(r".*page\.html: written in [\d.]+ s \(\d\.\d MB\)", capsys.readouterr().out)
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("command", ["report", "watch"])
def test_what_is_no_run_is_one_line(command, tmp_path, capsys) -> None:
    assert main([command, str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"resmfn: {tmp_path / 'none'}: no such run folder\n"
    assert main([command, str(make_run(tmp_path / "run", done=False)), "--interval", "0"]) == 2
    assert "--interval. It must be above 0 seconds" in capsys.readouterr().err


def test_watching_a_run_that_is_done_ends_by_itself_if_asked(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "run")
    assert main(["watch", str(run), "--until-done"]) == 0
    out = capsys.readouterr().out
    assert "http://127.0.0.1:" in out
    assert "100%  done: half maps agree to 6.90 Å" in out


def test_ctrl_c_ends_watching(tmp_path) -> None:
    run = make_run(tmp_path / "run", done=False)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "resmfn", "watch", str(run), "--interval", "0.2"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit "ignore"
    ) as process:
        try:
            address = process.stdout.readline().split()[1]
            assert "50%  halves: round 2" in process.stdout.readline()
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert "50% done" in answer.read().decode()
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "stopped watching; the run was not touched" in rest
    assert errors == ""
    assert sorted(path.name for path in Path(run).iterdir() if path.suffix == ".html") == []
