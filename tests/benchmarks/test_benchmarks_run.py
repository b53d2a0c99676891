"""The benchmark scripts at a size that shows they still work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.shared
@pytest.mark.long
def test_accuracy_benchmark_runs_and_the_tiny_case_is_solved(shared, tmp_path):
    results = tmp_path / "results.jsonl"
    tools = {
        "RESMFN_SIMULATOR": str(shared / "tools" / "make_particles.py"),
        "RESMFN_SCORER": str(shared / "tools" / "score_map.py"),
        "RESMFN_MODELS": str(shared / "corpus" / "models"),
    }
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_accuracy.py"), "--cases", "tiny"]
    command += ["--out", str(tmp_path / "out"), "--results", str(results)]
    subprocess.run(command, check=True, env={**os.environ, **tools}, capture_output=True)
    record = json.loads(results.read_text())
    assert record["pose_median_deg"] < 5
    assert record["fsc05_unmasked_A"] < 8


def test_accuracy_benchmark_never_falls_back_to_our_own_tools():
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "bench_accuracy.py"), "--cases", "tiny"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RESMFN_")}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 2
    assert "independent" in process.stderr
