"""Which point group does `resmfn symmetry` find: assemblies with noise, pseudo-symmetric ones, noise alone, real maps.

Assemblies are copies of adenylate kinase about a point that is not the box's center, turned at random; half maps have
white noise of their own, so that they agree (FSC 0.5) to the resolution that is stated. Maps of the shared corpus are
tried where they are (``--shared``, or RESMFN_SHARED).

    python benchmarks/bench_symmetry.py
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import torch
from records import append, stamp

from resmfn.core.random import make_generator
from resmfn.data import write_map
from resmfn.data.models import Atoms, density_from_model, read_atoms
from resmfn.fourier import fftn_centered, shell_average
from resmfn.rotations import point_group, random_rotations

RESULTS = Path(__file__).parent / "results" / "symmetry.jsonl"


@dataclass(frozen=True)
class Case:
    """A simulated map, and what must be found."""

    name: str
    group: str
    """The copies that are put together."""
    expected: str
    pseudo: str | None = None
    """The larger group that must be named as a pseudo-symmetry."""
    box_size: int = 80
    pixel_size: float = 2.5
    resolution: float = 6.0
    offset: float = 38.0
    """Å, of a subunit from the center of the assembly."""
    tilt: float = 0.4
    """How far along z, of that."""


CASES = [
    Case("C1", "C1", "C1"),
    Case("C2", "C2", "C2"),
    Case("C4", "C4", "C4"),
    Case("C13", "C13", "C13", box_size=96, pixel_size=3.6, resolution=9.0, offset=120.0, tilt=0.1),
    Case("D2", "D2", "D2", offset=45.0),
    Case("D7", "D7", "D7", box_size=96, pixel_size=3.0, resolution=8.0, offset=75.0),
    Case("T", "T", "T", box_size=96, pixel_size=3.0, resolution=8.0, offset=75.0),
    Case("O", "O", "O", box_size=96, pixel_size=3.6, resolution=9.0, offset=100.0),
    Case("I", "I", "I", box_size=96, pixel_size=5.0, resolution=13.0, offset=165.0),
    Case("C4, one subunit cut", "C4", "C1", "C4", resolution=5.5),
    Case("D2 of two kinds", "D2", "C2", "D2", resolution=5.5, offset=45.0),
]


def assembled(case: Case, generator: torch.Generator) -> torch.Tensor:
    """Return the density (N, N, N) of a case without noise, off center and turned at random."""
    unit = read_atoms("4ake").centered()
    within, whole = random_rotations(2, generator=generator, dtype=torch.float64).numpy()
    place = case.offset * np.array([math.sqrt(1 - case.tilt**2), 0.0, case.tilt])
    elements, positions = [], []
    for i, turn in enumerate(point_group(case.group).numpy()):
        kept = np.ones(len(unit), bool)
        if case.pseudo is not None and (i == 1 if case.expected == "C1" else i >= 2):
            kept = np.arange(len(unit)) < 0.6 * len(unit)  # a subunit that lacks its second domain
        if case.expected == "C2" and case.pseudo == "D2":  # the pair (identity, twofold along z) stays whole
            kept = kept if abs(turn[2, 2] - 1) > 1e-6 else np.ones(len(unit), bool)
            kept = kept if abs(turn[2, 2] - 1) < 1e-6 else np.arange(len(unit)) < 0.6 * len(unit)
        elements += [e for e, k in zip(unit.elements, kept, strict=True) if k]
        positions.append((unit.positions[kept] @ within.T + place) @ turn.T)
    atoms = np.concatenate(positions) @ whole.T
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "assembly.cif"
        write_model(path, Atoms(elements, atoms))
        density = density_from_model(path, case.box_size, case.pixel_size)
    return torch.roll(density, (1, -2, 1), (0, 1, 2))


def write_model(path: Path, atoms: Atoms) -> None:
    """Write atoms as an mmCIF file."""
    residue = gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    for element, position in zip(atoms.elements, atoms.positions, strict=True):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos, atom.b_iso = element, gemmi.Element(element), gemmi.Position(*position), 40.0
        residue.add_atom(atom)
    chain, model, structure = gemmi.Chain("A"), gemmi.Model(1), gemmi.Structure()
    chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.make_mmcif_document().write_file(str(path))


def halves_of(density: torch.Tensor, shell: float, generator: torch.Generator) -> list[torch.Tensor]:
    """Return two maps with white noise of their own, whose correlation is 0.5 in a shell."""
    power = shell_average(fftn_centered(density.double()).abs().square(), density.shape[0])
    noise = math.sqrt(float(power[round(shell)]) / density.numel())
    return [density + noise * torch.randn(density.shape, generator=generator) for _ in range(2)]


def simulated(folder: Path, seed: int) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """Write each case's maps; yield its name, group, pseudo-symmetry and the arguments of the command."""
    for case in CASES:
        generator = make_generator(seed)
        density = assembled(case, generator)
        shell = case.box_size * case.pixel_size / case.resolution
        yield (
            case.name,
            case.expected,
            case.pseudo,
            _written(folder, halves_of(density, shell, generator), case.pixel_size),
        )
    generator = make_generator(seed)
    noise = [torch.randn(64, 64, 64, generator=generator) for _ in range(2)]
    yield "noise", "C1", None, _written(folder, noise, 3.0)


def _written(folder: Path, halves: list[torch.Tensor], pixel_size: float) -> list[str]:
    names = [str(folder / name) for name in ("map.mrc", "half1.mrc", "half2.mrc")]
    for name, volume in zip(names, [(halves[0] + halves[1]) / 2, *halves], strict=True):
        write_map(name, volume, pixel_size)
    return names


def real(shared: Path) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """Yield the maps of the corpus whose group is known; single maps, without halves."""
    maps = shared / "corpus" / "maps"
    yield "corpus 6824.mrc", "C4", None, [str(maps / "6824.mrc")]
    yield "corpus 70S ribosome", "C1", None, [str(maps / "clean70SRibosome_vol_65p.mrc"), "--pixel-size", "5"]
    yield "corpus EMD-5625", "C1", None, [str(maps / "emd_5625.map")]
    yield "ferritin model", "O", None, [str(shared / "real" / "apoferritin_10146" / "ferritin_model_64.mrc")]


def measure(arguments: list[str]) -> tuple[dict, float]:
    """Run the command; what it found, and its CPU seconds."""
    before = os.times()
    command = [sys.executable, "-m", "resmfn", "symmetry", *arguments, "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(printed), seconds


def main() -> None:
    """Try all maps, keep and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("RESMFN_SHARED"), help="folder of shared data")
    parser.add_argument("--cases", nargs="+", help="names of some maps, as the table has them; by default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    made_with = stamp()
    print(f"{'map':26}{'is':>5}{'found':>7}{'pseudo':>18}{'agreement':>11}{'limit':>9}{'CPU s':>7}")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            cases = [simulated(Path(folder), seed)]
            if options.shared is not None and seed == options.seeds[0]:
                cases.append(real(Path(options.shared)))
            for name, group, pseudo, arguments in (entry for listed in cases for entry in listed):
                if options.cases and name not in options.cases:
                    continue
                start = time.perf_counter()
                found, seconds = measure(arguments)
                named = None if found["pseudo"] is None else found["pseudo"]["name"]
                right = found["group"]["name"] == group and named == pseudo
                wrong += not right
                record = {
                    "benchmark": "symmetry", "case": name, "seed": seed, "is": group, "is_pseudo": pseudo,
                    "found": found["group"]["name"], "found_pseudo": named, "right": right, "cpu_seconds": seconds,
                    "seconds": time.perf_counter() - start, "result": found, "made_with": made_with,
                }  # fmt: skip
                append(options.out, record)
                said = "" if named is None else f"{named} to {found['pseudo']['resolution']:.1f} Å"
                print(
                    f"{name:26}{group:>5}{found['group']['name']:>7}{said:>18}{found['group']['agreement']:>11.2f}"
                    f"{found['limit']:>7.1f} Å{seconds:>7.1f}{'' if right else '  WRONG'}",
                    flush=True,
                )
    print(f"{wrong} wrong")


if __name__ == "__main__":
    main()
