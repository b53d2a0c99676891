"""How few images are enough: by molecule and SNR, the least number of images at which every seed is solved.

Numbers of images are tried from the smallest on. A run counts as solved where its map agrees with the truth (FSC 0.5 in
a mask) at ``SOLVED`` or finer; a number is given up at the first seed that is not. Sets and scores are those of other
programs, as for bench_classes.py, whose flags these are.
"""

from __future__ import annotations

import argparse
import json
import shutil

from bench_classes import Mixture, measure, tools_of
from records import append, stamp

MOLECULES = {
    "24kDa": ("adk_open.pdb", 84.0, "1.5"),
    "87kDa": ("3SN6.cif without R,N", 130.0, "2.4"),
    "300kDa": ("4zxb.cif", 210.0, "3.6"),
}
"""Adenylate kinase, a G protein, an insulin receptor with four Fab fragments; mask diameter and pixel size (A)."""
SNRS = ("0.1", "0.05", "0.03", "0.02", "0.01")
NUMBERS = (50, 100, 200, 400, 800, 1600, 3200, 6400)
SOLVED = 15.0
"""A, or 2.2 pixels where that is coarser. Random poses give 20 A and more of the smallest molecule."""


def is_solved(record: dict, pixel_size: float) -> bool:
    """Say whether the map of a run is that of the molecule."""
    found = record.get("fsc05_masked_A") or [float("inf")]
    return found[0] <= max(SOLVED, 2.2 * pixel_size)


def least(molecule: str, snr: str, numbers: list[int], tools: argparse.Namespace) -> dict:
    """Return the least number of images with which all seeds are solved, and what was tried."""
    model, mask_diameter, pixel_size = MOLECULES[molecule]
    tried: dict[int, list[float | None]] = {}
    for n in numbers:
        simulated = ("--n", str(n), "--box", "64", "--pixel-size", pixel_size, "--snr", snr)
        case = Mixture((model,), simulated, mask_diameter, float(pixel_size), "1")
        tried[n] = []
        for seed in tools.seeds:
            name = f"{molecule}-{snr}-{n}"
            record = measure(case, name, seed, tools, "least_n")
            for kind in ("data", "run"):
                shutil.rmtree(tools.out / f"{kind}-{name}-{seed}")
            print(json.dumps(record), flush=True)
            tried[n].append((record.get("fsc05_masked_A") or [None])[0])
            if not is_solved(record, float(pixel_size)):
                break
        else:
            return {"least_n": n, "tried": tried}
    return {"least_n": None, "tried": tried}


def main() -> None:
    """Measure the cells of the table that are asked for."""
    parser = tools_of("least_n", __doc__)
    parser.add_argument("--molecules", nargs="+", choices=MOLECULES, default=list(MOLECULES))
    parser.add_argument("--snrs", nargs="+", choices=SNRS, default=list(SNRS))
    parser.add_argument("--numbers", nargs="+", type=int, default=list(NUMBERS))
    parser.set_defaults(seeds=[0, 1, 2, 3, 4])
    tools = parser.parse_args()
    tools.out.mkdir(parents=True, exist_ok=True)
    for molecule in tools.molecules:
        for snr in tools.snrs:
            cell = {"benchmark": "least_n", "case": f"{molecule} {snr}", "made_with": stamp()}
            record = {**cell, **least(molecule, snr, tools.numbers, tools)}
            append(tools.results, record)
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
