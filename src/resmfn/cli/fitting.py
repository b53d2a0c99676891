"""What ``fit-image`` and ``fit-volume`` show: a bar while they run, then table and files."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from resmfn.cli.terminal import QuietConsole

if TYPE_CHECKING:
    from resmfn.core.progress import Listener, ProgressEvent
    from resmfn.fitting import FitResult
    from resmfn.fitting.config import FitConfig

Config = TypeVar("Config", bound="FitConfig")


def report_on(run: Callable[[Config, Listener], FitResult], config: Config, *, figures: bool) -> None:
    """Run a fit, draw it if asked to, and print what came out."""
    start = time.perf_counter()
    with _FitDisplay() as show:
        result = run(config, show)
    drawn = ""
    if figures:
        from resmfn.reports.fitted.fits import draw_fits

        drawn = f", {draw_fits(result.run)} figures"
    print(
        f"\n{result.table}\n{result.run}: table.md, summary.json, fields{drawn}, "
        f"in {time.perf_counter() - start:.1f} s ({result.summary['ms_per_step']:.2f} ms per step and image)"
    )


class _FitDisplay:
    """A bar over all epochs of all images on a terminal, and a line for each image."""

    def __init__(self) -> None:
        self._console = QuietConsole(highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        self._bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=1.0)

    def __enter__(self) -> _FitDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: ProgressEvent) -> None:
        from resmfn.fitting.fit import STEP

        self._bar.update(self._task, completed=event.done, description=event.message)
        if event.stage != STEP:
            self._console.print(event.message, markup=False, soft_wrap=True)
