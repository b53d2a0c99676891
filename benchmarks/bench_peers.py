"""RELION on the same images, in the same run, scored by the same program.

RELION 3.1 (Debian: relion and openmpi-bin) finds a first map de novo and refines it; both costs count, as both are in
ours. Its schedule is cut to about a third of its defaults, which would take 13 CPU hours: 40/60/15 iterations for
50/200/50, no search for shifts that the images do not have, and a limit on significant poses. Data and scores come
from independent programs, as in bench_accuracy.py. The table gives CPU seconds, for the machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from bench_accuracy import CASES, Case, Usage, arguments, reconstruct, run, score, simulate
from records import append, stamp

SCHEDULES = {"n2000": (40, 60, 15), "tiny": (4, 6, 2)}
"""Iterations of the three stages of the de novo map; tiny shows no more than that all of this runs."""
DE_NOVO = """relion_refine --o ./run --sgd_ini_iter {} --sgd_inbetween_iter {} --sgd_fin_iter {} --sgd_write_iter 10
--sgd_ini_resol 35 --sgd_fin_resol 10 --sgd_ini_subset 100 --sgd_fin_subset 500 --sgd --denovo_3dref
--i particles.star --ctf --K 1 --sym C1 --flatten_solvent --zero_mask --dont_combine_weights_via_disc --maxsig 100
--pool 50 --pad 1 --skip_gridding --particle_diameter 84 --oversampling 1 --healpix_order 1 --offset_range 0
--offset_step 0.2 --j 1 --random_seed 1"""
REFINE = """mpirun --allow-run-as-root --oversubscribe -n 3 relion_refine_mpi --o ./refined --auto_refine
--split_random_halves --i run_it{last:03}_data.star --ref run_it{last:03}_class001.mrc --ini_high 10
--dont_combine_weights_via_disc --pool 50 --pad 2 --ctf --particle_diameter 84 --flatten_solvent --zero_mask
--oversampling 1 --healpix_order 4 --auto_local_healpix_order 4 --offset_range 0 --offset_step 0.2 --sym C1
--low_resol_join_halves 20 --norm --scale --j 1 --random_seed 1"""


def relion(data: Path, folder: Path, schedule: tuple[int, int, int]) -> list[Usage]:
    """Run RELION's two programs on images that lie alone in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("particles.star", "particles.mrcs"):
        shutil.copy(data / name, folder)
    before = Path.cwd()
    os.chdir(folder)  # RELION looks for stacks from where it is started
    try:
        commands = (DE_NOVO.format(*schedule), REFINE.format(last=sum(schedule)))
        return [run(command.split()) for command in commands]
    finally:
        os.chdir(before)


def figures(
    case: Case, map_path: Path, star: Path, data: Path, usage: list[Usage], tools: argparse.Namespace
) -> dict[str, float]:
    """Return accuracy and cost."""
    scores = score(map_path, star, data, case, tools)
    return {
        "fsc05_unmasked_A": round(scores["unmasked"]["fsc05"], 3),
        "pose_median_deg": round(scores["pose"]["median"], 3),
        "cpu_s": round(sum(part.cpu_s for part in usage), 1),
        "wall_s": round(sum(part.wall_s for part in usage), 1),
        "peak_memory_mib": round(max(part.peak_memory_mib for part in usage)),
    }


def main() -> None:
    """Measure and print."""
    tools = arguments(results="benchmarks/results/peers.jsonl", cases=list(SCHEDULES), default=["n2000"])
    if not shutil.which("relion_refine_mpi") or not shutil.which("mpirun"):
        print("not measured: relion_refine_mpi or mpirun is missing (Debian: apt-get install relion openmpi-bin)")
        return
    for name in tools.cases:
        for seed in tools.seeds or CASES[name].seeds:
            record = compare(name, seed, tools)
            append(Path(tools.results), record)
            print(json.dumps(record, indent=1), flush=True)


def compare(name: str, seed: int, tools: argparse.Namespace) -> dict[str, object]:
    """Give the same images to both, one after the other, and score what they make of them."""
    out, case = Path(tools.out).resolve(), CASES[name]
    data = simulate(case, seed, out / f"data-{name}-{seed}", tools)
    mine, theirs = out / f"run-peers-{name}-{seed}", out / f"relion-{name}-{seed}"
    usage = reconstruct(case, seed, data, mine)
    ours = figures(case, mine / "map.mrc", mine / "particles.star", data, [usage], tools)
    parts = relion(data, theirs, SCHEDULES[name])
    peer = figures(case, theirs / "refined_class001.mrc", theirs / "refined_data.star", data, parts, tools)
    record: dict[str, object] = {"benchmark": "peers", "case": name, "seed": seed, "made_with": stamp()}
    return record | {"resmfn": ours, "relion": peer, "cpu_share": round(ours["cpu_s"] / peer["cpu_s"], 3)}


if __name__ == "__main__":
    main()
