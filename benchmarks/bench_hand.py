"""Which hand does `resmfn evaluate --model` find: maps of models at 3.5 to 8 Å, of either hand, turned and with noise.

Each map is the density of the model, turned, moved, mirrored every second time, and white noise: its
correlation with the truth is 0.5 at the resolution that is stated. At the finest, each map is asked of the molecule
before as well: one that is no relative fits neither hand and must be called undecided; another state, or a protein of
the same fold, may tell the right hand, and never the wrong one. Adenylate kinase comes with the package; other models
are those of a folder (``--models``, or RESMFN_MODELS), and are left out where there is none.

    python benchmarks/bench_hand.py --models FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from records import append, stamp

from resmfn.core.random import make_generator
from resmfn.data import write_map
from resmfn.data.models import density_from_model, is_model, read_atoms
from resmfn.evaluation import MapAlignment, apply_alignment
from resmfn.fourier import fftn_centered, shell_average
from resmfn.rotations import random_rotations

RESULTS = Path(__file__).parent / "results" / "hand.jsonl"
RESOLUTIONS = (3.5, 5.0, 6.5, 8.0)
MOST_MODELS = 6
BOX = 80


def noisy_map(density: torch.Tensor, pixel_size: float, resolution: float, hand: int, seed: int) -> torch.Tensor:
    """Return a density turned, moved and of either hand, with noise that makes its FSC with the truth 0.5 there."""
    generator = make_generator(seed)
    rotation = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    shift = 3 * pixel_size * torch.randn(3, generator=generator, dtype=torch.float64)
    turned = apply_alignment(density, MapAlignment(rotation, shift, hand, 1.0, 0.0, pixel_size))
    power = shell_average(fftn_centered(turned.double()).abs().square(), BOX)
    shell = min(round(BOX * pixel_size / resolution), BOX // 2 - 1)
    noise = math.sqrt(3 * float(power[shell]) / turned.numel())  # signal to noise 1/3: FSC with the truth 1/2
    return turned + noise * torch.randn(turned.shape, generator=generator)


def models_in(folder: Path | None) -> list[str]:
    """Return the built-in molecule and, of a folder, the models that can be read, the smallest first."""
    found = ["4ake"]
    for path in sorted((folder or Path("absent")).glob("*"), key=lambda path: path.stat().st_size):
        if is_model(path) and "4ake" not in path.name and "adk" not in path.name and len(found) < MOST_MODELS:
            found.append(str(path))
    return found


def judged(folder: Path, volume: torch.Tensor, pixel_size: float, model: str) -> dict:
    """Write a map, run the command, return what evaluation.json says of the hand."""
    write_map(folder / "map.mrc", volume, pixel_size)
    command = [sys.executable, "-m", "resmfn", "evaluate", str(folder / "map.mrc"), "--model", model]
    subprocess.run([*command, "--out", str(folder), "--no-figure"], capture_output=True, check=True)
    return json.loads((folder / "evaluation.json").read_text())["hand"]


def main() -> None:
    """Try all models at all resolutions; keep and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=os.environ.get("RESMFN_MODELS"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    made_with, wrong, undecided = stamp(), 0, 0
    names = models_in(None if options.models is None else Path(options.models))
    print(f"{'model':20}{'Å':>6}{'hand':>6}{'found':>7}{'margin':>9}{'sigma':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(names):
            largest = max(read_atoms(model).centered().radius for model in {name, names[i - 1] if i else name})
            pixel_size = max(1.6, 2.3 * largest / BOX)  # holds the other molecule as well
            density = density_from_model(name, BOX, pixel_size)
            for j, resolution in enumerate(RESOLUTIONS):
                hand = 1 if (i + j) % 2 else -1
                volume = noisy_map(density, pixel_size, max(resolution, 2.1 * pixel_size), hand, seed=10 * i + j)
                for model in (name, *([names[i - 1]] if j == 0 and i > 0 else [])):
                    try:
                        found = judged(Path(folder), volume, pixel_size, model)
                    except subprocess.CalledProcessError as error:
                        print(f"{Path(model).name:20}{resolution:>6.1f}  {error.stderr.decode().strip()}")
                        continue
                    undecided += found["hand"] == 0 and model == name
                    wrong += found["hand"] not in (0, hand)
                    record = {
                        "benchmark": "hand", "case": Path(model).name, "resolution": resolution, "is": hand,
                        "map_of": Path(name).name, "found": found["hand"], "margin": found["margin"],
                        "significance": found["significance"], "made_with": made_with,
                    }  # fmt: skip
                    append(options.out, record)
                    print(
                        f"{Path(model).name:20}{resolution:>6.1f}{hand:>6}{found['hand']:>7}{found['margin']:>9.3f}"
                        f"{found['significance']:>8.1f}{'' if model == name else '   map of ' + Path(name).name}",
                        flush=True,
                    )
    print(f"{wrong} wrong, {undecided} undecided")


if __name__ == "__main__":
    main()
