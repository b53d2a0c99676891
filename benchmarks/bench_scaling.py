"""Time against the number of images and the box: the same command at growing sizes, and the fitted exponents.

Images are made by our own simulator, which is quick, for only time is asked here. ``--n`` and ``--boxes`` choose the
sizes; each is run once, as a process of its own, with half maps.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from bench_accuracy import run
from records import append, stamp

BASE_N, BASE_BOX = 1000, 64
RESMFN, SNR = [sys.executable, "-m", "resmfn"], 0.1
EXTENT = 96.0
"""Å: side of every box, so that the molecule and the number of resolution elements grow with the box."""


def simulate(n: int, box_size: int, folder: Path) -> Path:
    """Make images of a box in a new folder by our own simulator, and return their table."""
    flags = ["--n-projections", str(n), "--box-size", str(box_size), "--pixel-size", f"{EXTENT / box_size:g}"]
    run([*RESMFN, "simulate", "4ake", "--out", str(folder), "--snr", str(SNR), *flags])
    return folder / "particles.star"


def measure(n: int, box_size: int, given: argparse.Namespace) -> dict[str, float]:
    """Simulate and reconstruct one size."""
    folder = given.out / f"scaling-{n}-{box_size}"
    shutil.rmtree(folder, ignore_errors=True)
    star = simulate(n, box_size, folder / "data")
    flags = ["--mask-diameter", "84", "--shift-range", "0", "--device", given.device]
    usage = run([*RESMFN, "reconstruct", str(star), "--out", str(folder / "run"), *flags])
    shutil.rmtree(folder)
    return {"n": n, "box": box_size, "wall_s": round(usage.wall_s, 1), "cpu_s": round(usage.cpu_s, 1),
            "peak_memory_mib": round(usage.peak_memory_mib)}  # fmt: skip


def exponent(sizes: list[float], times: list[float]) -> float | None:
    """Return the slope of log time against log size, by least squares; None for a single size."""
    if len(sizes) < 2:
        return None
    x, y = [math.log(value) for value in sizes], [math.log(value) for value in times]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return round(
        sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x), 3
    )


def table(record: dict[str, Any]) -> str:
    """Return the sizes, times and exponents of a record as Markdown."""
    lines = ["| images | box | wall s | CPU s | peak MiB |", "|---|---|---|---|---|"]
    rows = [row for part in ("against_n", "against_box") for row in record[part].values()]
    lines += [f"| {r['n']} | {r['box']} | {r['wall_s']} | {r['cpu_s']} | {r['peak_memory_mib']} |" for r in rows]
    names = ("n_wall_exponent", "box_wall_exponent", "n_cpu_exponent", "box_cpu_exponent")
    words = [f"{name.replace('_', ' ')} {record[name]}" for name in names]
    return "\n".join([*lines, "", ", ".join(words)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--boxes", type=int, nargs="+", default=[32, 48, 64, 96])
    parser.add_argument("--base-n", type=int, default=BASE_N, help="images at every box")
    parser.add_argument("--base-box", type=int, default=BASE_BOX, help="box at every number of images")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/scaling.jsonl"))
    given, _ = parser.parse_known_args()
    sizes = {(n, given.base_box) for n in given.n} | {(given.base_n, box) for box in given.boxes}
    rows = {}
    for size in sorted(sizes):
        rows[size] = measure(*size, given)
        print(json.dumps(rows[size]), flush=True)
    against_n = [rows[n, given.base_box] for n in given.n]
    against_box = [rows[given.base_n, box] for box in given.boxes]
    record: dict[str, Any] = {
        "benchmark": "scaling",
        "case": given.device,
        "made_with": stamp(),
        "against_n": {str(row["n"]): row for row in against_n},
        "against_box": {str(row["box"]): row for row in against_box},
    }
    for axis, against in (("n", against_n), ("box", against_box)):
        for kind in ("wall", "cpu"):
            times = [row[f"{kind}_s"] for row in against]
            record[f"{axis}_{kind}_exponent"] = exponent([row[axis] for row in against], times)
    append(given.results, record)
    print(json.dumps(record, indent=1))
    print(table(record))


if __name__ == "__main__":
    main()
