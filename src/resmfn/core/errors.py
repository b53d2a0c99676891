"""The errors that the package raises on purpose.

A message says what must hold, what came instead, where, and what to do. The command line turns every
:class:`ResmfnError` into one line and exit code 2; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations


def one_line(value: object, most: int | None = None) -> str:
    """Return a text as one line of printable letters: what a file says may hold line ends and terminal sequences.

    Parameters
    ----------
    value
        Anything; an exception without a message is named by its type.
    most
        Letters that are kept.
    """
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return " ".join(text.split())[:most] or (type(value).__name__ if isinstance(value, Exception) else "")


class ResmfnError(ValueError):
    """Something that the user gave cannot be used as it is."""


class InputError(ResmfnError):
    """A file, a folder or a flag is missing, malformed or contradicts another one."""


class NoMemoryError(InputError):
    """There is too little memory. One process of several may meet this alone."""


class ShapeError(ResmfnError):
    """An array has another shape than the function needs."""


class StoppedError(Exception):
    """A run was asked to stop and did, between two steps, with everything saved."""
