"""Damaged config.yaml files, given to all that reads settings: each is taken or refused in one line.

``python fuzzing_settings.py N_CASES FOLDER``. What is read becomes settings of a reconstruction, of the published
preset and of fits, is compared with those of a run that goes on, and is given to the commands as ``--config``.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from data import fuzzing
from resmfn.cli.main import main as resmfn
from resmfn.core import InputError, ResmfnError
from resmfn.data.runs.file_names import CHECKPOINT, CONFIG
from resmfn.data.runs.plain_settings import read_settings
from resmfn.data.runs.run_folder import RunFolder, settings_of
from resmfn.fitting.config import ImageFitConfig, VolumeFitConfig
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.published import PublishedConfig

BY_COMMAND = 0.1
"""Share of the cases that also go through the command line, which takes most of the time."""
CONFIGS: tuple[Callable[..., Any], ...] = (ReconstructionConfig, PublishedConfig, ImageFitConfig, VolumeFitConfig)
COMMANDS = (
    ("reconstruct", "nowhere.star"), ("reconstruct", "nowhere", "--preset", "published"),
    ("fit-image", "nowhere.png"), ("fit-volume", "nowhere.mrc"), ("reconstruct",),
)  # fmt: skip
WORDS = [
    *fuzzing.WORDS,
    b": ",
    b"- ",
    b"? ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"!!set ",
    b"!!omap ",
    b"!!int ",
    b"!!float ",
    b"!!timestamp ",
    b"!!python/object:os.system ",
    b"0x" + b"f" * 5000,
    b"0o17",
    b"1:2:3",
    b".inf",
    b"-.inf",
    b".nan",
    b"1e400",
    b"2001-01-01",
    b"2001-01-01 1:2:3.4 +99:99",
    b"null",
    b"~",
    b"yes",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[" * 500,
    b"|\n",
    b">\n",
    b'"\\ud800"',
    b'"\\0"',
    b"%YAML 9.9\n",
    b"---\n",
    b"...\n",
    b"\t",
    b"poses: fixed\n",
    b"symmetry: 5\n",
    b"out: 1\n",
    b"particles: [1, 2]\n",
    b"seed: 1.5\n",
    b"n_classes: auto\n",
    b"\n  a: b\n",
    b"resume: true\n",
    b"overwrite: true\n",
]


def read(folder: Path, content: bytes, rng: random.Random) -> bool:
    """Do with a file of settings what the package does with it; return whether it holds settings."""
    run = folder / "run"
    run.mkdir(exist_ok=True)
    (run / CONFIG).write_bytes(content)
    (run / CHECKPOINT).touch()
    settings_of(run)
    if rng.random() < BY_COMMAND:
        _by_command(folder, rng)
    found = read_settings(run / CONFIG)
    for make in CONFIGS:
        names = {name for name in found if isinstance(name, str) and name in make.__dataclass_fields__}
        with contextlib.suppress(ResmfnError):
            make(**{**_required(make), **{name: found[name] for name in names}})
    for config in (
        ReconstructionConfig(particles=Path("p.star"), out=run, resume=True),
        PublishedConfig(folder=Path("p"), out=run, resume=True),
        ImageFitConfig(sources=("a.png",), out=run, resume=True),
    ):
        with contextlib.suppress(ResmfnError), RunFolder(config):
            pass
    return bool(found)


def _required(make: Callable[..., Any]) -> dict[str, Any]:
    """Return settings that have no default."""
    needed = {"particles": "p.star", "folder": "p", "out": "o", "sources": ("a.png",), "map": "a.mrc"}
    return {name: value for name, value in needed.items() if name in make.__dataclass_fields__}  # type: ignore[attr-defined]


def _by_command(folder: Path, rng: random.Random) -> None:
    """Give the file to a command as ``--config``: none has input that is there, so that each must be refused."""
    command = [*rng.choice(COMMANDS), "--config", str(folder / "run" / CONFIG), "--out", str(folder / "new")]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = resmfn(command)
    text = said.getvalue()
    lines = [line for line in text.splitlines() if line != "starting"]
    if code != 2 or len(lines) != 1 or not lines[0].startswith("resmfn: ") or (folder / "new").exists():
        raise AssertionError(f"{command} ended with {code}: {text!r}")
    if "run" in lines[0] and not lines[0].isprintable():
        raise AssertionError(f"not one printable line: {lines[0]!r}")


def seeds() -> list[bytes]:
    """Return settings as runs write them, whole and short."""
    made = (make(**_required(make)) for make in CONFIGS)
    whole = [{k: str(v) if isinstance(v, Path) else v for k, v in vars(config).items()} for config in made]
    plain = [{k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()} for settings in whole]
    short = b"particles: p.star\nposes: from-input\nsymmetry: D2\nseed: 3\nshift_range: 4.5\n"
    return [*(yaml.safe_dump(settings, sort_keys=False).encode() for settings in plain), short, b"out: o\nseed: 1\n"]


def target() -> fuzzing.Target:
    """Return what is fuzzed."""
    mutate = partial(fuzzing.mutate, words=WORDS)
    return fuzzing.Target("config", read, mutate, ("data/runs", "reconstruction", "fitting", "core", "cli"))


def main() -> None:
    """Run as a program."""
    n_cases, folder = int(sys.argv[1]), Path(sys.argv[2])
    for content in seeds():
        if not read(folder, content, random.Random(0)):
            raise InputError("whole settings were not read")
    torch.set_num_threads(1)
    fuzzing.run_as_program(target(), n_cases, folder, seeds())


if __name__ == "__main__":
    main()
