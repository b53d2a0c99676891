"""Mixtures and junk: who is in which class, the map of each class, images that show no particle, and the cost.

Sets and scores are those of other programs: ``--simulator`` makes mixtures (flags of make_hard_particles.py),
``--scorer`` compares classes with the truth (flags of score_classes.py). One JSON object a case goes to ``--results``
(appended). ``--relion`` has RELION find the same number of classes de novo: its class and map of each, its CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
from bench_accuracy import images_alone, run
from peers import DE_NOVO, SCHEDULES
from records import append, stamp

PLAIN = ("--n", "4000", "--box", "64", "--pixel-size", "1.5", "--snr", "0.1", "--shift-std", "2")
HARD = (
    "--n", "5000", "--box", "72", "--pixel-size", "2.0", "--snr", "0.1", "--junk", "0.2", "--structural", "0.5",
    "--color", "0.3", "--envelope", "40", "--neighbors", "0.1", "--shift-std", "3",
)  # fmt: skip
JUNK = (
    "--n", "3000", "--box", "64", "--pixel-size", "1.5", "--snr", "0.1", "--structural", "0.6", "--color", "0.5",
    "--envelope", "60", "--neighbors", "0.2",
)  # fmt: skip
MANY = ("--n", "8000", "--box", "72", "--pixel-size", "3.2", "--snr", "0.1", "--shift-std", "3")
FIVE = ("adk_open.pdb", "adk_closed.pdb", "1ol5.pdb", "1u19.pdb", "8zpm.cif")

EIGHT = (*FIVE, "3SN6.cif", "4zxb.cif", "3SN6.cif without R,N")
PARTS = (
    "3SN6.cif without A,N", "3SN6.cif without A,B,G", "4zxb.cif without E", "4zxb.cif without A,B",
    "4zxb.cif without A,B,C,D", "1u19.pdb without B", "8zpm.cif without R", "8zpm.cif without N",
)  # fmt: skip
"""Complexes with parts missing, and single parts, as eight more species."""

NO_STRUCTURE = 3
"""Exit code of a run that found none."""


@dataclass(frozen=True)
class Mixture:
    """A set, and how it is run."""

    models: tuple[str, ...]
    simulated: tuple[str, ...]
    mask_diameter: float
    pixel_size: float
    classes: str
    flags: tuple[str, ...] = ()


STATES = {
    "nanobody": (("3SN6.cif:0.6", "3SN6.cif without N:0.4"), 200.0, 3.2, ("--n", "3000", "--box", "72"), "4"),
    "loop": (("adk_open.pdb:0.5", "adk_open.pdb without 30-42:0.5"), 84.0, 1.5, ("--n", "4000", "--box", "64"), "2"),
}
"""A receptor complex without its nanobody, a kinase without 13 residues: models, mask, pixel size, size, shifts."""


def _states(name: str, flags: tuple[str, ...]) -> Mixture:
    models, mask_diameter, pixel_size, size, shifts = STATES[name]
    simulated = (*size, "--pixel-size", f"{pixel_size}", "--snr", "0.1", "--shift-std", shifts)
    return Mixture(models, simulated, mask_diameter, pixel_size, "2", flags)


CASES = {
    "open-closed": Mixture(("adk_open.pdb:0.5", "adk_closed.pdb:0.5"), PLAIN, 84.0, 1.5, "2"),
    "open-aurora": Mixture(("adk_open.pdb:0.6", "1ol5.pdb:0.4"), PLAIN, 84.0, 1.5, "2"),
    "five-junk": Mixture(FIVE, HARD, 130.0, 2.0, "5"),
    "five-junk-3": Mixture(FIVE, HARD, 130.0, 2.0, "3"),
    "five-junk-8": Mixture(FIVE, HARD, 130.0, 2.0, "8"),
    "junk-0.3": Mixture(("adk_open.pdb",), (*JUNK, "--junk", "0.3"), 84.0, 1.5, "1"),
    "species-8": Mixture(EIGHT, MANY, 210.0, 3.2, "8"),
    "species-16": Mixture((*EIGHT, *PARTS), (*MANY[2:], "--n", "16000"), 210.0, 3.2, "16"),
    "no-junk": Mixture(("adk_open.pdb",), JUNK, 84.0, 1.5, "1"),
    "junk-0.6": Mixture(("adk_open.pdb",), (*JUNK, "--junk", "0.6"), 84.0, 1.5, "1"),
    "homogeneous-3": Mixture(("adk_open.pdb",), PLAIN, 84.0, 1.5, "3"),
    "homogeneous-auto": Mixture(("adk_open.pdb",), PLAIN, 84.0, 1.5, "auto"),
    "homogeneous-large": Mixture(("3SN6.cif",), ("--n", "3000", *MANY[2:]), 210.0, 3.2, "3"),
    "homogeneous-states": Mixture(("adk_open.pdb",), PLAIN, 84.0, 1.5, "2", ("--local-states",)),
    **{f"{name}-states": _states(name, ("--local-states",)) for name in STATES},
    **{f"{name}-search": _states(name, ()) for name in STATES},
}


def model_of(name: str, tools: argparse.Namespace) -> str:
    """Return the file of a model and its weight, written without chains or a range of residues where that is asked."""
    name, _, weight = name.partition(":")
    name, _, lost = name.partition(" without ")
    path = Path(tools.models) / name
    if lost:
        structure = gemmi.read_structure(os.fspath(path))
        first, _, last = lost.partition("-")
        for chain in list(structure[0]):
            if chain.name in lost.split(","):
                structure[0].remove_chain(chain.name)
            elif last:
                for row in reversed(range(len(chain))):
                    if int(first) <= chain[row].seqid.num <= int(last):
                        del chain[row]
        path = tools.out / f"{path.stem}-without-{lost}.cif"
        structure.make_mmcif_document().write_file(os.fspath(path))
    return f"{path}:{weight}" if weight else os.fspath(path)


def make_set(case: Mixture, name: str, seed: int, tools: argparse.Namespace) -> Path:
    """Make a set, unless it is there."""
    data: Path = tools.out / f"data-{name}-{seed}"
    if not (data / "particles.star").exists():
        models = [model_of(model, tools) for model in case.models]
        run([sys.executable, tools.simulator, os.fspath(data), *models, *case.simulated, "--seed", str(seed)])
    return data


def scored(
    case: Mixture, star: Path, data: Path, maps: list[Path], tools: argparse.Namespace, *junk: str
) -> dict[str, Any]:
    """Return what the scorer says of classes and their maps; ``junk`` are its flags that say which images are junk."""
    scores = star.with_suffix(".score.json")
    run(
        [
            sys.executable, tools.scorer, os.fspath(star), os.fspath(data), "--maps", *map(os.fspath, maps),
            *junk, "--mask-radius", f"{case.mask_diameter / 2 / case.pixel_size:g}",
            "--json", os.fspath(scores),
        ]
    )  # fmt: skip
    return json.loads(scores.read_text())


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """Return the scores that a record has."""
    return {
        "accuracy": round(found["accuracy"], 4),
        "junk": {key: round(value, 4) for key, value in found["junk"].items()},
        "fsc05_masked_A": [round(model["fsc"]["masked"]["fsc05"], 3) for model in found["models"] if "fsc" in model],
        "pose_median_deg": [round(model["pose"]["median"], 3) for model in found["models"] if "pose" in model],
        "images_by_model_and_class": found["table"],
    }


def maps_of(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Return the maps of a run's classes, class 1 first: the scorer has them by class number."""
    return [folder / of_class.get("folder", "") / "map.mrc" for of_class in summary.get("classes", [summary])]


def measure(
    case: Mixture, name: str, seed: int, tools: argparse.Namespace, benchmark: str = "classes"
) -> dict[str, object]:
    """Make a set, reconstruct it, score it."""
    data, folder = make_set(case, name, seed, tools), tools.out / f"run-{name}-{seed}"
    blind = images_alone(data, tools.out / f"input-{name}-{seed}")
    command = [
        sys.executable, "-m", "resmfn", "reconstruct", os.fspath(blind / "particles.star"), "--out", os.fspath(folder),
        "--mask-diameter", f"{case.mask_diameter:g}", "--n-classes", case.classes, "--seed", str(seed), "--overwrite",
        *case.flags,
    ]  # fmt: skip
    about = {"benchmark": benchmark, "case": name, "seed": seed, "made_with": stamp()}
    try:
        usage = run(command)
    except SystemExit as stopped:
        if not str(stopped).endswith(f"exit code {NO_STRUCTURE}"):
            raise
        return {**about, "no_structure_found": True}
    finally:
        shutil.rmtree(blind)
    summary = json.loads((folder / "summary.json").read_text())
    maps = maps_of(folder, summary)
    of_scores = figures(scored(case, folder / "particles.star", data, maps, tools, "--junk-below", "0.5"))
    masked = of_scores["fsc05_masked_A"]
    half_maps = [of_class["resolution_half_0143"] for of_class in summary.get("classes", [summary])]
    return {
        **about,
        "n_classes": summary.get("n_classes", 1),
        **of_scores,
        "half_maps_A": half_maps,
        "resolved": summary["resolved"],
        "half_over_truth": round(half_maps[0] / masked[0], 3) if len(masked) == len(half_maps) == 1 else None,
        "wall_s": round(usage.wall_s, 1),
        "cpu_s": round(usage.cpu_s, 1),
        "peak_memory_mib": round(usage.peak_memory_mib),
    }


def measure_relion(case: Mixture, name: str, seed: int, tools: argparse.Namespace) -> dict[str, object]:
    """Have RELION divide a set into as many classes, de novo, with shifts of up to three pixels searched."""
    data = make_set(case, name, seed, tools)
    folder = images_alone(data, tools.out / f"relion-{name}-{seed}")
    stages, n_classes = SCHEDULES["n2000"].relion, int(case.classes)
    asked = {"n_classes": n_classes, "diameter": case.mask_diameter, "shifts": "3 --offset_step 2"}
    usage = run(DE_NOVO.format(*stages, **asked).split(), folder=folder)
    last = folder / f"run_it{sum(stages):03}_data.star"
    maps = [last.with_name(f"run_it{sum(stages):03}_class{number:03}.mrc") for number in range(1, n_classes + 1)]
    found = scored(case, last, data, maps, tools)
    return {
        "benchmark": "classes-relion", "case": name, "seed": seed, "made_with": stamp(), **figures(found),
        "wall_s": round(usage.wall_s, 1), "cpu_s": round(usage.cpu_s, 1),
    }  # fmt: skip


def tools_of(benchmark: str, about: str | None) -> argparse.ArgumentParser:
    """Return the parser of a script that has mixtures made and scored by other programs."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--simulator", required=True, help="makes mixtures; flags of make_hard_particles.py")
    parser.add_argument("--scorer", required=True, help="scores classes; flags of score_classes.py")
    parser.add_argument("--models", required=True, help="folder of the molecular models")
    parser.add_argument("--out", type=Path, required=True, help="folder for sets and runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / f"{benchmark}.jsonl")
    return parser


def run_cases(cases: dict[str, Mixture], benchmark: str, about: str | None) -> None:
    """Measure the cases that are asked for."""
    parser = tools_of(benchmark, about)
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases))
    parser.add_argument("--relion", action="store_true", help="RELION 3.1 in place of resmfn")
    tools = parser.parse_args()
    tools.out.mkdir(parents=True, exist_ok=True)
    for name in tools.cases:
        for seed in tools.seeds:
            if tools.relion:
                record = measure_relion(cases[name], name, seed, tools)
            else:
                record = measure(cases[name], name, seed, tools, benchmark)
            append(tools.results, record)
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    run_cases(CASES, "classes", __doc__)
