"""Wheel and source archive: they build, hold what is not Python, and the wheel's command runs elsewhere."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = ("py.typed", "reports/html/assets/3Dmol-min.js", "reports/html/assets/3Dmol-LICENSE.txt",
        "reports/html/assets/report.js", "reports/html/assets/report.css", "data/molecules/4ake.csv")  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling", reason="archives are built with hatchling: pip install hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    return folder


def test_both_archives_hold_what_the_package_reads(built) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"resmfn/{name}" for name in DATA} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests")]
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/resmfn/{name}" for name in DATA} | {"pyproject.toml", "LICENSE", "README.md"} <= inside


def test_the_wheel_installs_in_a_clean_environment_and_its_command_runs(built, tmp_path) -> None:
    venv.create(tmp_path / "clean", with_pip=False)
    python = tmp_path / "clean" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True, timeout=300)
    # What it depends on is taken from here; the package itself is not on this path.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PYTHONPATH"] = sysconfig.get_paths()["purelib"]
    command = [str(tmp_path / "clean" / "bin" / "resmfn"), "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "reconstruct" in result.stdout
    where = "import resmfn; print(resmfn.__file__)"
    found = subprocess.run([str(python), "-c", where], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert str(tmp_path) in found.stdout
