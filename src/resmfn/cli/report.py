"""``resmfn report``: flags, and where the page is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.number_flags import in_range
from resmfn.core.numbers import SECONDS


def report(
    run: Annotated[Path, Parameter(help="Run folder, finished or not.")],
    *,
    out: Annotated[Path | None, Parameter(help="The page (.html) [default: report.html in the run folder].")] = None,
    live: Annotated[bool, Parameter(negative=(), help="Keep the page up to date until the run is done.")] = False,
    interval: Annotated[float, in_range(SECONDS, "Seconds between two writings with --live.")] = 5.0,
) -> None:
    """Put a run on one page: map in 3-D, sections, curves, poses, progress, settings, and what to know.

    The page is one file without links to anything: it opens from disk and can be sent by mail.
    """
    from resmfn.core import InputError
    from resmfn.reports.report import live_report
    from resmfn.reports.report import report as run_report

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out} must end in .html: a page replaces what stands there")
    start = time.perf_counter()
    if live:
        print("keeping the report up to date until the run is done; Ctrl-C ends this, not the run", flush=True)
    path = live_report(run, out, interval=interval) if live else run_report(run, out)
    print(f"{path}: written in {time.perf_counter() - start:.1f} s ({path.stat().st_size / 1e6:.1f} MB)")
