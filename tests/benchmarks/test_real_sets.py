"""What the benchmark of real sets builds and counts: assemblies that have their symmetry, errors modulo it."""

import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from resmfn.core import make_generator
from resmfn.rotations import point_group, random_rotations

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench_real_sets


def atoms(path: Path) -> np.ndarray:
    """Return the positions (n, 3) of a model in Å, in a fixed order."""
    found = [cra.atom.pos.tolist() for cra in gemmi.read_structure(str(path))[0].all()]
    return np.array(sorted(found, key=lambda xyz: [round(x, 1) for x in xyz]))


@pytest.mark.parametrize("group", bench_real_sets.OFFSETS)
def test_an_assembly_looks_alike_from_every_pose_of_its_group(tmp_path, group) -> None:
    unit = gemmi.Structure()
    unit.add_model(gemmi.Model(1))
    chain = unit[0].add_chain("A")
    for number, xyz in enumerate([(0.31, 1.27, 2.13), (3.57, -1.41, 0.73), (1.19, 4.33, -2.51)], start=1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*xyz)
        residue.add_atom(atom)
        chain.add_residue(residue)
    unit.setup_entities()
    unit.write_pdb(str(tmp_path / "unit.pdb"))
    bench_real_sets.write_assembly(
        tmp_path / "unit.pdb", group, bench_real_sets.OFFSETS[group], tmp_path / "assembly.pdb"
    )
    found = atoms(tmp_path / "assembly.pdb")
    assert len(found) == 3 * len(point_group(group)) == 12
    for turn in point_group(group).numpy():
        distance = np.linalg.norm(found[:, None] - found @ turn.T, axis=2)
        assert distance.min(axis=1).max() < 0.01
    assert np.linalg.norm(found[:, None] - found[None] + 100 * np.eye(12)[..., None], axis=2).min() > 1


def test_errors_are_counted_modulo_the_group_after_the_best_rotation_and_hand() -> None:
    generator = make_generator(3)
    true = random_rotations(60, generator=generator, dtype=torch.float64)
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    group = point_group("C4")
    member = group[torch.arange(60) % 4]
    estimated = true @ member @ frame
    assert float(bench_real_sets.errors_modulo(estimated, true, "C4").max()) < 1e-3
    assert float(bench_real_sets.errors_modulo(estimated, true, "C1").median()) > 1
    flip = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64).diag()
    assert float(bench_real_sets.errors_modulo(-flip @ estimated, true, "C4").max()) < 1e-3
