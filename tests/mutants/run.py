"""``make mutants``: make each fault of mutations.py in a copy of the package, and name those that no test notices.

    python tests/mutants/run.py                        # all
    python tests/mutants/run.py rotations physics/ctf  # those of some folders or files

Each fault is asked in a child of this process, which has imported the large libraries already: that is most of the time
of a short test. Ends with exit code 1 if any fault lives. The working tree is not touched.
"""

from __future__ import annotations

import compileall
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

import gemmi
import mrcfile
import numpy as np
import pytest
import scipy
import torch
import yaml
from mutations import MUTATIONS, Group

SHARED_WITH_CHILDREN = (gemmi, mrcfile, np, scipy, torch, yaml)
"""Imported once for all children; nothing of the package is, for each child imports its own, with the fault."""
ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600
"""A fault that makes its tests run for so long has been noticed."""
MOST_MEMORY = 4 * 2**30
"""Bytes of a child: a fault may let files in that swell without end."""
PYTEST = ("-q", "-x", "-p", "no:cacheprovider", "-m", "not long and not browser")


def is_noticed(package: Path, group: Group) -> bool:
    """Say whether the tests of a group fail, against a copy of the package."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            _ask(package, group, said.fileno())
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
        signal.alarm(LIMIT_S)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        signal.alarm(0)
        if code == -signal.SIGKILL:
            return True
        if code not in (0, 1, 2):
            said.seek(0)
            raise SystemExit(f"{group.tests}: pytest ended with {code}\n{said.read().decode(errors='replace')}")
    return code != 0


def _ask(package: Path, group: Group, said: int) -> None:
    """Run a group's tests in this process, and end it with pytest's exit code."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.path.insert(0, str(package))
    os.environ |= {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}  # of the programs that tests start
    sys.dont_write_bytecode = True
    code = 3
    try:
        code = int(pytest.main([*PYTEST, *group.tests.split()]))
        import resmfn  # only now: it must be the copy

        if not Path(resmfn.__file__).is_relative_to(package):
            code = 3
            print(f"{resmfn.__file__} was tested, and not the copy in {package}")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def survivors(wanted: list[str]) -> tuple[int, list[str]]:
    """Return how many faults were made, and those that no test noticed."""
    n, alive = 0, []
    with _copy_of_the_package() as package:
        for group in MUTATIONS:
            if wanted and not group.file.startswith(tuple(wanted)):
                continue
            path = package / "resmfn" / group.file
            whole = path.read_text()
            for old, new in group.changes:
                start = time.monotonic()
                path.write_text(whole.replace(old, new))
                noticed = is_noticed(package, group)
                n += 1
                print(
                    f"{'noticed' if noticed else 'LIVES  '} {time.monotonic() - start:5.0f} s  {group.file}: {new}",
                    flush=True,
                )
                if not noticed:
                    alive.append(f"{group.file}: {old}\n    -> {new}\n    asked: {group.tests}")
            path.write_text(whole)
    return n, alive


@contextlib.contextmanager
def _copy_of_the_package() -> Iterator[Path]:
    """Yield a folder to import the package from, compiled so that a changed file, and it alone, is compiled again."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "src"
        shutil.copytree(ROOT / "src", package, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(package, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        yield package


def main() -> None:
    """Make the faults of the folders and files that are named, or all."""
    os.chdir(ROOT)
    n, alive = survivors(sys.argv[1:])
    print(f"{n} faults, {len(alive)} of them noticed by no test")
    for text in alive:
        print(text)
    raise SystemExit(1 if alive else 0)


if __name__ == "__main__":
    main()
