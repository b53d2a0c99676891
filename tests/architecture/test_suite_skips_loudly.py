"""What a machine lacks is said at the end of a run, and a CI without RELION fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
PROBES = """
import pytest

@pytest.mark.shared
def test_with_data(shared): ...

@pytest.mark.relion
def test_with_relion(relion): ...

def test_alone(generator): ...
"""


@pytest.fixture
def run_suite(tmp_path):
    """Return a function that runs three probes under our conftest on a machine with neither data nor RELION."""
    tests = tmp_path / "repository" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(CONFTEST, tests)
    (tests / "test_probes.py").write_text(PROBES)
    (tests / "pytest.ini").write_text("[pytest]\nmarkers =\n    shared\n    relion\n    cuda\n")
    (tmp_path / "empty").mkdir()

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("CI", "RESMFN_SHARED") and not k.startswith("PYTEST_")}
        environment = {**kept, "PATH": str(tmp_path / "empty"), **variables}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tests)]
        return subprocess.run(command, env=environment, cwd=tests, capture_output=True, text=True, check=False)

    return run


def test_missing_data_and_programs_are_named(run_suite):
    result = run_suite()
    assert result.returncode == 0, result.stdout
    assert "1 passed, 2 skipped" in result.stdout
    assert "NOT TESTED: 1 tests, because the shared test data is absent" in result.stdout
    assert "NOT TESTED: 1 tests, because RELION is not on PATH" in result.stdout


def test_ci_without_relion_fails(run_suite):
    result = run_suite(CI="true")
    assert result.returncode == 1
    assert "CI must run the tests against it" in result.stdout


def test_data_elsewhere_is_found(run_suite, tmp_path):
    (tmp_path / "README.md").touch()
    result = run_suite(RESMFN_SHARED=str(tmp_path))
    assert "2 passed, 1 skipped" in result.stdout
