"""Every number on every command line: what cannot be meant is one line and exit code 2, and leaves nothing behind.

The flags are those that the parser knows, so a new one is tested from its first day on.
"""

from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest

from resmfn.cli import main as cli
from resmfn.cli.published_flags import PublishedFlags
from resmfn.core import InputError
from resmfn.core.numbers import PIXEL_SIZE, SEED, SIDE, NumberRange
from resmfn.fitting import config as fitting
from resmfn.reconstruction import config as reconstruction
from resmfn.reconstruction.published import config as published
from resmfn.simulation import config as simulation

NOT_FINITE = ("nan", "inf", "-inf")
ZERO_IS_MEANT = {
    *((command, "--amplitude-contrast") for command in ("check", "convert", "reconstruct", "relion-job")),
    *((command, "--spherical-aberration") for command in ("check", "convert", "reconstruct", "relion-job")),
    ("relion-job", "--shift-range"), ("relion-job", "--seed"),
    ("reconstruct", "--shift-range"), ("reconstruct", "--seed"), ("reconstruct", "--warm-up"),
    ("reconstruct", "--pose-searches"), ("reconstruct", "--pose-beta1"), ("reconstruct", "--pose-beta2"),
    ("simulate", "--b-factor"), ("simulate", "--shift-std"), ("simulate", "--view-concentration"),
    ("simulate", "--defocus-range"), ("simulate", "--astigmatism-range"), ("simulate", "--spherical-aberration"),
    ("simulate", "--amplitude-contrast"), ("simulate", "--phase-shift"), ("simulate", "--seed"),
    ("fit-image", "--seed"), ("fit-volume", "--seed"), ("fsc", "--seed"), ("watch", "--port"),
    ("symmetry", "--seed"),
    ("postprocess", "--b-factor"), ("select", "--min-probability"),
}  # fmt: skip
NEGATIVE_IS_MEANT = {
    *((command, "--spherical-aberration") for command in ("check", "convert", "reconstruct", "relion-job")),
    ("simulate", "--defocus-range"), ("simulate", "--spherical-aberration"), ("simulate", "--phase-shift"),
    ("postprocess", "--b-factor"),
}  # fmt: skip
LISTS = (
    ("reconstruct", "--stages"), ("reconstruct", "--init-from-truth"),
    ("fit-image", "--stages"), ("fit-volume", "--stages"),
)  # fmt: skip
"""Texts that hold several numbers."""
PUBLISHED = {"--" + field.name.replace("_", "-") for field in fields(PublishedFlags)}


def kinds(hint: Any) -> set[Any]:
    """Return the plain types that a hint is made of."""
    return {hint} | set(chain.from_iterable(kinds(part) for part in get_args(hint)))


def number_flags() -> Iterator[tuple[str, str, bool, int]]:
    """Yield command, flag, whether its numbers are whole, and how many it takes."""
    app = cli.build_app()
    for command in cli.COMMANDS:
        for argument in app[command].assemble_argument_collection():
            found = kinds(argument.hint)
            if not argument.children and str not in found and (float in found or int in found):
                yield command, argument.name, float not in found, 2 if tuple in kinds_of_origin(argument.hint) else 1


def kinds_of_origin(hint: Any) -> set[Any]:
    return {getattr(hint, "__origin__", None)}


@cache
def line_without(command: str, flag: str) -> tuple[str, ...]:
    """Return a command line that lacks nothing but files: whatever is required is given, and absent."""
    words = [command]
    for argument in cli.build_app()[command].assemble_argument_collection():
        if argument.required and not argument.children:
            words += ["absent"] if argument.index is not None else [argument.name, "out"]
    return (*words, *(["--preset", "published"] if command == "reconstruct" and flag in PUBLISHED else []))


FLAGS = list(number_flags())


def test_the_flags_were_found() -> None:
    assert len(FLAGS) > 70
    assert {("simulate", "--defocus-range", False, 2), ("watch", "--port", True, 1)} <= set(FLAGS)
    known = {(command, flag) for command, flag, _, _ in FLAGS}
    assert known >= ZERO_IS_MEANT | NEGATIVE_IS_MEANT


def assert_refused(command: str, flag: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main([*line_without(command, flag), *words])
    out, err = capsys.readouterr()
    said = f"{' '.join(words)[:60]}: exit {code}, {err[:300]}"
    assert code == 2, said
    assert err.count("\n") == 1 and err.startswith("resmfn: ") and "Traceback" not in out, said
    assert flag in err, said
    assert len(err) < 400, said


@pytest.mark.parametrize(("command", "flag", "whole", "n"), FLAGS, ids=[f"{c} {f}" for c, f, _, _ in FLAGS])
def test_a_number_that_cannot_be_meant_is_refused(
    command: str,
    flag: str,
    whole: bool,
    n: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = [*NOT_FINITE, *(["1.5", "9" * 400] if whole else ["1e300"])]
    bad += ["0"] if (command, flag) not in ZERO_IS_MEANT else []
    bad += ["-1"] if (command, flag) not in NEGATIVE_IS_MEANT else []
    for value in bad:
        for place in range(n):
            values = ["1"] * n
            values[place] = value
            words = [f"{flag}={value}"] if n == 1 else [flag, *values]
            assert_refused(command, flag, words, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "flag"), LISTS)
@pytest.mark.parametrize("text", ["nan,50", "1,inf", "-1,5", "1.5,7", "50,25", "1e300,2e300", "many"])
def test_a_list_of_numbers_that_cannot_be_meant_is_refused(command, flag, text, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    if (flag, text) == ("--init-from-truth", "1.5,7"):
        text = "1.5,700"
    assert_refused(command, flag, [f"{flag}={text}"], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "ranges"),
    [
        (simulation.SimulationConfig, simulation.RANGES),
        (reconstruction.ReconstructionConfig, reconstruction.RANGES),
        (published.PublishedSettings, published.RANGES),
        (fitting.FitConfig, fitting.RANGES),
    ],
)
def test_every_number_of_the_settings_has_its_range(settings: type, ranges: dict[str, NumberRange]) -> None:
    own = {
        field.name for field in fields(settings) if "float" in str(field.type) or "int" in str(field.type).split("[")[0]
    }
    texts = {name for name in own if "str" in str(settings.__annotations__.get(name, ""))}
    assert own - texts <= set(ranges)


@pytest.mark.parametrize("value", [True, "5", None, 2.5, float("nan"), 0, 5000, 10**400])
def test_python_users_are_told_too(value: object) -> None:
    with pytest.raises(InputError, match="--box-size must be "):
        SIDE.require("--box-size", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_belongs_to_no_range(value: float) -> None:
    with pytest.raises(InputError, match="--pixel-size must be a finite number of Å"):
        PIXEL_SIZE.require("--pixel-size", value)


def test_what_is_in_the_range_passes() -> None:
    for value in (0, 5, 2**63 - 1):
        SEED.require("--seed", value)
    half_open = NumberRange(0, 1, open_above=True)
    assert [half_open.fault(value) is None for value in (0, 0.5, 1, -1e-9)] == [True, True, False, False]


def test_a_whole_number_may_be_written_with_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "absent.star", "--samples", "30.0"]) == 2
    assert "absent.star: does not exist" in capsys.readouterr().err
