"""What users do to output: pipe it, close it, print it in ASCII; and what a command does to files that are there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resmfn.cli.main import main
from resmfn.core import make_generator
from resmfn.data import write_map
from resmfn.fitting.config import FitConfig, ImageFitConfig, VolumeFitSettings

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Return a folder with two maps."""
    for number in (1, 2):
        data = torch.rand(16, 16, 16, generator=make_generator(number))
        write_map(tmp_path / f"{number}.mrc", data, 1.5)
    return tmp_path


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which ``resmfn`` is the command."""
    script = f'resmfn() {{ "{sys.executable}" -m resmfn "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=ENVIRONMENT | variables, capture_output=True, text=True, check=False
    )


def test_closed_pipes_full_disks_and_plain_letters_are_no_failures(maps) -> None:
    """In one shell, for the start of a process takes its time on a busy machine."""
    lines = [
        "resmfn --help | head -1 >&2; echo piped ${PIPESTATUS[0]} >&2",
        "resmfn --version >&-; echo closed $? >&2",
        "resmfn check 1.mrc >&-; echo closed $? >&2",
        "resmfn check 1.mrc > /dev/full; echo full $? >&2",
        "resmfn fsc absent.mrc 2.mrc 2>&- ; echo silent $? >&2",
        "PYTHONIOENCODING=ascii resmfn check 1.mrc >&2; echo plain $? >&2",
    ]
    said = shell("\n".join(lines), maps).stderr
    assert "Traceback" not in said and "Exception ignored" not in said
    for ending in ("piped 141", "closed 0", "full 2", "silent 2", "plain 0"):
        assert ending in said.splitlines(), said
    assert "No space left on device" in said
    assert "voxel size      1.5 x 1.5 x 1.5 A\n" in said


# --- help --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("reconstruct", "Exit code 3: no structure was found"),
        ("convert", "becomes a zero-padded cube"),
        ("check", "2: it is refused, with the reason"),
        ("fit-volume", "RUN/fields holds the field"),
    ],
)
def test_help_shows_the_whole_description(command, words, capsys) -> None:
    assert main([command, "--help"]) == 0
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("command", "settings"), [("fit-image", ImageFitConfig), ("fit-volume", VolumeFitSettings)])
def test_a_commands_own_flags_come_before_those_it_shares(command, settings, capsys) -> None:
    assert main([command, "--help"]) == 0
    page = capsys.readouterr().out
    shared = set(FitConfig.__dataclass_fields__) - {"out"}
    own = set(settings.__dataclass_fields__) - shared - {"out"}
    places = {name: page.index("--" + name.replace("_", "-") + " ") for name in shared | own | {"figures"}}
    assert max(places[name] for name in own | {"figures"}) < min(places[name] for name in shared)


# --- files that are there, and names that cannot be meant ---------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_render_of_what_is_no_field_does_not_advise_to_run_its_code(maps, capsys, monkeypatch) -> None:
    monkeypatch.chdir(maps)
    (maps / "field.pt").write_bytes(b"\x80\x02cposix\nsystem\n")
    for name in ("field.pt", "1.mrc"):
        error = refused(capsys, "render", name, "--out", "new.png")
        assert (
            "not a readable fitted field: it is of another kind, is damaged, or holds code, which is never run" in error
        )
        assert "weights_only" not in error
    assert not (maps / "new.png").exists()


def test_render_replaces_nothing_unasked(maps, capsys, monkeypatch) -> None:
    monkeypatch.chdir(maps)
    (maps / "old.png").write_text("kept")
    assert "old.png: already exists; give another name, or --overwrite" in refused(
        capsys, "render", "1.mrc", "--out", "old.png"
    )
    assert (maps / "old.png").read_text() == "kept"


@pytest.mark.parametrize("name", ["volume.mrc", "a.star", "a.cs", "a.npy"])
def test_project_takes_no_other_name_for_a_stack(maps, capsys, monkeypatch, name) -> None:
    monkeypatch.chdir(maps)
    assert f"--out {name} must end in .mrcs" in refused(capsys, "project", "1.mrc", "p.star", "--out", name)


def test_a_report_replaces_pages_only(maps, capsys, monkeypatch) -> None:
    monkeypatch.chdir(maps)
    before = (maps / "1.mrc").read_bytes()
    assert "--out 1.mrc must end in .html" in refused(capsys, "report", ".", "--out", "1.mrc")
    assert (maps / "1.mrc").read_bytes() == before


def test_memory_that_runs_out_is_one_line(maps, capsys, monkeypatch) -> None:
    def run_out(*_: object, **__: object) -> None:
        torch.empty(2**50, dtype=torch.uint8)

    monkeypatch.setattr("resmfn.reports.compare.fsc", run_out)
    monkeypatch.chdir(maps)
    error = refused(capsys, "fsc", "1.mrc", "2.mrc")
    assert error.startswith(
        "resmfn: out of memory (can't allocate memory: you tried to allocate 1125899906842624 bytes"
    )
