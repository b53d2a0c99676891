"""Reading and writing a STAR file of 100,000 particles: CPU seconds and memory of a process that does nothing else.

Needs no data: the file is made here, with the columns that RELION's Refine3D writes and three optics groups.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from records import stamp

_COORDINATES = ("CoordinateX", "CoordinateY", "ImageName", "MicrographName", "OpticsGroup")
_CTF = ("CtfMaxResolution", "CtfFigureOfMerit", "DefocusU", "DefocusV", "DefocusAngle", "CtfBfactor", "CtfScalefactor")
_POSE = ("PhaseShift", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst", "ClassNumber")
_REFINED = ("NormCorrection", "LogLikeliContribution", "MaxValueProbDistribution", "NrOfSignificantSamples")
LABELS = [*_COORDINATES, *_CTF, *_POSE, *_REFINED, "RandomSubset", "GroupNumber"]
OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 opticsGroup1 300.000000 2.700000 0.100000 1.350000 256 2
2 opticsGroup2 200.000000 1.400000 0.070000 1.350000 256 2
3 opticsGroup3 300.000000 2.700000 0.100000 1.350000 256 2

"""


def make_file(path: Path, n: int) -> None:
    """Write a STAR file of n particles."""
    draw = random.Random(0)  # noqa: S311 - figures, not secrets
    whole = {"OpticsGroup", "ClassNumber", "NrOfSignificantSamples", "RandomSubset", "GroupNumber"}
    with path.open("w") as file:
        file.write(f"{OPTICS}\n# version 30001\n\ndata_particles\n\nloop_\n")
        file.writelines(f"_rln{label} #{number}\n" for number, label in enumerate(LABELS, start=1))
        for row in range(n):
            stack = f"Extract/job012/Movies/micrograph_{row // 250:05d}.mrcs"
            cells = [f"{draw.uniform(-180, 180):12.6f}" for _ in LABELS]
            for i, label in enumerate(LABELS):
                if label in whole:
                    cells[i] = f"{1 + row % (3 if label == 'OpticsGroup' else 2):12d}"
            cells[LABELS.index("ImageName")] = f"{row % 250 + 1:06d}@{stack}"
            cells[LABELS.index("MicrographName")] = stack.replace("Extract/job012", "MotionCorr/job002")
            file.write(" ".join(cells) + "\n")


def measure(path: Path) -> None:
    """Read, set new poses, write; print the figures as JSON. Runs in a process of its own."""
    import torch

    from resmfn.data import read_particles, write_particles

    torch.set_num_threads(1)
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [time.process_time()]
    particles = read_particles(path, with_images=False)
    times.append(time.process_time())
    write_particles(path.with_name("written.star"), particles)
    times.append(time.process_time())
    figures = {
        "n": len(particles),
        "columns": len(particles.table.columns),
        "file_mib": round(path.stat().st_size / 2**20, 1),
        "read_cpu_s": round(times[1] - times[0], 2),
        "write_cpu_s": round(times[2] - times[1], 2),
        "read_and_write_cpu_s": round(times[2] - times[0], 2),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "of_it_python_and_torch_mib": started // 1024,
    }
    print(json.dumps(figures))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="benchmarks/out")
    parser.add_argument("--results", default="benchmarks/results/star.json")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given, _ = parser.parse_known_args()
    if given.measure:
        measure(given.measure)
        return
    folder = Path(given.out) / "star"
    folder.mkdir(parents=True, exist_ok=True)
    make_file(folder / "particles.star", given.n)
    command = [sys.executable, __file__, "--measure", str(folder / "particles.star")]
    figures = {"benchmark": "star", "case": str(given.n), "made_with": stamp()}
    figures |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    Path(given.results).parent.mkdir(parents=True, exist_ok=True)
    Path(given.results).write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
