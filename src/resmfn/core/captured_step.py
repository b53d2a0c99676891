"""A step of an optimization, captured once as a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable

import torch

EAGER_STEPS = 3
"""Steps that are run before one is captured, so that all libraries are set up."""


class CapturedStep:
    """A step that runs a few times as it is and is then captured once and replayed as a CUDA graph.

    The many small kernels of a step then start without the CPU. The step must read and write the same memory each time.
    A step that cannot be captured goes on being run as it is.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._eager_left = EAGER_STEPS
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._can_be_captured = True

    def __call__(self) -> None:
        """Take one step."""
        if self._eager_left:
            self._eager_left -= 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._step()
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        if self._graph is None and self._can_be_captured:
            self._graph = self._captured()
        if self._graph is None:
            self._step()
        else:
            self._graph.replay()

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step()  # recorded, not run
        except RuntimeError:  # what cannot be recorded, or no memory for the graph's own pool
            self._can_be_captured = False
            torch.cuda.synchronize()
            return None
        return graph
