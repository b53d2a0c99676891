"""``resmfn watch``: a run's state in the terminal, and its report in the browser."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resmfn.cli.number_flags import in_range
from resmfn.cli.terminal import QuietConsole
from resmfn.core import one_line
from resmfn.core.numbers import SECONDS, NumberRange
from resmfn.core.progress import duration

if TYPE_CHECKING:
    from resmfn.reports.watch import RunState

LONG_SILENCE = 120
"""Seconds without progress after which the run may have died; no comparison recorded."""
_PORT = NumberRange(0, 65_535, whole=True)


def watch(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    port: Annotated[int, in_range(_PORT, "Port of the page; 0 chooses a free one.")] = 0,
    page: Annotated[bool, Parameter(help="Serve the report as a page that refreshes itself.")] = True,
    interval: Annotated[float, in_range(SECONDS, "Seconds between updates.")] = 2.0,
    until_done: Annotated[bool, Parameter(negative=(), help="Exit when the run ends.")] = False,
) -> None:
    """Follow a run: stage, resolution and time left in the terminal, the report in a browser.

    The page is served to this computer only (127.0.0.1). Ctrl-C stops watching; the run continues.
    """
    from resmfn.reports.watch import ReportServer, wait_for_end

    console = QuietConsole(highlight=False)
    try:
        with ExitStack() as stack:
            address = stack.enter_context(ReportServer(run, port)).address if page else None
            if address:
                console.print(f"report  {address}", soft_wrap=True)
            view = stack.enter_context(_View(console))
            wait_for_end(run, view.show, interval=interval)
            if page and not until_done:
                view.close()
                console.print("The run is done; the page stays until Ctrl-C.")
                threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopped watching; the run was not touched")


class _View:
    """A panel that is redrawn on a terminal; elsewhere, one line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> _View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last view on the screen."""
        if self._live:
            self._live.stop()
            self._live = None

    def show(self, state: RunState) -> None:
        """Show a state."""
        if self._live:
            self._live.update(
                Group(_table(state), ProgressBar(total=1.0, completed=state.done, width=60)), refresh=True
            )
            return
        line = f"{state.done:4.0%}  {one_line(state.stage)}: {one_line(state.message)}"
        if line != self._last:
            self._console.print(line, markup=False, soft_wrap=True)
            self._last = line


def _table(state: RunState) -> Table:
    """Return the state as a table of two columns."""
    table = Table.grid(padding=(0, 2))
    rows = [("stage", state.stage), ("", state.message)]
    if state.doubt is not None:
        rows.append(("resolution", f"none: {state.doubt}"))
    elif state.resolution is not None:
        of = "half maps" if state.is_done else "half maps of the last round"
        rows.append(("resolution", f"{state.resolution:.2f} Å ({of}, FSC 0.143, corrected for the mask)"))
    rows.append(("time", duration(state.seconds)))
    if state.seconds_left is not None:
        rows.append(("left", f"about {duration(state.seconds_left)}"))
    if state.silent is not None and state.silent > LONG_SILENCE:
        rows.append(("silent for", f"{duration(state.silent)}; it may have died: see run.log, continue with --resume"))
    for name, value in rows:
        table.add_row(name, Text(one_line(value)))  # a text, so that no word of a file is markup
    return table
