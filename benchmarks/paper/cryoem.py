"""The paper's cryo-EM experiment: ``--preset published`` on one data set, with several variants and seeds.

One command for a machine with a GPU (3,000 images, 86 epochs, switches at 22 and 44), and one for a CPU:

    python benchmarks/paper/cryoem.py --case gpu
    python benchmarks/paper/cryoem.py --case cpu

Data come from ../independent/simulate.py or the program given as ``--simulator``, brought to the published layout. Maps
are scored by ../independent/score.py or by ``--scorer``. Runs go on where they stopped; those that are in the JSON are
not run again. One JSON and one table come of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
from judges import MOLECULES, add_tools, names, simulating
from records import stamp

VARIANTS = ("residual-mfn", "staged-residual", "staged-fair", "staged", "vanilla")


@dataclass(frozen=True)
class Case:
    """A data set and a schedule."""

    n: int
    flags: tuple[str, ...]
    box: int = 64
    pixel_size: float = 1.5
    variants: tuple[str, ...] = ("residual-mfn", "staged")


START = ("--init-from-truth", "45,90")
SMALL = ("--bacon-lr", "3e-3", "--pose-lr", "3e-2", "--pose-lr-decay", "0.97")
CASES = {
    "gpu": Case(3000, ("--epochs", "86", "--stages", "22,44", *START), variants=VARIANTS),
    "cpu": Case(500, ("--epochs", "54", "--stages", "10,50", "--batch-size", "100", *SMALL, *START)),
    "cpu-3000": Case(3000, ("--epochs", "27", "--stages", "10,26", "--bacon-lr", "3e-3", *START)),
    "tiny": Case(
        60,
        (
            "--epochs",
            "3",
            "--stages",
            "1,2",
            "--batch-size",
            "30",
            "--bacon-hidden-dim",
            "16",
            "--warm-up",
            "5",
            *START,
        ),
        box=16,
        pixel_size=6.0,
    ),
}


def run(*command: str) -> None:
    """Run a command to its end, or stop with what it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}\nended with exit code {done.returncode}")


def resmfn(*arguments: str) -> None:
    """Run one of our commands."""
    run(sys.executable, "-m", "resmfn", *arguments)


def make_data(case: Case, seed: int, folder: Path, simulator: str, model: str) -> Path:
    """Make the data set unless it is there; return its folder in the published layout."""
    stack = folder / f"N{case.n}_snr0.1_ctf"
    if (stack / "done").exists():
        return stack
    sampling = ("--box", str(case.box), "--pixel-size", str(case.pixel_size))
    run(*simulating(simulator), model, str(folder), "--n", str(case.n), "--seed", str(seed), *sampling)
    convert(folder, stack)
    (stack / "done").touch()
    return stack


def convert(folder: Path, stack: Path) -> None:
    """Write a RELION data set in the published layout: float64 images, poses in its frame, CTF parameters."""
    from resmfn.data import read_particles
    from resmfn.data.particles.published import STACK_FILE, write_published

    particles = read_particles(folder / "particles_true.star")
    rotations, _ = particles.require_poses()
    write_published(stack, iter([particles.read_images(slice(None))]), rotations, particles.optics)
    np.save(stack / STACK_FILE, np.load(stack / STACK_FILE).astype(np.float64))


def score(folder: Path, data: Path, scorer: str) -> dict[str, float]:
    """Return FSC 0.5 and pose errors against the truth."""
    truth = folder / "particles_true.star"
    target = folder / "score.json"
    stars = ("--star", str(folder / "particles.star"), "--true-star", str(truth))
    run(sys.executable, scorer, str(folder / "map.mrc"), str(data / "volume.mrc"), *stars, "--json", str(target))
    found = json.loads(target.read_text())
    return {
        "fsc05_unmasked_A": round(found["unmasked"]["fsc05"], 3),
        "fsc05_masked_A": round(found["masked"]["fsc05"], 3),
        "scorer_pose_median_deg": round(found["pose"]["median"], 3),
    }


def measure(case: Case, variant: str, seed: int, given: argparse.Namespace) -> dict:
    """Do one run, or go on with it, and return its figures."""
    data = Path(given.out).resolve() / f"data-{given.case}-{seed}"
    stack = make_data(case, seed, data, given.simulator, given.model)
    folder = Path(given.out).resolve() / f"run-{given.case}-{variant}-{seed}"
    flags = (*case.flags, "--variant", variant, "--seed", str(seed), "--save-every", "1000", "--resume", *given.extra)
    resmfn("reconstruct", str(stack), "--preset", "published", "--out", str(folder), *flags)
    summary = json.loads((folder / "summary.json").read_text())
    kept = ("pose_error_median", "pose_error_mean", "share_beyond_20", "ms_per_image_and_epoch")
    kept += ("cpu_ms_per_image_and_epoch", "cpu_seconds", "peak_memory", "peak_gpu_memory", "device")
    return {
        "benchmark": "cryoem",
        "case": given.case,
        "made_with": stamp(),
        "variant": variant,
        "seed": seed,
        "flags": [*case.flags, *given.extra],
        **names(given),
        **{name: summary[name] for name in kept},
        **score(folder, data, given.scorer),
    }


def table(records: list[dict]) -> str:
    """Return mean and spread of every variant's figures as text."""
    columns = ("pose_error_median", "share_beyond_20", "fsc05_unmasked_A", "cpu_ms_per_image_and_epoch")
    rows = [("case", "variant", "seeds", *columns)]
    for key in dict.fromkeys((r["case"], r["variant"], tuple(r["flags"])) for r in records):
        group = [r for r in records if (r["case"], r["variant"], tuple(r["flags"])) == key]
        cells = [_mean_and_spread([r[c] for r in group if r.get(c) is not None]) for c in columns]
        rows.append((*key[:2], str(len(group)), *cells))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows)


def _mean_and_spread(values: list[float]) -> str:
    if not values:
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3g} +- {spread:.2g}"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=list(CASES), default="cpu")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="in place of the case's own")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_tools(parser)
    parser.add_argument("--model", default=str(MOLECULES / "4ake.csv"), help="file of the molecule that is simulated")
    parser.add_argument("--out", default="benchmarks/out/cryoem")
    parser.add_argument("--results", default="benchmarks/results/cryoem.json")
    parser.add_argument("extra", nargs="*", help="further flags of resmfn reconstruct, after --")
    given = parser.parse_args()
    if not Path(given.model).is_file():
        parser.error(f"--model {given.model}: no such file")
    return given


def main() -> None:
    """Run what is missing and print the table."""
    given = arguments()
    case, results = CASES[given.case], Path(given.results)
    records = json.loads(results.read_text()) if results.exists() else []
    for seed in given.seeds:
        for variant in given.variants or case.variants:
            flags = [*case.flags, *given.extra]
            key = (given.case, variant, seed, flags)
            if key in [(r["case"], r["variant"], r["seed"], r["flags"]) for r in records]:
                continue
            records.append(measure(case, variant, seed, given))
            print(json.dumps(records[-1]), flush=True)
            results.parent.mkdir(parents=True, exist_ok=True)
            temporary = results.with_suffix(".tmp")
            temporary.write_text(json.dumps(records, indent=1) + "\n")
            temporary.replace(results)
    print(table(records))


if __name__ == "__main__":
    main()
