"""Boxes of 256 pixels: many images that are stored larger than they are reconstructed, and RELION from our poses.

``stored`` times the whole command on ``--n`` images of 64 x 64 stored at 256 x 256, made by our own simulator, for only
time and memory are asked. ``relion`` gives the poses and half sets of a finished run (``--run``, of the images in
``--data``) to RELION's auto-refine without a search (``--skip_align``), and has relion_postprocess judge both pairs of
half maps in the mask of the run.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import scipy.fft
from bench_accuracy import Usage, run
from bench_real_sets import errors_modulo, linked
from bench_scaling import EXTENT, RESMFN, SNR, simulate
from records import append, stamp

from resmfn.data import read_particles

BOX, STORED = 64, 256
FRAMES, CHUNK = 64, 500
"""Frames of noise beyond the band of the small images, which are used turned over and moved; images made at a time."""
RELION = """mpirun --allow-run-as-root --oversubscribe -n 3 relion_refine_mpi --o ./refined --auto_refine
--split_random_halves --i particles.star --ref start.mrc --ini_high 20 --skip_align --dont_combine_weights_via_disc
--pool 30 --pad 2 --ctf --particle_diameter {diameter:g} --flatten_solvent --zero_mask --oversampling 0 --sym C1
--firstiter_cc --low_resol_join_halves 40 --norm --scale --j 1 --random_seed 1"""
OUR_HALF, RELION_HALF = "ours_half1_unfil.mrc", "refined_half1_class001_unfil.mrc"


def stored(tools: argparse.Namespace) -> dict[str, object]:
    """Reconstruct many images at a quarter of the size in which they are stored, by two processes."""
    small, large, folder = (tools.out / f"stored-{tools.n}-{name}" for name in ("small", "large", "run"))
    if not (large / "particles.star").exists():
        for old in (small, large):
            shutil.rmtree(old, ignore_errors=True)
        simulate(tools.n, BOX, small)
        enlarge(small, large)
    shutil.rmtree(folder, ignore_errors=True)
    star = str(large / "particles.star")
    usage = run([*RESMFN, "reconstruct", star, "--out", str(folder), "--box-size", str(BOX), "--device", "cpu"])
    summary = json.loads((folder / "summary.json").read_text())
    found = read_particles(folder / "particles.star", with_images=False).rotations
    true = read_particles(small / "particles_true.star", with_images=False).rotations
    return {
        "n": tools.n,
        "half_maps_A": summary["resolution_half_0143"],
        "pose_median_deg": round(float(errors_modulo(found, true, "C1").median()), 3),
        "wall_s": round(usage.wall_s, 1),
        "cpu_s": round(usage.cpu_s, 1),
        "peak_memory_mib": round(usage.peak_memory_mib),
        "peaks_of_all_processes_mib": round(summary["peak_memory"] / 2**20),
    }


def enlarge(small: Path, large: Path) -> None:
    """Write images with more pixels, of half precision: the same Fourier coefficients, and white noise beyond them."""
    large.mkdir(parents=True)
    images = mrcfile.mmap(small / "particles.mrcs", permissive=True).data
    star = (small / "particles.star").read_text()
    now, after = (f"{EXTENT / box:f} {box} 2" for box in (BOX, STORED))
    if star.count(now) != 1:
        raise SystemExit(f"{small / 'particles.star'}: no optics group of {now}")
    rng = np.random.default_rng(0)
    noise = float(images[:CHUNK].var()) / (1 + SNR) * (STORED / BOX) ** 2
    frames = scipy.fft.rfft2(rng.normal(scale=noise**0.5, size=(FRAMES, STORED, STORED)).astype("f4"))
    low = BOX // 2
    frames[:, np.r_[:low, STORED - low : STORED], :low] = 0
    frames = scipy.fft.irfft2(frames)
    with mrcfile.new_mmap(large / "particles.mrcs", (len(images), STORED, STORED), 12, overwrite=True) as file:
        file.set_image_stack()
        file.voxel_size = EXTENT / STORED
        for start in range(0, len(images), CHUNK):
            of_chunk = scipy.fft.rfft2(np.asarray(images[start : start + CHUNK], "f4"))
            padded = np.zeros((len(of_chunk), STORED, STORED // 2 + 1), "c8")
            padded[:, :low, :low] = of_chunk[:, :low, :low]
            padded[:, STORED - low :, :low] = of_chunk[:, low:, :low]
            values = scipy.fft.irfft2(padded) * (STORED / BOX) ** 2
            for image, k in zip(values, rng.integers(FRAMES, size=len(values)), strict=True):
                image += np.roll(frames[k], rng.integers(STORED), 0) * rng.choice((-1, 1))
            file.data[start : start + CHUNK] = values
    (large / "particles.star").write_text(star.replace(now, after))


def relion(tools: argparse.Namespace) -> dict[str, object]:
    """Have RELION refine the half maps of a run from its poses, and compare the halves of both.

    A refinement that has ended in ``--out`` is not repeated: then nothing is said of its cost.
    """
    folder, mask = tools.out / "full-size-relion", tools.run / "mask.mrc"
    cost: dict[str, object] = {}
    if not (folder / RELION_HALF).exists():
        usage = refined(folder, tools)
        cost = {"relion_cpu_s": round(usage.cpu_s, 1), "relion_wall_s": round(usage.wall_s, 1)}
    for half in (1, 2):
        shutil.copy(tools.run / f"half{half}_unfil.mrc", folder / OUR_HALF.replace("1", str(half)))
    return {
        "half_maps_A": judged(folder, OUR_HALF, mask),
        "relion_half_maps_A": judged(folder, RELION_HALF, mask),
        **cost,
    }


def refined(folder: Path, tools: argparse.Namespace) -> Usage:
    """Refine by RELION, from the poses of a run."""
    diameter = re.search(r"^mask_diameter: ([\d.]+)$", (tools.run / "config.yaml").read_text(), re.MULTILINE)
    if diameter is None:
        raise SystemExit(f"{tools.run / 'config.yaml'}: RELION needs a mask diameter, and this run was not given one")
    shutil.rmtree(folder, ignore_errors=True)
    linked(tools.run, tools.data, folder)
    shutil.copy(tools.run / "map.mrc", folder / "start.mrc")
    return run(RELION.format(diameter=float(diameter[1])).split(), folder=folder)


def judged(folder: Path, half: str, mask: Path) -> float:
    """Return where the corrected FSC of two half maps falls below 0.143 by RELION's own program, in A."""
    (folder / "judged").mkdir(exist_ok=True)  # where it puts its plots
    command = ["relion_postprocess", "--i", half, "--mask", str(mask.resolve()), "--o", "judged"]
    run([*command, "--skip_fsc_weighting"], folder=folder)
    found = re.search(r"_rlnFinalResolution\s+([\d.]+)", (folder / "judged.star").read_text())
    if found is None:
        raise SystemExit(f"relion_postprocess says no resolution of {folder / half}")
    return float(found[1])


CASES: dict[str, Callable[[argparse.Namespace], dict]] = {"stored": stored, "relion": relion}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=["stored"])
    parser.add_argument("--n", type=int, default=100_000, help="images of stored")
    parser.add_argument("--run", type=Path, help="run folder, of relion")
    parser.add_argument("--data", type=Path, help="folder of its images, of relion")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/full_size.jsonl"))
    tools = parser.parse_args()
    if "relion" in tools.cases and not (tools.run and tools.data):
        parser.error("relion needs --run and --data")
    for name in tools.cases:
        record = {"benchmark": "full_size", "case": name, "made_with": stamp(), **CASES[name](tools)}
        append(tools.results, record)
        print(json.dumps(record, indent=1), flush=True)


if __name__ == "__main__":
    main()
