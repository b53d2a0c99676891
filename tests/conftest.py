"""Fixtures and markers of the whole suite.

A test that needs something this machine lacks is skipped, and the summary says so in words; in CI a missing RELION is
a failure, because CI installs it.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_MARKER_FILE = "README.md"
CHROMIUM_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
RELION_PROGRAMS = ("relion_project", "relion_reconstruct", "relion_pipeliner", "relion_postprocess")

# The same examples at every run, and no deadline: timings depend on the machine's other work.
hypothesis.settings.register_profile("resmfn", derandomize=True, deadline=None, database=None, print_blob=False)
hypothesis.settings.load_profile("resmfn")

_missing: dict[str, list[str]] = {}


def shared_folder() -> Path | None:
    """Return the folder of shared test data, or None where there is none."""
    override = os.environ.get("RESMFN_SHARED")
    folder = Path(override) if override else REPOSITORY.parent / "shared"
    return folder if (folder / SHARED_MARKER_FILE).is_file() else None


def relion_folder() -> Path | None:
    """Return the folder of the RELION programs, or None where one of them is not on PATH."""
    found = [shutil.which(name) for name in RELION_PROGRAMS]
    return Path(found[0]).parent if found[0] is not None and None not in found else None


def chromium_program() -> str | None:
    """Return the browser's program, or None where it or playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next((path for name in CHROMIUM_PROGRAMS if (path := shutil.which(name))), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in CI fail, what this machine cannot run."""
    if item.get_closest_marker("shared") and shared_folder() is None:
        _skip(item, "the shared test data is absent: put it in ../shared or set RESMFN_SHARED")
    if item.get_closest_marker("relion") and relion_folder() is None:
        reason = "RELION is not on PATH: install it (Debian: apt-get install relion)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; CI must run the tests against it", pytrace=False)
        _skip(item, reason)
    if item.get_closest_marker("browser") and chromium_program() is None:
        reason = "Chromium is not on PATH (Debian: apt-get install chromium), or playwright is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; CI must see the report in a browser", pytrace=False)
        _skip(item, reason)
    if item.get_closest_marker("cryosparc") and importlib.util.find_spec("cryosparc") is None:
        _skip(item, "cryosparc-tools is not installed: pip install 'resmfn[cryosparc]'")
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        _skip(item, "there is no CUDA device")


def _skip(item: pytest.Item, reason: str) -> None:
    _missing.setdefault(reason, []).append(item.nodeid)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, in one line each, what was not tested and why."""
    for reason, tests in _missing.items():
        terminalreporter.write_line(f"NOT TESTED: {len(tests)} tests, because {reason}", yellow=True, bold=True)


@pytest.fixture(autouse=True, scope="session")
def two_torch_threads() -> Iterator[None]:
    """Give every process a fixed number of threads: sums, and so results, depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if os.environ.get("PYTEST_XDIST_WORKER") else 2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Compute on one thread: tensors of tests are so small that a second one only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def generator() -> torch.Generator:
    """Return a freshly seeded generator; tests draw from nothing else."""
    return torch.Generator().manual_seed(20221128)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared test data; mark the test ``shared`` too, so that it can be selected."""
    folder = shared_folder()
    if folder is None:
        pytest.fail("the test needs the shared test data: mark it shared")
    return folder


@pytest.fixture(scope="session")
def relion() -> Path:
    """Return the folder of the RELION programs; mark the test ``relion`` too."""
    folder = relion_folder()
    if folder is None:
        pytest.fail("the test needs RELION: mark it relion")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's program; mark the test ``browser`` too."""
    program = chromium_program()
    if program is None:
        pytest.fail("the test needs Chromium: mark it browser")
    return program
