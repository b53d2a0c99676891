"""Other programs on the same images, in the same run, scored by the same program.

RELION 3.1 finds a first map de novo and refines it; both costs count, as both are in ours. Its schedule is cut to about
a third of its defaults, which would take 13 CPU hours: 40/60/15 iterations for 50/200/50, no search for shifts that the
images do not have, and a limit on significant poses. ASPIRE 0.14 gets the first 500 images. cryoDRGN 4.3 is made for
GPUs, and on a CPU is stopped at ``--limit-s``. How each is called stands in peers.py. Data and scores come from
independent programs, as in bench_accuracy.py. The table gives CPU seconds, for the machine may be shared.

A program that is not installed is named, with how to get it. Those in environments of their own are found by
``--aspire DIR`` and ``--cryodrgn DIR``, the folders of their executables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench_accuracy import CASES, Case, Usage, parser_of_cases, reconstruct, score, simulate
from judges import names
from peers import PEERS, SCHEDULES, Attempt, attempt, missing
from records import append, stamp


def cost(usage: list[Usage]) -> dict[str, float]:
    """Return what commands took together."""
    return {
        "cpu_s": round(sum(part.cpu_s for part in usage), 1),
        "wall_s": round(sum(part.wall_s for part in usage), 1),
        "peak_memory_mib": round(max(part.peak_memory_mib for part in usage)),
    }


def figures(case: Case, found: Attempt, data: Path, tools: argparse.Namespace) -> dict[str, float | str]:
    """Return accuracy and cost, or the cost at which it was stopped."""
    if found.map is None or found.star is None:
        return {"stopped": f"no map after {tools.limit_s} CPU s", **cost(found.usage)}
    scores = score(found.map, found.star, data, case, tools)
    return {
        "fsc05_unmasked_A": round(scores["unmasked"]["fsc05"], 3),
        "pose_median_deg": round(scores["pose"]["median"], 3),
        "n_images": scores["pose"]["n"],
        **cost(found.usage),
    }


def compare(name: str, seed: int, tools: argparse.Namespace) -> dict[str, object]:
    """Give the same images to all, one after the other, and score what they make of them."""
    out, case = Path(tools.out).resolve(), CASES[name]
    data = simulate(case, seed, out / f"data-{name}-{seed}", tools)
    mine = out / f"run-peers-{name}-{seed}"
    record: dict[str, object] = {"benchmark": "peers", "case": name, "seed": seed, "made_with": stamp(), **names(tools)}
    usage = reconstruct(case, seed, data, mine)
    ours = figures(case, Attempt([usage], mine / "map.mrc", mine / "particles.star"), data, tools)
    record["resmfn"] = ours
    for peer in tools.peers:
        where = getattr(tools, peer, None)
        if missing(peer, where):
            print(f"{peer}: not measured: {', '.join(missing(peer, where))} missing ({PEERS[peer].install})")
            continue
        found = attempt(peer, data, out / f"{peer}-{name}-{seed}", SCHEDULES[name], where, tools.limit_s)
        record[peer] = figures(case, found, data, tools)
    if "relion" in record:
        record["cpu_share"] = round(float(ours["cpu_s"]) / record["relion"]["cpu_s"], 3)  # type: ignore[index]
    return record


def table(record: dict[str, object]) -> str:
    """Return a record as Markdown, a program a line."""
    names = ("cpu_s", "peak_memory_mib", "n_images", "fsc05_unmasked_A", "pose_median_deg")
    lines = [
        "| program | CPU s | memory, MiB | images | FSC 0.5, Å | median pose error, ° |",
        "|---|---|---|---|---|---|",
    ]
    for program in ("resmfn", *PEERS):
        row = record.get(program)
        if isinstance(row, dict):
            cells = [str(row.get(name, "")) for name in names]
            cells[3] = row.get("stopped", cells[3])
            lines.append(f"| {program} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = parser_of_cases("benchmarks/results/peers.jsonl", list(SCHEDULES), ["n2000"], __doc__)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--aspire", type=Path, help="folder of ASPIRE's executable")
    parser.add_argument("--cryodrgn", type=Path, help="folder of cryoDRGN's executables")
    parser.add_argument("--limit-s", type=int, default=1800, help="CPU seconds, at which another program is stopped")
    tools = parser.parse_args()
    for name in tools.cases:
        for seed in tools.seeds or CASES[name].seeds:
            record = compare(name, seed, tools)
            append(Path(tools.results), record)
            print(json.dumps(record, indent=1), flush=True)
            print(table(record))


if __name__ == "__main__":
    main()
