"""What runs say of the group that they were given, right or wrong, and what relaxing it finds of an odd subunit.

Molecules with and without a group are reconstructed with it, without it, and with it relaxed. Reported: what images
left out say of the group (``symmetry_test`` of summary.json), pose errors in C1 and up to the group, and the map's FSC
with the truth. The odd ring is four copies of a kinase of which one lacks its first domain.

    python benchmarks/bench_groups.py --models FOLDER
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from bench_accuracy import Case, reconstruct, score, simulate
from bench_real_sets import OFFSETS, UNIT, errors_modulo, write_assembly
from judges import add_tools, names
from records import append, stamp

from resmfn.data import read_particles

ADK, SECOND_DOMAIN = "adk_open.pdb", 213
"""A molecule without symmetry; of the kinase, the first residue of the second domain."""
QUICK = ("--shift-range", "0", "--n-starts", "2", "--network-steps", "2")
RING = (("--box", "64", "--pixel-size", "2.55"), ("--mask-diameter", "140"), 70.0)
SINGLE = (("--box", "64", "--pixel-size", "1.5"), ("--mask-diameter", "84"), 42.0)


@dataclass(frozen=True)
class Run:
    """A molecule, and the symmetry that it is reconstructed with."""

    molecule: str
    flags: tuple[str, ...]
    modulo: str
    """The group up to which poses are compared as well."""
    has_it: bool | None
    """Whether the molecule has the group that is asked for; None where none is."""


RUNS = {
    "C4 ring in C4": Run("C4", ("--symmetry", "C4"), "C4", True),
    "D2 tetramer in D2": Run("D2", ("--symmetry", "D2"), "D2", True),
    "adenylate kinase in C2": Run(ADK, ("--symmetry", "C2"), "C2", False),
    "adenylate kinase in C3": Run(ADK, ("--symmetry", "C3"), "C3", False),
    "adenylate kinase in D2": Run(ADK, ("--symmetry", "D2"), "D2", False),
    "odd ring in C4": Run("C4 odd", ("--symmetry", "C4"), "C4", False),
    "odd ring, C4 relaxed": Run("C4 odd", ("--relax-symmetry", "C4"), "C4", None),
    "odd ring in C1": Run("C4 odd", (), "C4", None),
}


def measure(name: str, tools: argparse.Namespace) -> dict:
    """Simulate, reconstruct and score one run."""
    asked = RUNS[name]
    model, (simulated, flags, radius) = asked.molecule, SINGLE if asked.molecule == ADK else RING
    if asked.molecule != ADK:
        group, *odd = asked.molecule.split()
        model = str(tools.out / f"groups-{asked.molecule.replace(' ', '-')}.pdb")
        tools.out.mkdir(parents=True, exist_ok=True)
        place, below = OFFSETS[group], SECOND_DOMAIN if odd else 0
        write_assembly(Path(tools.models) / UNIT, group, place, Path(model), lacks_below=below)
    case = Case(model, ("--n", str(tools.n), *simulated), (*flags, *QUICK, *asked.flags), radius)
    data = simulate(case, 0, tools.out / f"data-groups-{Path(model).stem}", tools)
    folder = tools.out / f"run-groups-{name.replace(' ', '-').replace(',', '')}"
    usage = reconstruct(case, 0, data, folder)
    summary = json.loads((folder / "summary.json").read_text())
    found, true = (
        read_particles(path, with_images=False).rotations
        for path in (folder / "particles.star", data / "particles_true.star")
    )
    errors = {g: errors_modulo(found, true, g) for g in ("C1", asked.modulo)}
    scores = score(folder / "map.mrc", folder / "particles.star", data, case, tools)
    return {
        "has_it": asked.has_it,
        "symmetry_test": summary["symmetry_test"],
        "warned": any("does not have" in warning for warning in summary["warnings"]),
        "pose_median_deg": round(float(errors["C1"].median()), 2),
        "share_within_10_deg": round(float((errors["C1"] < 10).double().mean()), 4),
        "pose_median_deg_up_to_group": round(float(errors[asked.modulo].median()), 2),
        "fsc05_A": round(scores["unmasked"]["fsc05"], 2),
        "half_map_fsc0143_A": summary["resolution_half_0143"],
        "cpu_s": round(usage.cpu_s, 1),
    }


def main() -> None:
    """Do all runs; keep and print what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tools(parser)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--cases", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "groups.jsonl")
    tools = parser.parse_args()
    made_with, by = stamp(), names(tools)
    print(f"{'':26}{'gain, nat':>16}{'warned':>8}{'pose':>8}{'< 10°':>8}{'up to':>8}{'FSC 0.5':>9}{'halves':>8}")
    for name in tools.cases:
        found = measure(name, tools)
        record = {"benchmark": "groups", "case": name, "n": tools.n, **found, **by, "made_with": made_with}
        append(tools.results, record)
        test = found["symmetry_test"]
        gain = "-" if test is None else f"{test['gain']:.2f} ± {test['gain_error']:.2f}"
        print(
            f"{name:26}{gain:>16}{found['warned']!s:>8}{found['pose_median_deg']:>7.2f}°"
            f"{found['share_within_10_deg']:>8.1%}{found['pose_median_deg_up_to_group']:>7.2f}°"
            f"{found['fsc05_A']:>9.2f}{found['half_map_fsc0143_A']:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
