"""What `resmfn check` says of time and memory, against what runs take: the same images, one after the other.

``--sizes`` are numbers of images and boxes, as 500x48. Images are made by our own simulator, for only time is asked.
Runs are the default command with one thread or as many as ``OMP_NUM_THREADS`` says; check measures the same threads,
and what it says is that of the box which the run ends in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

from bench_accuracy import run
from bench_scaling import RESMFN, simulate
from records import append, stamp

SIZES = (
    *("500x48", "2000x48", "200000x48", "500x64", "2000x64", "10000x64", "50000x64"),
    *("500x96", "5000x96", "500x128", "5000x128", "1000x256"),
)
MOST = 1.5
"""Times that an estimate may be off, either way."""


def compare(n: int, box_size: int, out: Path) -> dict[str, float | int]:
    """Simulate one size, ask check, and reconstruct; times of the estimate over those measured."""
    folder = out / f"check-{n}-{box_size}"
    shutil.rmtree(folder, ignore_errors=True)
    star = str(simulate(n, box_size, folder / "data"))
    said = json.loads(subprocess.run([*RESMFN, "check", star, "--json"], check=True, stdout=subprocess.PIPE).stdout)
    usage = run([*RESMFN, "reconstruct", star, "--out", str(folder / "run"), "--device", "cpu"])
    reached = json.loads((folder / "run" / "summary.json").read_text())["working_box_size"]
    shutil.rmtree(folder)
    said = next(of for of in said["boxes"] if of["box_size"] == reached)
    mebibytes = said["memory_bytes"] / 2**20
    return {
        "n": n,
        "box": box_size,
        "box_reached": reached,
        "said_cpu_s": round(said["cpu_seconds"], 1),
        "cpu_s": round(usage.cpu_s, 1),
        "cpu_ratio": round(said["cpu_seconds"] / usage.cpu_s, 2),
        "said_mib": round(mebibytes),
        "peak_memory_mib": round(usage.peak_memory_mib),
        "memory_ratio": round(mebibytes / usage.peak_memory_mib, 2),
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/check.jsonl"))
    given, _ = parser.parse_known_args()
    rows = []
    for size in given.sizes:
        n, _, box = size.partition("x")
        rows.append(compare(int(n), int(box), given.out))
        print(json.dumps(rows[-1]), flush=True)
        append(given.results, {"benchmark": "check", "case": size, "made_with": stamp(), **rows[-1]})
    for row in rows:
        off = max(max(row[name], 1 / row[name]) for name in ("cpu_ratio", "memory_ratio"))
        words = "" if off < MOST else "off"
        print(f"| {row['n']} x {row['box']} | {row['cpu_ratio']} | {row['memory_ratio']} | {words} |")


if __name__ == "__main__":
    main()
