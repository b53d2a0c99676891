"""The files around the package agree with it and with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import resmfn
from resmfn.cli.main import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("benchmarks/*.md")])
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]


def normalized(requirement: str) -> str:
    """Return a requirement's project name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement)[0]).lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


def test_the_citation_names_this_version():
    assert yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"] == resmfn.__version__


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_readme_shows_every_command(command):
    assert f"resmfn {command}" in (REPOSITORY / "README.md").read_text()


def test_every_pin_is_exact():
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.+]+", pin) for pin in PINS)


def test_everything_that_is_asked_for_is_pinned():
    groups = PROJECT["optional-dependencies"]
    asked = {
        normalized(r)
        for r in [*PROJECT["dependencies"], *groups["test"], *groups["lint"], *groups["docs"], "hatchling", "editables"]
    }
    assert asked <= {normalized(pin) for pin in PINS}


def test_torch_is_open_in_the_package_and_pinned_for_the_commands():
    assert "torch>=2.11" in PROJECT["dependencies"]
    assert "torch==2.13.0" in PINS
