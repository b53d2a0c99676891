"""What result files hold, and how two of them are compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
import records  # noqa: E402

RESULTS = sorted(path for path in (BENCHMARKS / "results").rglob("*.json*"))


def test_a_stamp_says_program_machine_and_day() -> None:
    stamp = records.stamp()
    assert tuple(stamp) == records.STAMP
    assert json.loads(json.dumps(stamp)) == stamp
    assert stamp["cores"] >= 1


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_every_kept_result_names_its_benchmark_its_case_and_with_what_it_was_measured(path) -> None:
    found = records.read(path)
    assert found
    for record in found:
        assert {"benchmark", "case", "made_with"} <= set(record), record
        assert set(record["made_with"]) == set(records.STAMP)


def test_records_come_back_as_they_were_appended(tmp_path) -> None:
    path = tmp_path / "results" / "a.jsonl"
    for case in ("x", "y"):
        records.append(path, {"benchmark": "b", "case": case})
    assert [record["case"] for record in records.read(path)] == ["x", "y"]


def test_repeats_are_told_by_their_median_and_extremes() -> None:
    assert records.spread([3.0, 1.0, 10.0]) == {"median": 3.0, "min": 1.0, "max": 10.0, "repeats": 3}
    assert records.spread([1.0, 2.0])["median"] == 1.5


def record(case: str = "a", processor: str = "same", **figures: object) -> dict:
    return {"benchmark": "b", "case": case, "made_with": {"processor": processor, "gpu": None}, **figures}


def verdicts(before: dict, after: dict) -> dict[str, str]:
    return {name: verdict for _, name, *_, verdict in compare.compare([before], [after], 0.1)}


def test_worse_is_larger_for_costs_and_errors_and_smaller_for_scores() -> None:
    before = record(cpu_s=10.0, fsc05_A=3.4, share_within=0.9, n=5, psnr=30.0, time_ms={"median": 2.0})
    after = record(cpu_s=12.0, fsc05_A=3.5, share_within=0.5, n=9, psnr=31.0, time_ms={"median": 3.0})
    assert verdicts(before, after) == {
        "cpu_s": "worse", "fsc05_A": "", "share_within": "worse", "n": "", "psnr": "", "time_ms.median": "worse",
    }  # fmt: skip
    assert set(verdicts(after, before).values()) == {""}


def test_times_of_two_machines_are_not_judged_but_errors_are() -> None:
    found = verdicts(record(cpu_s=1.0, pose_deg=1.0), record(processor="other", cpu_s=9.0, pose_deg=2.0))
    assert found == {"cpu_s": "another machine", "pose_deg": "worse"}


def run_compare(*files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCHMARKS / "compare.py"), *files], capture_output=True, text=True)


def test_the_tool_ends_with_1_if_anything_is_worse(tmp_path) -> None:
    for name, value in (("old", 1.0), ("new", 2.0)):
        records.append(tmp_path / f"{name}.jsonl", record(cpu_s=value))
    for names, code in ((("old", "new"), 1), (("new", "old"), 0), (("old", "old"), 0)):
        files = [str(tmp_path / f"{name}.jsonl") for name in names]
        process = subprocess.run(
            [sys.executable, str(BENCHMARKS / "compare.py"), *files], capture_output=True, text=True
        )
        assert process.returncode == code
        assert "b/a" in process.stdout
        assert ("worse" in process.stdout) == bool(code)


def test_files_without_a_common_case_are_refused(tmp_path) -> None:
    for name in ("old", "new"):
        records.append(tmp_path / f"{name}.jsonl", record(case=name))
    files = [str(tmp_path / "old.jsonl"), str(tmp_path / "new.jsonl")]
    process = run_compare(*files)
    assert process.returncode == 1
    assert "no case in common" in process.stderr
