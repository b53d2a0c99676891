"""Checks of the values that a user gives: of the type that is asked for; numbers finite, and within range.

Settings name the range of each of their numbers in one table, and check all of them with :func:`require_numbers`;
flags that go to a function directly carry their range as a validator (``resmfn.cli.number_flags``). What comes from a
file may be of any type: :func:`require_types`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from resmfn.core.errors import InputError

_LONGEST_TEXT = 40


@dataclass(frozen=True)
class NumberRange:
    """Finite numbers between two bounds."""

    least: float
    most: float
    unit: str = ""
    open_below: bool = False
    """Whether ``least`` itself is left out."""
    open_above: bool = False
    """Whether ``most`` itself is left out."""
    whole: bool = False
    """Whether only whole numbers belong to it."""

    def fault(self, value: object) -> str | None:
        """Return what a value fails to be; None if it is in the range."""
        # bool is a whole number to Python, and never what is meant where a number is asked for.
        if isinstance(value, bool) or not isinstance(value, Real):
            return "a number"
        if self.whole and not isinstance(value, Integral):
            return "a whole number"
        number = int(value) if isinstance(value, Integral) else float(value)  # an int may be too large for a float
        unit = f" {self.unit}" if self.unit else ""
        if isinstance(number, float) and not math.isfinite(number):
            return f"a finite number{unit and ' of'}{unit}"
        if number < self.least or (self.open_below and number == self.least):
            return f"{'above' if self.open_below else 'at least'} {self.least:.12g}{unit}"
        if number > self.most or (self.open_above and number == self.most):
            return f"{'below' if self.open_above else 'at most'} {self.most:.12g}{unit}"
        return None

    def require(self, flag: str, value: object) -> None:
        """Raise unless a value belongs to the range.

        Raises
        ------
        InputError
            It is no number, not finite, not whole where only whole ones belong, or out of the bounds.
        """
        fault = self.fault(value)
        if fault is not None:
            raise InputError(f"{flag} must be {fault}, got {value_text(value)}")


LONGEST = 100_000.0
"""Å: larger than any molecule, box or shift."""
PIXEL_SIZE = NumberRange(0.01, 1_000, "Å")
RESOLUTION = NumberRange(0, LONGEST, "Å", open_below=True)
DIAMETER = NumberRange(0, LONGEST, "Å", open_below=True)
SHIFT = NumberRange(0, LONGEST, "Å")
B_FACTOR = NumberRange(-1_000, 1_000, "Å^2")
"""For sharpening; beyond it, exp(B k^2 / 4) leaves single precision at 1 Å."""
SEED = NumberRange(0, 2**63 - 1, whole=True)
SIDE = NumberRange(1, 4_096, whole=True)
"""Pixels or voxels of a side: a map of 4,096 voxels a side takes 256 GiB."""
COUNT = NumberRange(1, 10**9, whole=True)
VOLTAGE = NumberRange(1, 10_000, "kV")
SPHERICAL_ABERRATION = NumberRange(-100, 100, "mm")
AMPLITUDE_CONTRAST = NumberRange(0, 1)
SCALE = NumberRange(1, 1_000)
"""Scale of a field; fractions lie between two scales."""
SECONDS = NumberRange(0, 86_400, "seconds", open_below=True)


def require_numbers(settings: object, ranges: Mapping[str, NumberRange]) -> None:
    """Check the numbers of a record of settings, whose flags are named as its fields are; None is not checked.

    Parameters
    ----------
    settings
        Any object with these attributes; a pair of numbers is two of them.
    ranges
        Field -> its range.

    Raises
    ------
    InputError
        Names the first flag whose number is not in its range.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is not None:
                allowed.require(f"--{name.replace('_', '-')}", number)


_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    Path: ((str, os.PathLike), "a path"),
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    tuple: ((tuple, list), "a list"),
}
"""What a field may be annotated as: the types that will do, and their name. Numbers are checked by their ranges."""


def require_types(settings: Any) -> None:
    """Check that paths, texts, switches and lists of a record of settings are that, and that numbers are no lists.

    Raises
    ------
    InputError
        Names the first flag whose value is of another type.
    """
    for name, allowed in _annotated(settings.__class__).items():
        value = getattr(settings, name)
        known = [_TYPES[kind] for kind in allowed if kind in _TYPES]
        fits = any(isinstance(value, types) for types, _ in known) or (value is None and type(None) in allowed)
        if fits and isinstance(value, str | os.PathLike) and "\0" in os.fspath(value):
            raise InputError(f"--{name.replace('_', '-')} holds a null character; correct it")
        if not fits and (known or value is None or isinstance(value, list | tuple | dict)):
            what = " or ".join(text for _, text in known) or "a single value"
            raise InputError(f"--{name.replace('_', '-')} must be {what}, got {value_text(value)}")


@cache
def _annotated(settings: type) -> dict[str, tuple[Any, ...]]:
    """Return the types that each field may have; a list for any kind of tuple, nothing for fixed words."""
    hints = get_type_hints(settings)
    found = {}
    for name in (field.name for field in fields(settings)):
        hint = hints[name]
        parts = (hint,) if get_origin(hint) in (None, tuple, Literal) else get_args(hint)
        found[name] = tuple(get_origin(part) or part for part in parts)
    return found


def value_text(value: object) -> str:
    """Return a value as a message shows it: what is too long for a line is cut."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
