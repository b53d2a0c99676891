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
    out: Annotated[Path | None, Parameter(help="Report file (.html) [default: report.html in the run folder].")] = None,
    live: Annotated[bool, Parameter(negative=(), help="Update the page until the run ends.")] = False,
    interval: Annotated[float, in_range(SECONDS, "Seconds between updates with --live.")] = 5.0,
) -> None:
    """Write the report of a run: map in 3-D, sections, curves, poses, progress, settings and warnings.

    The page is one self-contained file: it opens from disk and can be sent by mail.
    """
    from resmfn.core import InputError
    from resmfn.reports.report import live_report
    from resmfn.reports.report import report as run_report

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out} must end in .html, since the page replaces an existing file")
    start = time.perf_counter()
    if live:
        print("updating the report until the run ends; Ctrl-C stops this, not the run", flush=True)
    path = live_report(run, out, interval=interval) if live else run_report(run, out)
    print(f"{path}: written in {time.perf_counter() - start:.1f} s ({path.stat().st_size / 1e6:.1f} MB)")
