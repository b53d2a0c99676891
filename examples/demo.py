"""Judge the demonstration: print what an evaluated run reached, and fail where that is too little.

Run as ``python examples/demo.py demo/run`` after ``resmfn reconstruct`` and ``resmfn evaluate``: it reads the files
that they left in the run folder.
"""

import json
import math
import sys
from pathlib import Path

WORST_RESOLUTION = 4.2
"""Å, FSC 0.5 against the truth, no mask."""
WORST_ROTATION_ERROR = 4.0
"""Degrees, median over all images."""


def main(run: Path) -> int:
    """Print the figures of an evaluated run; return 1 if one of them misses its limit, else 0."""
    scores = json.loads((run / "evaluation.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    resolution = scores["fsc"]["unmasked"]["resolution_05"] or math.inf
    rotation_error = scores["poses"]["median"]
    print(f"map against truth, FSC 0.5   {resolution:6.2f} Å      (limit {WORST_RESOLUTION} Å)")
    print(f"median rotation error        {rotation_error:6.2f} degrees (limit {WORST_ROTATION_ERROR} degrees)")
    print(f"half maps, FSC 0.143         {summary['resolution_half_0143']:6.2f} Å")
    print(f"time of the reconstruction   {summary['seconds']:6.0f} s      ({summary['cpu_seconds']:.0f} s of CPU)")
    print(f"look at: {run / 'evaluation.png'}, and {run / 'map_filtered.mrc'} in a viewer of maps")
    missed = [
        f"{name} is {value:.2f}, worse than {limit}"
        for name, value, limit in (
            ("FSC 0.5 in Å", resolution, WORST_RESOLUTION),
            ("median rotation error in degrees", rotation_error, WORST_ROTATION_ERROR),
        )
        if not value <= limit
    ]
    print(f"The demonstration failed: {'; '.join(missed)}." if missed else "The demonstration succeeded.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
