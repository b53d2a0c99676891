"""What a wrong defocus costs, and how much of that `resmfn reconstruct --refine-defocus` brings back.

One set of images, three runs: with the defocus that they were made with, with one that is off by an offset of its own
for each image (normal, ``--error`` Å), and with that and ``--refine-defocus``. A fourth, ``right, refined``, shows what
refining costs where nothing is wrong. The share is that of the loss of FSC 0.5 against the truth, in Å.

    python benchmarks/bench_defocus.py
    python benchmarks/bench_defocus.py --poses fixed         # at the true poses: minutes less
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from bench_accuracy import Case, reconstruct, score, simulate
from judges import add_tools, names
from records import append, stamp

from resmfn.core.random import make_generator
from resmfn.data import read_particles, write_particles

RUNS = {
    "right": (False, ()),
    "wrong": (True, ()),
    "wrong, refined": (True, ("--refine-defocus",)),
    "right, refined": (False, ("--refine-defocus",)),
}
"""Whether the defocus is off, and the flags."""


def write_wrong(data: Path, error: float, seed: int) -> Path:
    """Return a folder with the same images, whose files say a defocus that is off by an offset of each image's own."""
    folder = data.with_name(f"{data.name}-off-by-{error:g}")
    folder.mkdir(exist_ok=True)
    for name in ("particles.mrcs", "volume.mrc"):
        shutil.copy(data / name, folder)
    for name in ("particles.star", "particles_true.star"):
        particles = read_particles(data / name, with_images=False)
        offset = error * torch.randn(len(particles), generator=make_generator(seed), dtype=torch.float64)
        said = particles.metadata
        columns = {column: torch.from_numpy(said.numbers(column)) + offset for column in ("rlnDefocusU", "rlnDefocusV")}
        write_particles(folder / name, particles.with_columns(columns))
    return folder


def measure(name: str, sets: dict[bool, Path], simulated: tuple[str, ...], given: argparse.Namespace) -> dict:
    """Do one of the runs and return its figures."""
    is_off, flags = RUNS[name]
    flags = ("--mask-diameter", "84", *given.flags.split(), *flags)
    case = Case("adk_open.pdb", simulated, flags, poses=given.poses)
    folder = given.out / f"run-defocus-{name.replace(', ', '-')}"
    usage = reconstruct(case, given.seed, sets[is_off], folder)
    scores = score(folder / "map.mrc", folder / "particles.star", sets[False], case, given)
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "benchmark": "defocus",
        "case": name,
        "n": given.n,
        "box_size": given.box,
        "error_A": given.error,
        "poses": given.poses,
        "flags": list(simulated),
        "fsc05_A": round(scores["masked"]["fsc05"], 3),
        "fsc05_unmasked_A": round(scores["unmasked"]["fsc05"], 3),
        "half_map_fsc0143_A": summary["resolution_half_0143"],
        "defocus": summary.get("defocus"),
        "cpu_s": round(usage.cpu_s, 1),
        "made_with": stamp(),
        **names(given),
    }


def main() -> None:
    """Do the runs, and say how much of the loss comes back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tools(parser)
    parser.add_argument("--n", type=int, default=2000, help="images")
    parser.add_argument("--box", type=int, default=128, help="pixels, of 96 Å in all")
    parser.add_argument("--b-factor", type=float, default=20.0, help="Å^2, of the atoms")
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--error", type=float, default=200.0, help="standard deviation of the offsets, Å")
    parser.add_argument("--poses", default="unknown", choices=["unknown", "from-input", "fixed"])
    parser.add_argument("--flags", default="", help="more flags of all runs, in one word")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/defocus.jsonl"))
    given = parser.parse_args()
    given.out = given.out.resolve()
    simulated = ("--n", str(given.n), "--box", str(given.box), "--pixel-size", f"{96 / given.box:g}")
    simulated += ("--b-factor", f"{given.b_factor:g}", "--snr", f"{given.snr:g}")
    case = Case("adk_open.pdb", simulated)
    right = simulate(case, given.seed, given.out / f"data-defocus-{'-'.join(simulated[1::2])}-{given.seed}", given)
    sets, found = {False: right, True: write_wrong(right, given.error, given.seed)}, {}
    for name in given.runs:
        record = measure(name, sets, simulated, given)
        append(given.results, record)
        print(json.dumps(record), flush=True)
        found[name] = record["fsc05_A"]
    print("\n".join(f"{name:15} FSC 0.5 at {value:.3f} Å" for name, value in found.items()))
    if {"right", "wrong", "wrong, refined"} <= set(found) and found["wrong"] > found["right"]:
        share = (found["wrong"] - found["wrong, refined"]) / (found["wrong"] - found["right"])
        print(f"of the loss, refining brings back {100 * share:.0f} %")


if __name__ == "__main__":
    main()
