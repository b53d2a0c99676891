"""Which programs make the data and judge the maps: those in independent/, unless others are named."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIMULATOR, SCORER = HERE / "independent" / "simulate.py", HERE / "independent" / "score.py"
MOLECULES = HERE.parent / "src" / "resmfn" / "data" / "molecules"
"""Read as a table of atoms; no code of the package has a part in it."""
SHIPPED = {"adk_open.pdb": "4ake.csv"}
"""Models that a table of ours can stand for: the same molecule, another copy of its coordinates."""


def add_tools(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name other programs and models."""
    for name, default, what in (
        ("simulator", SIMULATOR, "program that makes a data set"),
        ("scorer", SCORER, "program that judges a map and its poses"),
        ("models", MOLECULES, "folder of molecular models"),
    ):
        given = os.environ.get(f"RESMFN_{name.upper()}") or str(default)
        parser.add_argument(f"--{name}", default=given, help=f"{what} [default: {_short(given)}]")


def model_file(models: str | Path, name: str) -> Path | None:
    """Return a model in a folder, or the shipped table of the same molecule; None where there is neither."""
    path = Path(models) / name
    if path.exists():
        return path
    shipped = MOLECULES / SHIPPED.get(name, "none")
    return shipped if shipped.is_file() else None


def simulating(simulator: str) -> list[str]:
    """Return the command that a simulator is run by, to which its arguments are added; ours takes a GPU if there is."""
    import torch

    ours = Path(simulator).resolve() == SIMULATOR and torch.cuda.is_available()
    return [sys.executable, simulator, *(["--torch", "cuda"] if ours else [])]


def names(tools: argparse.Namespace) -> dict[str, str]:
    """Return, for a record, what made the data and what judged them."""
    return {"simulator": _short(tools.simulator), "scorer": _short(tools.scorer)}


def _short(path: str) -> str:
    found = Path(path)
    return str(found.relative_to(HERE.parent)) if found.is_relative_to(HERE.parent) else found.name
