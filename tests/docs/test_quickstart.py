"""The quickstart's commands run as they are written, but for sizes; the README shows the same ones."""

import re
import shlex
from pathlib import Path

import pytest

from resmfn.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "quickstart.md").read_text()
SMALL = {"2000": "150", "64": "20", "1.5": "4.8", "0.1": "1"}
pytestmark = pytest.mark.usefixtures("one_torch_thread")
QUICK = ["--n-starts", "1", "--shift-range", "0", "--hidden-dim", "16", "--network-steps", "20"]


def commands(page: str) -> list[str]:
    """Return the lines of a page that a reader types after a prompt."""
    return re.findall(r"^\$ (resmfn .*)$", page, flags=re.MULTILINE)


def test_the_readme_has_the_same_commands():
    assert commands((REPOSITORY / "README.md").read_text()) == commands(PAGE)


def test_the_demonstration_has_the_same_commands():
    recipe = (REPOSITORY / "Makefile").read_text().replace("$(BIN)/", "").replace("demo/", "")
    assert [line for line in commands(PAGE) if line not in recipe] == []


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = commands(PAGE)
    assert [shlex.split(line)[1] for line in lines] == ["simulate", "reconstruct", "evaluate", "report"]
    for line in lines:
        _, name, *words = shlex.split(line)
        extra = QUICK if name == "reconstruct" else []
        assert main([name, *[SMALL.get(word, word) for word in words], *extra]) == 0, line
    named = set(re.findall(r"`((?:particles|run)/[\w./]+)`", PAGE))
    assert {"run/map_filtered.mrc", "run/summary.json", "run/evaluation.png", "run/report.html"} <= named
    assert [name for name in sorted(named) if not Path(name).is_file()] == []


@pytest.mark.long
def test_the_python_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    small = code.replace(
        "n_projections=2000, box_size=64, pixel_size=1.5", "n_projections=150, box_size=20, pixel_size=4.8, snr=1.0"
    )
    quick = small.replace(
        "mask_diameter=84", "mask_diameter=84, n_starts=1, shift_range=0, hidden_dim=16, network_steps=20"
    )
    assert code != small != quick
    exec(compile(quick, "quickstart.md", "exec"), {})
    assert capsys.readouterr().out.endswith("degrees\n")
