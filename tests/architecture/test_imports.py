"""Who may import whom, and what an import costs."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import resmfn

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "scipy", "matplotlib", "gemmi", "mrcfile")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def heavy_modules_after(statement: str) -> list[str]:
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_the_import_contracts_are_kept():
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    command = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    result = run(sys.executable, "-c", command)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_import_resmfn_is_light():
    assert heavy_modules_after("import resmfn") == []


def test_the_command_line_is_light():
    assert heavy_modules_after("from resmfn.cli.main import build_app\nbuild_app()") == []


def test_the_torch_detector_works():
    assert "torch" in heavy_modules_after("import torch")


@pytest.mark.parametrize("name", sorted(resmfn.__all__))
def test_every_public_name_resolves(name):
    assert getattr(resmfn, name) is not None


@pytest.mark.parametrize("name", resmfn._SUBPACKAGES)
def test_every_subpackage_is_reached_as_an_attribute(name):
    assert getattr(resmfn, name).__name__ == f"resmfn.{name}"


def test_subpackages_are_all_named():
    folders = {path.parent.name for path in (REPOSITORY / "src" / "resmfn").glob("*/__init__.py")}
    assert folders == set(resmfn._SUBPACKAGES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'reconstrukt'"):
        _ = resmfn.reconstrukt


def test_dir_lists_names_that_are_not_imported_yet():
    assert set(resmfn.__all__) <= set(dir(resmfn))


def test_the_installed_version_is_the_package_version():
    assert version("resmfn") == resmfn.__version__


def test_help_answers_at_once():
    """``resmfn --help`` costs less than 0.3 s of CPU; twice that is allowed, for machines slower than ours."""
    code = "import resource\nfrom resmfn.cli.main import main\nmain(['--help'])\n"
    code += "usage = resource.getrusage(resource.RUSAGE_SELF)\nprint(usage.ru_utime + usage.ru_stime)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"}
    )
    assert float(result.stdout.splitlines()[-1]) < 0.6
