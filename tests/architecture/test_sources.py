"""The package keeps its own rules: size, documentation, types, randomness, precision."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from architecture import source_rules as rules

SOURCE = Path(__file__).resolve().parents[2] / "src" / "resmfn"
MODULES = sorted(SOURCE.rglob("*.py"))
# Where numbers are read from files, or stored, single precision is the format's.
PRECISION_FOLLOWS_INPUT = ("fourier", "rotations", "networks", "physics", "evaluation", "inverse")
# Calls that have no input whose precision they could follow.
PRECISION_EXEMPT = {"fourier/masks.py": "a boolean support has no precision"}


def module_id(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.fixture(params=MODULES, ids=module_id)
def module(request: pytest.FixtureRequest) -> Path:
    """Return each module of the package in turn."""
    return request.param


def refuse(path: Path, found: Iterator[str]) -> None:
    lines = [f"src/resmfn/{module_id(path)}:{violation}" for violation in found]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_the_package_was_found():
    assert SOURCE / "cli" / "main.py" in MODULES


def test_modules_and_functions_are_short(module):
    source = module.read_text()
    refuse(module, rules.too_long(ast.parse(source), source))


@pytest.mark.parametrize("rule", [rules.undocumented, rules.asserts, rules.unseeded_draws, rules.implicit_grids])
def test_source_keeps(rule: Callable, module):
    refuse(module, rule(ast.parse(module.read_text())))


def test_public_callables_are_annotated(module):
    refuse(module, rules.unannotated(ast.parse(module.read_text())))


def test_functions_take_few_arguments(module):
    if module.parent.name == "cli":
        return  # flags are arguments there
    refuse(module, rules.too_many_arguments(ast.parse(module.read_text())))


def test_only_the_command_line_prints(module):
    if module.parent.name == "cli":
        return
    refuse(module, rules.prints(ast.parse(module.read_text())))


def test_dtype_follows_the_input(module):
    if module.relative_to(SOURCE).parts[0] not in PRECISION_FOLLOWS_INPUT or module_id(module) in PRECISION_EXEMPT:
        return
    refuse(module, rules.forced_precision(ast.parse(module.read_text())))


def test_modules_are_named_for_what_they_hold(module):
    words = set(module.relative_to(SOURCE).with_suffix("").parts)
    assert not words & set(rules.BANNED_MODULE_NAMES)


def test_a_folder_holds_a_dozen_modules_at_most():
    """So that a newcomer sees at a glance what is there; cli alone has a module for each command."""
    folders = {path.parent for path in MODULES} - {SOURCE / "cli"}
    sizes = {folder.relative_to(SOURCE).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > 12} == {}
