"""Ctrl-C and SIGTERM: let a run finish the current step and save; a second signal stops it at once."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Says whether the process was asked to stop; use as a context manager, in the main thread."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Return whether a signal came."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + (self.received or signal.SIGINT)

    def __enter__(self) -> Self:
        for number in SIGNALS:
            # A background job of a shell ignores interrupts, and should go on doing so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        self.received = signal.Signals(number)
        print(
            f"resmfn: {self.received.name}: finishing this step, then saving; a second signal stops at once "
            "(only this step is lost)",
            file=sys.stderr,
            flush=True,
        )
