"""The processes that share the work on normal equations: one, or several that sum their parts."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Crew(Protocol):
    """Processes that hold the same equations and work at them together; :class:`resmfn.core.processes.Team` is one."""

    @property
    def rank(self) -> int:
        """Which of them this is."""

    @property
    def size(self) -> int:
        """How many they are."""

    def share_of(self, n: int) -> range:
        """Return which of n pieces of work are this one's."""

    def sum_(self, *tensors: Tensor) -> None:
        """Replace tensors by their sum over the processes, in place."""


class Alone:
    """A single process, which does all the work."""

    rank = 0
    size = 1

    def share_of(self, n: int) -> range:
        """Return all of n pieces."""
        return range(n)

    def sum_(self, *tensors: Tensor) -> None:
        """Leave tensors as they are."""
