"""Accuracy and cost of the main job, case by case: simulate, reconstruct, score, with independent programs.

Each case is simulated by a program that shares no line with the package (``--simulator``; by default
independent/simulate.py), reconstructed by the command that users type from a folder that holds nothing but
particles.star and particles.mrcs, and scored against the truth by another such program (``--scorer``). One JSON object
a run goes to ``--results`` (appended) and a table is printed. The headline figure:

    python benchmarks/bench_accuracy.py --cases readme

README.md beside this file says how we measure.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from judges import add_tools, model_file, names, simulating
from records import append, stamp


@dataclass(frozen=True)
class Case:
    """One data set and the flags it is reconstructed with."""

    model: str
    simulate: tuple[str, ...]
    reconstruct: tuple[str, ...] = ()
    mask_radius: float = 42.0
    """Of the scorer's mask, Å."""
    poses: str = "unknown"
    compare_with_relion: bool = False
    """Also reconstruct with RELION from our poses, and score that map."""
    seeds: tuple[int, ...] = (0,)
    needs_gpu: bool = False
    """Elsewhere it takes long and is left out, unless --on-cpu asks for it. Of a GPU it gets 8 GiB."""


NOT_RESOLVED = 4
"""Exit code of a run that has a result, though one that says little."""
ADK, CENTERED = "adk_open.pdb", ("--mask-diameter", "84", "--shift-range", "0")
CASES = {
    "readme": Case(ADK, ("--n", "2000"), ("--mask-diameter", "84")),
    "n2000": Case(ADK, ("--n", "2000"), CENTERED),
    "n2000-true-poses": Case(ADK, ("--n", "2000"), CENTERED, poses="fixed"),
    "n2000-seeds": Case(ADK, ("--n", "2000"), CENTERED, seeds=tuple(range(1, 11))),
    "n2000-snr005-seeds": Case(ADK, ("--n", "2000", "--snr", "0.05"), CENTERED, seeds=tuple(range(1, 11))),
    "n2000-shifts": Case(ADK, ("--n", "2000", "--shift-std", "3"), ("--mask-diameter", "84")),
    "n2000-uneven": Case(ADK, ("--n", "2000", "--preferred", "4"), CENTERED),
    "rhodopsin": Case(
        "1u19.pdb", ("--n", "2000", "--box", "80", "--pixel-size", "1.8"), mask_radius=60.0, compare_with_relion=True
    ),
    "8zpm": Case(
        "8zpm.cif", ("--n", "2000", "--box", "72", "--pixel-size", "2.0"), mask_radius=60.0, compare_with_relion=True
    ),
    "aurora": Case(
        "1ol5.pdb",
        ("--n", "2000", "--box", "52", "--pixel-size", "1.9"),
        ("--shift-range", "0"),
        mask_radius=42.0,
        compare_with_relion=True,
    ),
    "n2000-box128": Case(ADK, ("--n", "2000", "--box", "128", "--pixel-size", "0.75"), CENTERED),
    "n10000-box128": Case(ADK, ("--n", "10000", "--box", "128", "--pixel-size", "0.75"), CENTERED, needs_gpu=True),
    "n10000": Case(ADK, ("--n", "10000"), CENTERED, needs_gpu=True),
    "n50000": Case(ADK, ("--n", "50000"), CENTERED, needs_gpu=True),
    "n50000-box128": Case(ADK, ("--n", "50000", "--box", "128", "--pixel-size", "0.75"), CENTERED, needs_gpu=True),
    "n5000-box256": Case(
        "4zxb.cif",
        ("--n", "5000", "--box", "256", "--pixel-size", "0.9"),
        ("--mask-diameter", "215"),
        mask_radius=107.5,
        needs_gpu=True,
    ),
    "tiny": Case(
        ADK, ("--n", "300", "--box", "32", "--pixel-size", "3", "--snr", "0.5"), (*CENTERED, "--n-starts", "1")
    ),
}
DEFAULT = [name for name in CASES if name not in ("tiny", "n2000-snr005-seeds")]


@dataclass
class Usage:
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_memory_mib: float
    output: str = field(repr=False, default="")


class StoppedAtLimitError(Exception):
    """A command was stopped after the CPU seconds that it had."""

    def __init__(self, usage: Usage) -> None:
        super().__init__(f"stopped after {usage.cpu_s:.0f} CPU s")
        self.usage = usage


def run(
    command: list[str],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    limit_s: int | None = None,
) -> Usage:
    """Run a command to its end, in a folder and with CPU seconds for each of its processes, and measure it."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    limited = command if limit_s is None else ["prlimit", f"--cpu={limit_s}", "--", *command]
    with subprocess.Popen(
        limited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
    ) as process:
        output, peak = _follow(process)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    usage = Usage(wall, cpu, peak / 1024, output)
    if limit_s is not None and process.returncode and cpu >= limit_s - 1:
        raise StoppedAtLimitError(usage)
    if process.returncode not in (0, NOT_RESOLVED):
        raise SystemExit(f"{' '.join(command)}\n{output}\nended with exit code {process.returncode}")
    return usage


def _follow(process: subprocess.Popen) -> tuple[str, int]:
    """Return the output and the largest resident size in KiB of any of its processes (Linux; 0 elsewhere)."""
    peak, lines = 0, []
    for line in process.stdout or ():
        lines.append(line)
        peak = max(peak, _peak_of_tree(process.pid))
    process.wait()
    return "".join(lines), peak


def _peak_of_tree(process: int) -> int:
    """Return the largest resident size so far, in KiB, of a process or one of those that it started."""
    folder = Path(f"/proc/{process}")
    try:
        found = re.search(r"VmHWM:\s+(\d+)", (folder / "status").read_text())
        children = (folder / "task" / str(process) / "children").read_text().split()
    except OSError:  # it has ended
        return 0
    return max([int(found.group(1)) if found else 0, *map(_peak_of_tree, map(int, children))])


def simulate(case: Case, seed: int, folder: Path, tools: argparse.Namespace) -> Path:
    """Make the data set of a case, unless it is there."""
    if not (folder / "particles_true.star").exists():
        model = model_file(tools.models, case.model)
        if model is None:
            raise SystemExit(f"{case.model} is not in {tools.models}: give --models")
        run([*simulating(tools.simulator), str(model), str(folder), *case.simulate, "--seed", str(seed)])
    return folder


def images_alone(data: Path, folder: Path, star: str = "particles.star") -> Path:
    """Return a folder, made anew, that holds nothing but particles.star and particles.mrcs: no truth beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(data / star, folder / "particles.star")
    shutil.copy(data / "particles.mrcs", folder)
    return folder


def reconstruct(case: Case, seed: int, data: Path, out: Path) -> Usage:
    """Reconstruct from a folder that holds the images alone."""
    star = "particles.star" if case.poses == "unknown" else "particles_true.star"
    blind = images_alone(data, out.with_name(out.name + "-input"), star)
    flags = [*case.reconstruct, "--poses", case.poses, "--seed", str(seed), "--overwrite"]
    flags += ["--gpu-memory", "8"] if case.needs_gpu and has_gpu() else []
    usage = run(
        [sys.executable, "-m", "resmfn", "reconstruct", str(blind / "particles.star"), "--out", str(out), *flags]
    )
    shutil.rmtree(blind)
    return usage


def score(map_path: Path, star: Path, data: Path, case: Case, tools: argparse.Namespace) -> dict:
    """Score a map and its poses against the truth."""
    target = map_path.with_suffix(".score.json")
    truth = ["--star", str(star), "--true-star", str(data / "particles_true.star")]
    options = ["--mask-radius", str(case.mask_radius), "--json", str(target)]
    run([sys.executable, tools.scorer, str(map_path), str(data / "volume.mrc"), *truth, *options])
    return json.loads(target.read_text())


def relion_map(run_folder: Path, data: Path) -> Path:
    """Return the map that relion_reconstruct makes of our poses."""
    folder = run_folder / "relion"
    folder.mkdir(exist_ok=True)
    shutil.copy(run_folder / "particles.star", folder)
    shutil.copy(data / "particles.mrcs", folder)
    target = folder / "map.mrc"
    # RELION looks for stacks from where it is started.
    run(["relion_reconstruct", "--i", "particles.star", "--o", target.name, "--ctf"], folder=folder)
    (folder / "particles.mrcs").unlink()
    return target


def measure(name: str, seed: int, tools: argparse.Namespace) -> dict:
    """Do one run of a case and return its figures."""
    case = CASES[name]
    data = simulate(case, seed, Path(tools.out).resolve() / f"data-{name.removesuffix('-true-poses')}-{seed}", tools)
    folder = Path(tools.out).resolve() / f"run-{name}-{seed}"
    usage = reconstruct(case, seed, data, folder)
    scores = score(folder / "map.mrc", folder / "particles.star", data, case, tools)
    summary = json.loads((folder / "summary.json").read_text())
    record = {
        "benchmark": "accuracy",
        "case": name,
        "seed": seed,
        "made_with": stamp(),
        **names(tools),
        "fsc05_unmasked_A": round(scores["unmasked"]["fsc05"], 3),
        "fsc05_masked_A": round(scores["masked"]["fsc05"], 3),
        "half_map_fsc0143_A": summary["resolution_half_0143"],
        "pose_median_deg": round(scores["pose"]["median"], 3),
        "pose_mean_deg": round(scores["pose"]["mean"], 3),
        "share_within_10_deg": round(scores["pose"]["lt10"], 4),
        "shift_rms_A": round(scores["shift"]["rms"], 3),
        "wall_s": round(usage.wall_s, 1),
        "cpu_s": round(usage.cpu_s, 1),
        "peak_memory_mib": round(usage.peak_memory_mib),
        "peak_gpu_memory_mib": round(summary["peak_gpu_memory"] / 2**20),
        "device": summary["device"],
        "log_likelihood": summary["log_likelihood"],
        "flags": [*case.simulate, *case.reconstruct],
    }
    if case.compare_with_relion and shutil.which("relion_reconstruct"):
        theirs = score(relion_map(folder, data), folder / "particles.star", data, case, tools)
        record["relion_reconstruct_same_poses_fsc05_unmasked_A"] = round(theirs["unmasked"]["fsc05"], 3)
        record["relion_reconstruct_same_poses_fsc05_masked_A"] = round(theirs["masked"]["fsc05"], 3)
    return record


def has_gpu() -> bool:
    """Say whether PyTorch can use a GPU."""
    import torch

    return torch.cuda.is_available()


def table(records: list[dict]) -> str:
    """Return the figures of some runs as text."""
    columns = ("case", "seed", "fsc05_unmasked_A", "half_map_fsc0143_A", "pose_median_deg", "share_within_10_deg")
    columns += ("shift_rms_A", "wall_s", "cpu_s", "peak_memory_mib")
    rows = [columns] + [tuple(str(record[column]) for column in columns) for record in records]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def parser_of_cases(
    results: str, cases: Sequence[str], default: Sequence[str], about: str | None
) -> argparse.ArgumentParser:
    """Return the parser of a script that does some of the cases."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tools(parser)
    parser.add_argument("--out", default="benchmarks/out")
    parser.add_argument("--results", default=results)
    parser.add_argument("--cases", nargs="+", default=default, choices=cases)
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the cases' own")
    return parser


def main() -> None:
    """Run the cases asked for."""
    parser = parser_of_cases("benchmarks/results/accuracy.jsonl", tuple(CASES), tuple(DEFAULT), __doc__)
    parser.add_argument("--on-cpu", action="store_true", help="also cases that are meant for a GPU, however long")
    tools = parser.parse_args()
    records = []
    for name in tools.cases:
        if CASES[name].needs_gpu and not tools.on_cpu and not has_gpu():
            print(f"{name}: not measured: no GPU", flush=True)
            continue
        if model_file(tools.models, CASES[name].model) is None:
            print(f"{name}: not measured: {CASES[name].model} is not in {tools.models} (--models)", flush=True)
            continue
        for seed in tools.seeds or CASES[name].seeds:
            record = measure(name, seed, tools)
            records.append(record)
            print(json.dumps(record), flush=True)
            append(Path(tools.results), record)
    if records:
        print(table(records))


if __name__ == "__main__":
    main()
