"""Compare two result files of one benchmark, case by case: what got slower, larger or less accurate.

Figures whose names end in a unit of cost or error (``_s``, ``_ms``, ``_mib``, ``_A``, ``_deg``, or ``_exponent``) are
better when they are smaller; ``share_``, ``r_``, ``psnr`` and ``ssim`` when they are larger; others are not judged.
Ends with exit code 1 if any figure is worse than before by more than the tolerance. Times of different machines are
not comparable: where the stamps name other processors or GPUs, times are shown and not judged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import records

SMALLER = ("_s", "_ms", "_us", "_mib", "_A", "_deg", "_exponent")
TIMES = ("_s", "_ms", "_us")
LARGER = ("share_", "r_", "psnr", "ssim", "speedup")


def main() -> None:
    """Compare, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.1, help="share by which a figure may be worse")
    given = parser.parse_args()
    rows = list(compare(records.read(given.before), records.read(given.after), given.tolerance))
    if not rows:
        sys.exit("the two files have no case in common")
    print(f"{'case':32}{'figure':44}{'before':>12}{'after':>12}{'ratio':>8}")
    for case, name, before, after, verdict in rows:
        ratio = f"{after / before:8.3f}" if before else f"{'':8}"
        print(f"{case:32}{name:44}{before:12.5g}{after:12.5g}{ratio}  {verdict}")
    sys.exit(any(verdict == "worse" for *_, verdict in rows))


def compare(before: list[dict], after: list[dict], tolerance: float) -> Iterator[tuple[str, str, float, float, str]]:
    """Yield case, figure, both values and a verdict for whatever both have; the last record of a case counts."""
    old = {_case(record): record for record in before}
    new = {_case(record): record for record in after}
    for case in [case for case in new if case in old]:
        same = _machine(old[case]) == _machine(new[case])
        first, second = dict(_figures(old[case])), dict(_figures(new[case]))
        for name in [name for name in second if name in first]:
            judged = same or not name.endswith(TIMES)
            yield case, name, first[name], second[name], _verdict(name, first[name], second[name], tolerance, judged)


def _verdict(name: str, before: float, after: float, tolerance: float, judged: bool) -> str:
    leaf = name.rsplit(".", 1)[-1]
    if not judged:
        return "another machine"
    if leaf.startswith(LARGER):
        return "worse" if after < before - tolerance * abs(before) else ""
    if leaf.endswith(SMALLER) or name.rsplit(".", 1)[0].endswith(SMALLER):
        return "worse" if after > before + tolerance * abs(before) else ""
    return ""


def _case(record: dict) -> str:
    names = [str(record[key]) for key in ("benchmark", "case", "seed") if key in record]
    return "/".join(names)


def _machine(record: dict) -> tuple[object, object]:
    made_with = record.get("made_with", {})
    return made_with.get("processor"), made_with.get("gpu")


def _figures(record: dict, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if name in ("made_with", "seed"):
            continue
        if isinstance(value, dict):
            yield from _figures(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, float(value)


if __name__ == "__main__":
    main()
