"""``make mutants``: make each fault of mutations.py in a copy of the package, and name those that no test notices.

    python tests/mutants/run.py                  # all
    python tests/mutants/run.py rotations physics/ctf # those of some folders or files

Ends with exit code 1 if any lives. The working tree is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutations import MUTATIONS, Group

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1800
"""A fault that makes its tests run for so long has been noticed."""


def is_noticed(package: Path, group: Group) -> bool:
    """Say whether the tests of a group fail, against a copy of the package."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not long and not browser"]
    environment = os.environ | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *group.tests.split()], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1, 2):
        raise SystemExit(f"{group.tests}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode != 0


def survivors(wanted: list[str]) -> tuple[int, list[str]]:
    """Return how many faults were made, and those that no test noticed."""
    n, alive = 0, []
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "src"
        shutil.copytree(ROOT / "src", package, ignore=shutil.ignore_patterns("__pycache__"))
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


def main() -> None:
    """Make the faults of the folders and files that are named, or all."""
    n, alive = survivors(sys.argv[1:])
    print(f"{n} faults, {len(alive)} of them noticed by no test")
    for text in alive:
        print(text)
    raise SystemExit(1 if alive else 0)


if __name__ == "__main__":
    main()
