"""The errors that the package raises on purpose.

A message says what must hold, what came instead, where, and what to do. The command line turns every
:class:`ResmfnError` into one line and exit code 2; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations


class ResmfnError(ValueError):
    """Something that the user gave cannot be used as it is."""


class InputError(ResmfnError):
    """A file, a folder or a flag is missing, malformed or contradicts another one."""


class ShapeError(ResmfnError):
    """An array has another shape than the function needs."""


class StoppedError(Exception):
    """A run was asked to stop and did, between two steps, with everything saved."""
