"""The demonstration's verdict: what it prints, and when it fails."""

import importlib.util
import json
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


@pytest.fixture
def judge(tmp_path):
    """Return a function from a resolution and a rotation error to the demonstration's exit code."""
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)

    def run(resolution: float | None, rotation_error: float) -> int:
        scores = {"fsc": {"unmasked": {"resolution_05": resolution}}, "poses": {"median": rotation_error}}
        summary = {"resolution_half_0143": 3.9, "seconds": 60.0, "cpu_seconds": 110.0}
        (tmp_path / "evaluation.json").write_text(json.dumps(scores))
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        return demo.main(tmp_path)

    return run


def test_a_good_run_succeeds_and_says_where_the_pictures_are(judge, capsys):
    assert judge(4.2, 4.0) == 0
    out = capsys.readouterr().out
    assert "4.20 Å" in out
    assert "evaluation.png" in out


@pytest.mark.parametrize(
    ("resolution", "rotation_error", "complaint"),
    [
        (4.21, 2.0, "FSC 0.5 in Å is 4.21"),
        (None, 2.0, "FSC 0.5 in Å is inf"),
        (3.8, 4.01, "median rotation error in degrees is 4.01"),
        (3.8, float("nan"), "median rotation error in degrees is nan"),
    ],
)
def test_a_poor_run_fails_and_says_why(judge, capsys, resolution, rotation_error, complaint):
    assert judge(resolution, rotation_error) == 1
    assert complaint in capsys.readouterr().out
