"""The simulator: time and memory for 50,000 images, and agreement with relion_project.

Needs no data. The comparison needs RELION's programs on PATH; without them it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
from records import stamp


def timed(command: list[str]) -> dict[str, float]:
    """Run a command; return wall seconds, CPU seconds and peak memory in MiB of that process."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "wall_s": round(time.monotonic() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_mib": round(usage.ru_maxrss / 1024),
    }


def simulate(out: Path, *flags: str) -> list[str]:
    """Return the command that simulates the built-in molecule."""
    return [sys.executable, "-m", "resmfn", "simulate", "4ake", "--out", str(out), "--overwrite", *flags]


def relion_agreement(out: Path) -> dict[str, float]:
    """Return the correlation of our noise-free images with relion_project's of the same map and poses."""
    folder = out / "agreement"
    timed(simulate(folder, "--n-projections", "100", "--snr", "none", "--shift-std", "3"))
    command = ["relion_project", "--i", "volume.mrc", "--o", "relion", "--ang", "particles_true.star", "--ctf"]
    subprocess.run([*command, "--angpix", "1.5"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    ours = mrcfile.read(folder / "particles.mrcs").reshape(100, -1)
    theirs = mrcfile.read(folder / "relion.mrcs").reshape(100, -1)
    r = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(ours, theirs, strict=True)]
    return {"r_min": round(min(r), 5), "r_median": round(float(np.median(r)), 5)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="benchmarks/out")
    parser.add_argument("--results", default="benchmarks/results/simulate.json")
    parser.add_argument("--n", type=int, default=50_000)
    given, _ = parser.parse_known_args()
    out = Path(given.out) / "simulate"
    out.mkdir(parents=True, exist_ok=True)
    n = str(given.n)
    figures: dict[str, object] = {"benchmark": "simulate", "case": str(given.n), "made_with": stamp()}
    figures["box_64"] = timed(simulate(out / "a", "--n-projections", n, "--box-size", "64", "--pixel-size", "1.5"))
    figures["box_128"] = timed(simulate(out / "b", "--n-projections", n, "--box-size", "128", "--pixel-size", "0.75"))
    if shutil.which("relion_project"):
        figures["relion_project"] = relion_agreement(out)
    else:
        figures["relion_project"] = "not measured: no RELION"
    shutil.rmtree(out)
    Path(given.results).parent.mkdir(parents=True, exist_ok=True)
    Path(given.results).write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
