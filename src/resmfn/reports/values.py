"""Values from files that may not be ours: returned if they have the expected type, else None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = 1e30
"""Of a figure: beyond, and for infinities and NaN, there is none. Charts could not add up their range."""
MOST_ITEMS = 10_000
"""Of a list of numbers that are used."""


def entry(values: Mapping[str, Any], *names: str) -> Any:
    """Return what stands under names within names; None where there is nothing."""
    found: Any = values
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def number(values: Mapping[str, Any], *names: str) -> float | None:
    """Return a finite number; None where there is none."""
    return as_number(entry(values, *names))


def numbers(values: Mapping[str, Any], *names: str) -> list[float]:
    """Return a list of finite numbers; an empty one where any of them is none."""
    found = [as_number(item) for item in listed(values, *names)]
    sound = [item for item in found if item is not None]
    return sound if len(sound) == len(found) else []


def listed(values: Mapping[str, Any], *names: str) -> list[Any]:
    """Return a list; an empty one where there is none."""
    found = entry(values, *names)
    return found[:MOST_ITEMS] if isinstance(found, list) else []


def words(values: Mapping[str, Any], *names: str, default: str = "") -> str:
    """Return a text; anything else as text, too, and the default where there is nothing."""
    found = entry(values, *names)
    return default if found is None else str(found)


def as_number(value: object) -> float | None:
    """Return a value if it is a finite number of reasonable size, but no truth value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) <= LARGEST else None
