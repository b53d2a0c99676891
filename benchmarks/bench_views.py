"""What cFAR and SCF say of even and uneven views, of molecules with and without symmetry.

Each set is reconstructed at its true poses (``--poses fixed``), so that views alone differ. SCF counts every image with
its symmetric copies, as the report does. Published (Baldwin and Lyumkis 2020): views that crowd around one axis lower
both, and copies that a symmetry spreads over the sphere raise them again.

    python benchmarks/bench_views.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench_accuracy import Case, reconstruct, simulate
from bench_real_sets import UNIT, write_assembly
from judges import add_tools, names
from records import append, stamp

from resmfn.data import read_particles
from resmfn.evaluation import symmetric_copies
from resmfn.evaluation.sampling import fourier_sampling
from resmfn.rotations import point_group

ADK = "adk_open.pdb"
PLACES = {"C4": (32.0, 10.0, 0.0), "T": (40.0, 25.0, 30.0)}
"""By point group: where the first copy stands, Å. Views crowd around z: the axis of C4, a threefold one of T."""
SIZES = {
    "C1": (("--box", "64", "--pixel-size", "1.5"), ("--mask-diameter", "84")),
    "C4": (("--box", "64", "--pixel-size", "2.55"), ("--mask-diameter", "140")),
    "T": (("--box", "64", "--pixel-size", "3.4"), ("--mask-diameter", "190")),
}
PULLS = (0, 2, 4)


def measure(group: str, pull: int, tools: argparse.Namespace) -> dict:
    """Simulate and reconstruct one set; its figures."""
    model = ADK
    if group != "C1":
        tools.out.mkdir(parents=True, exist_ok=True)
        model = str(tools.out / f"views-{group}.pdb")
        write_assembly(Path(tools.models) / UNIT, group, PLACES[group], Path(model))
    simulated, flags = SIZES[group]
    case = Case(
        model,
        ("--n", str(tools.n), *simulated, *(("--preferred", str(pull)) if pull else ())),
        (*flags, "--symmetry", group, "--shift-range", "0", "--network-steps", "1"),
        poses="fixed",
    )
    data = simulate(case, 0, tools.out / f"data-views-{group}-{pull}", tools)
    folder = tools.out / f"run-views-{group}-{pull}"
    usage = reconstruct(case, 0, data, folder)
    rotation = read_particles(folder / "particles.star", with_images=False).rotations
    found = fourier_sampling(symmetric_copies(rotation, point_group(group)))
    directional = json.loads((folder / "validation.json").read_text())["directional_resolution"]
    return {
        "group": group,
        "preferred": pull,
        "n": tools.n,
        "cfar": round(directional["cfar"], 3),
        "scf": round(found.scf, 3),
        "scf_star": round(found.scf_star, 3),
        "unsampled": round(found.unsampled, 4),
        "cpu_s": round(usage.cpu_s, 1),
    }


def main() -> None:
    """Measure all sets; keep and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tools(parser)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--groups", nargs="+", default=["C1", "C4", "T"], choices=list(SIZES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "views.jsonl")
    tools = parser.parse_args()
    made_with, by = stamp(), names(tools)
    print(f"{'group':6}{'preferred':>10}{'cFAR':>8}{'SCF':>8}{'SCF*':>8}{'unsampled':>11}{'CPU s':>8}")
    for group in tools.groups:
        for pull in PULLS:
            found = measure(group, pull, tools)
            append(
                tools.results, {"benchmark": "views", "case": f"{group}-{pull}", **found, **by, "made_with": made_with}
            )
            print(
                f"{group:6}{pull:>10}{found['cfar']:>8.2f}{found['scf']:>8.2f}{found['scf_star']:>8.2f}"
                f"{found['unsampled']:>11.3f}{found['cpu_s']:>8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
