"""``resmfn doctor``: what was found, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

SIGNS = {"good": "ok", "note": "note", "missing": "-", "bad": "BAD"}
EXIT_CANNOT_RUN = 1


def doctor(
    *,
    folder: Annotated[Path, Parameter(help="Folder in which runs would be written.")] = Path(),
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")] = False,
) -> int:
    """Check whether resmfn can run here: Python, packages, GPU, threads, memory, disk, optional programs.

    The exit code is 0 if it can, 1 if something must be fixed first.
    """
    from resmfn import __version__
    from resmfn.core.machine import can_run, examine

    checks = examine(folder)
    runs = can_run(checks)
    if as_json:
        found = {"resmfn": __version__, "can_run": runs, "checks": [check.to_dict() for check in checks]}
        print(json.dumps(found, indent=1))
        return 0 if runs else EXIT_CANNOT_RUN
    width = max(len(check.name) for check in checks) + 2
    for check in checks:
        print(f"{SIGNS[check.status]:<6}{check.name:<{width}}{check.found}")
        if check.advice:
            print(f"{'':<6}{'':<{width}}  {check.advice}")
    print(f"\nresmfn {__version__} {'can run here' if runs else 'cannot run here yet: see BAD above'}")
    return 0 if runs else EXIT_CANNOT_RUN
