"""Checks of the numbers that a user gives: finite, and within range.

Settings name the range of each of their numbers in one table, and check all of them with :func:`require_numbers`;
flags that go to a function directly carry their range as a validator (``resmfn.cli.number_flags``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

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


def value_text(value: object) -> str:
    """Return a value as a message shows it: what is too long for a line is cut."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
