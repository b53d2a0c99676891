"""Damaged files for the readers, found by following what code they reach.

A mutated file that reaches a line of the readers which no other has reached joins the pool that further mutations
start from (coverage-guided fuzzing, as AFL does it, with Python's own tracing: no further dependency). The process has
a limit on its memory and an alarm for each case. Run as a program: ``python fuzzing.py FORMAT N_CASES FOLDER [SEEDS]``;
it prints what it did as JSON, and stops at the first case that ends in anything but a ResmfnError. What is damaged,
how, and what is then done with it is a Target; those of settings and run folders stand in cli/ and reports/.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import torch

import resmfn.data
from resmfn.core import ResmfnError
from resmfn.data import read_map, read_particles, read_stack_images, read_stack_info, write_particles

PACKAGE = Path(resmfn.data.__file__).parents[1]
SECONDS_PER_CASE = 10
MORE_MEMORY = 512 * 2**20
LARGEST_SEED = 30_000
WORDS = [b"nan", b"1e999", b"-1", b"", b"'", b'"', b"\nloop_\n", b"\ndata_\n", b"\0", b"#", b";", b"@", b"\r", b"_rln"]
WORDS += [
    b"9" * 25,
    b"0",
    b"../",
    b"/etc/passwd",
    b"\xff\xfe",
    b"rlnImageName",
    b" ",
    b"\t",
    b"1@",
    b"|O",
    b"<f4",
    b"[]",
]
ENTRIES_WITHOUT_NEWS = 300
"""A function that was entered so often in a row without a new line is followed in one call of ten."""
INTEGERS = [0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**16, 255, 1024, 10**9]


@dataclass(frozen=True)
class Target:
    """What is damaged, and what is done with it then."""

    kind: str
    read: Callable[[Path, bytes, random.Random], bool]
    """Is given a folder and a content; returns whether it could be read to its end."""
    mutate: Callable[[bytes, list[bytes], random.Random], bytes]
    code: tuple[str, ...]
    """Folders of the package whose lines count as reached."""


def of_format(kind: str) -> Target:
    """Return the target of a particle or image format."""
    name = {"star": "x.star", "cs": "x.cs", "csdat": "x.cs", "mrc": "x.mrcs"}[kind]

    def read_content(folder: Path, content: bytes, rng: random.Random) -> bool:
        (folder / name).write_bytes(content)
        return read(kind, folder / name, rng)

    return Target(kind, read_content, partial(mutate, words=WORDS), ("data",))


def read(kind: str, path: Path, rng: random.Random) -> bool:
    """Do with a file what the package does with it; return whether it could be read without its images."""
    if kind == "mrc":
        info = read_stack_info(path)
        if info.image_shape[0] * info.image_shape[1] < 10**7:
            read_stack_images(path, np.arange(min(2, info.n_images)), info)
        read_map(path, pad=True)
        return True
    particles = read_particles(path, with_images=False)
    particles.with_poses(torch.eye(3).expand(len(particles), 3, 3), torch.zeros(len(particles), 2))
    if rng.random() < 0.05:
        write_particles(path.with_name("again.cs"), particles)
        write_particles(path.with_name("again.star"), particles)
    with contextlib.suppress(ResmfnError):  # most cases have no images
        read_particles(path, path.parent).read_images(slice(0, 2))
    return True


def mutate(content: bytes, pool: list[bytes], rng: random.Random, *, words: list[bytes]) -> bytes:
    """Return a content that is changed in one to four ways."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # Headers decide most: a third of the changes fall near the start.
        place = rng.randrange(min(len(data), 1200) if rng.random() < 0.3 else len(data)) if data else 0
        way = rng.randrange(8)
        length = rng.choice((1, 2, 4, 8, 50, 500))
        if way == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[place : place + 4] = (rng.choice(INTEGERS) & 0xFFFFFFFF).to_bytes(4, rng.choice(("little", "big")))
        elif way == 2:
            data[place:place] = rng.choice(words)
        elif way == 3:
            del data[place : place + length]
        elif way == 4:
            data[place:place] = data[place : place + length]
        elif way == 5:
            other = rng.choice(pool)
            start = rng.randrange(max(1, len(other)))
            data[place : place + length] = other[start : start + length]
        elif way == 6:
            del data[place:]
        else:
            data[place : place + length] = rng.randbytes(length)
    return bytes(data[: 4 * LARGEST_SEED])


class Coverage:
    """The lines of some folders that any case has reached."""

    def __init__(self, code: tuple[str, ...]) -> None:
        self.folders = tuple(f"{PACKAGE / folder}/" for folder in code)
        self.lines: set[tuple[str, int]] = set()
        self.new = 0
        self._is_ours: dict[CodeType, bool] = {}
        self._old: dict[CodeType, int] = {}
        """How often a function was entered since it last reached a new line."""

    def trace(self, frame: FrameType, _event: str, _argument: object) -> object:
        """Follow calls into the folders; those that have had nothing new for long now and then only."""
        code = frame.f_code
        ours = self._is_ours.get(code)
        if ours is None:
            ours = self._is_ours[code] = code.co_filename.startswith(self.folders)
        if not ours:
            return None
        count = self._old[code] = self._old.get(code, 0) + 1
        return None if count > ENTRIES_WITHOUT_NEWS and count % 10 else self._note

    def _note(self, frame: FrameType, event: str, _argument: object) -> object:
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            if line not in self.lines:
                self.lines.add(line)
                self.new += 1
                self._old[frame.f_code] = 0
        return self._note


def run(target: Target, n_cases: int, folder: Path, seeds: list[bytes], *, seed: int = 0) -> dict:
    """Try so many damaged contents; raise at the first that is not refused properly."""
    rng, begun = random.Random(seed), time.process_time()
    coverage, pool, refused, was_read, slowest = Coverage(target.code), list(seeds), 0, 0, 0.0
    for case in range(n_cases):
        content = target.mutate(rng.choice(pool), pool, rng)
        coverage.new = 0
        start = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_CASE)  # of this process: the machine may be busy
        sys.settrace(coverage.trace)
        try:
            was_read += target.read(folder, content, rng)
        except ResmfnError:
            refused += 1
        except BaseException:
            sys.settrace(None)
            (folder / f"failed_{target.kind}").write_bytes(content)
            traceback.print_exc()
            raise RuntimeError(f"{target.kind} case {case}: kept in {folder}") from None
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        slowest = max(slowest, time.process_time() - start)
        if (case + 1) % 1000 == 0:
            print(target.kind, case + 1, f"{time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
        if coverage.new and len(content) <= 2 * LARGEST_SEED:
            pool.append(content)
    lines, peak = len(coverage.lines), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "format": target.kind,
        "cases": n_cases,
        "refused": refused,
        "read": was_read,
        "lines_reached": lines,
        "pool": len(pool),
        "slowest_s": round(slowest, 3),
        "cpu_s": round(time.process_time() - begun, 1),
        "peak_memory_mib": peak,
    }


def limit_memory() -> None:
    """Let this process take a limited amount of memory beyond what it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY, now + MORE_MEMORY))


def run_as_program(target: Target, n_cases: int, folder: Path, seeds: list[bytes]) -> None:
    """Run in a process of its own, with its limits, and print what was found."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    limit_memory()

    def on_alarm(*_: object) -> None:
        raise TimeoutError("".join(traceback.format_stack()))

    signal.signal(signal.SIGVTALRM, on_alarm)
    print(json.dumps(run(target, n_cases, folder, seeds)))


def run_program(program: Path, *arguments: object) -> dict:
    """Run one of the programs in a process of its own; return what it found, or fail with what it said."""
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, str(program), *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=7200, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def main() -> None:
    """Run as a program."""
    kind, n_cases, folder, *seeds = sys.argv[1:]
    contents = [Path(seed).read_bytes()[:LARGEST_SEED] for seed in seeds]
    run_as_program(of_format(kind), int(n_cases), Path(folder), contents)


if __name__ == "__main__":
    main()
