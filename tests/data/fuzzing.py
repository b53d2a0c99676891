"""Damaged files for the readers, found by following what code they reach.

A mutated file that reaches a line of the readers which no other has reached joins the pool that further mutations
start from (coverage-guided fuzzing, as AFL does it, with Python's own tracing: no further dependency). The process has
a limit on its memory and an alarm for each case. Run as a program: ``python fuzzing.py FORMAT N_CASES FOLDER [SEEDS]``;
it prints what it did as JSON, and stops at the first case that ends in anything but a ResmfnError.
"""

import contextlib
import json
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType

import numpy as np
import torch

import resmfn.data
from resmfn.core import ResmfnError
from resmfn.data import read_map, read_particles, read_stack_images, read_stack_info, write_particles

READERS = str(Path(resmfn.data.__file__).parent)
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
INTEGERS = [0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**16, 255, 1024, 10**9]


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


def mutate(content: bytes, pool: list[bytes], rng: random.Random) -> bytes:
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
            data[place:place] = rng.choice(WORDS)
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
    """The lines of the readers that any case has reached."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int]] = set()
        self.new = 0

    def trace(self, frame: FrameType, event: str, _: object):
        """Follow calls into the readers."""
        if not frame.f_code.co_filename.startswith(READERS):
            return None
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            if line not in self.lines:
                self.lines.add(line)
                self.new += 1
        return self.trace


def run(kind: str, n_cases: int, folder: Path, seeds: list[bytes], *, seed: int = 0) -> dict:
    """Try so many damaged files; raise at the first that is not refused properly."""
    rng = random.Random(seed)
    coverage, pool, refused, was_read, slowest = Coverage(), list(seeds), 0, 0, 0.0
    path = folder / {"star": "x.star", "cs": "x.cs", "csdat": "x.cs", "mrc": "x.mrcs"}[kind]
    for case in range(n_cases):
        content = mutate(rng.choice(pool), pool, rng)
        path.write_bytes(content)
        coverage.new = 0
        start = time.monotonic()
        signal.alarm(SECONDS_PER_CASE)
        sys.settrace(coverage.trace)
        try:
            was_read += read(kind, path, rng)
        except ResmfnError:
            refused += 1
        except BaseException:
            sys.settrace(None)
            path.with_name(f"failed_{kind}").write_bytes(content)
            traceback.print_exc()
            raise RuntimeError(f"{kind} case {case}: kept as {path.parent}") from None
        finally:
            sys.settrace(None)
            signal.alarm(0)
        slowest = max(slowest, time.monotonic() - start)
        if coverage.new and len(content) <= 2 * LARGEST_SEED:
            pool.append(content)
    lines, peak = len(coverage.lines), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "format": kind,
        "cases": n_cases,
        "refused": refused,
        "read": was_read,
        "lines_reached": lines,
        "pool": len(pool),
        "slowest_s": round(slowest, 3),
        "peak_memory_mib": peak,
    }


def limit_memory() -> None:
    """Let this process take a limited amount of memory beyond what it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY, now + MORE_MEMORY))


def main() -> None:
    """Run as a program."""
    kind, n_cases, folder, *seeds = sys.argv[1:]
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    limit_memory()

    def on_alarm(*_: object) -> None:
        raise TimeoutError("".join(traceback.format_stack()))

    signal.signal(signal.SIGALRM, on_alarm)
    contents = [Path(seed).read_bytes()[:LARGEST_SEED] for seed in seeds]
    print(json.dumps(run(kind, int(n_cases), Path(folder), contents)))


if __name__ == "__main__":
    main()
