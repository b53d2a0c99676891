"""Atomic models to densities: the right atoms, in the right place, with the right transform."""

import gzip
import math

import gemmi
import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data.models import Atoms, density_from_model, element_from_name, is_model, read_atoms

ATOM_LINES = [
    "ATOM      1  N   MET A   1      11.000   6.000   2.000  1.00 30.00           N",
    "ATOM      2  CA  MET A   1      12.500   6.000   2.000  1.00 30.00           C",
    "ATOM      3  SD  MET A   1      13.000   7.500   2.000  1.00 30.00           S",
    "ATOM      4  HA  MET A   1      12.500   6.500   2.900  1.00 30.00           H",
    "ATOM      5  CB AMET A   1      13.500   5.000   2.000  0.60 30.00           C",
    "ATOM      6  CB BMET A   1      13.600   4.900   2.000  0.40 30.00           C",
    "HETATM    7 CA    CA A   2      15.000   6.000   4.000  1.00 30.00          CA",
    "HETATM    8  O   HOH A   3      20.000  20.000  20.000  1.00 30.00           O",
]


def write_pdb(path, *, with_elements=True, left_aligned=False):
    lines = []
    for line in ATOM_LINES:
        if left_aligned:
            line = line[:12] + line[12:16].strip().ljust(4) + line[16:]
        lines.append(line if with_elements else line[:66] + "      4AKE")
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def write_atoms(path, elements, positions):
    lines = [
        f"HETATM{i:5d} {element + str(i):<4s} LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 30.00          {element:>2s}"
        for i, (element, (x, y, z)) in enumerate(zip(elements, positions, strict=True), start=1)
    ]
    path.write_text("\n".join([*lines, "END", ""]))
    return path


@pytest.mark.parametrize(("with_elements", "left_aligned"), [(True, False), (False, False), (False, True)])
def test_heavy_atoms_are_read_with_or_without_an_element_column(tmp_path, with_elements, left_aligned):
    path = write_pdb(tmp_path / "m.pdb", with_elements=with_elements, left_aligned=left_aligned)
    atoms = read_atoms(path)
    assert atoms.elements == ["N", "C", "S", "C", "Ca"]
    np.testing.assert_allclose(atoms.positions[3], [13.5, 5, 2])  # the first conformation


def test_packed_models_are_read(tmp_path):
    path = write_pdb(tmp_path / "m.pdb", with_elements=False, left_aligned=True)
    (tmp_path / "m.pdb.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_atoms(tmp_path / "m.pdb.gz").elements == ["N", "C", "S", "C", "Ca"]


def test_mmcif_is_read_as_pdb_is(tmp_path):
    path = write_pdb(tmp_path / "m.pdb")
    gemmi.read_structure(str(path)).make_mmcif_document().write_file(str(tmp_path / "m.cif"))
    atoms = read_atoms(tmp_path / "m.cif")
    assert atoms.elements == ["N", "C", "S", "C", "Ca"]
    np.testing.assert_allclose(atoms.positions, read_atoms(path).positions)


@pytest.mark.parametrize(
    ("atom", "residue", "element"),
    [
        ("CA", "ALA", "C"), ("CA", "CA", "Ca"), ("CD", "LYS", "C"), ("HG1", "THR", "H"), ("1HB", "ALA", "H"),
        ("NE2", "HSD", "N"), ("SE", "MSE", "Se"), ("SD", "MET", "S"), ("OT2", "GLY", "O"), ("P", "DA", "P"),
        ("FE", "HEM", "Fe"), ("NA", "HEM", "N"), ("ZN", "ZN", "Zn"), ("NA", "NA", "Na"), ("CL", "CLA", "Cl"),
        ("MG", "CLA", "Mg"), ("C5'", "DG", "C"), ("5'", "DG", "X"), ("K", "K", "K"),
    ],
)  # fmt: skip
def test_elements_are_told_from_names(atom, residue, element):
    assert element_from_name(atom, residue) == element


def test_built_in_molecule_is_adenylate_kinase():
    atoms = read_atoms("4ake")
    assert len(atoms) == 1656
    assert {element: atoms.elements.count(element) for element in set(atoms.elements)} == {
        "C": 1040,
        "N": 289,
        "O": 320,
        "S": 7,
    }
    assert atoms.centered().radius == pytest.approx(36.0, abs=0.01)
    assert is_model("4ake")
    assert not is_model("4ake.mrc")


@pytest.mark.shared
def test_built_in_molecule_is_the_file_it_says(shared):
    path = shared / "corpus" / "models" / "adk_open.pdb"
    atoms, ours = read_atoms(path), read_atoms("4ake")
    assert atoms.elements == ours.elements
    np.testing.assert_array_equal(atoms.positions, ours.positions)


def test_center_of_mass_is_the_origin():
    atoms = Atoms(["C", "O"], np.array([[1.0, 2.0, 3.0], [5.0, 2.0, -1.0]])).centered()
    carbon, oxygen = 12.011, 15.999
    np.testing.assert_allclose(atoms.positions[0] * carbon, -atoms.positions[1] * oxygen, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("box_size", "pixel_size"), [(24, 1.5), (25, 1.5), (16, 3.0), (40, 0.8)])
def test_density_has_the_transform_of_its_atoms(tmp_path, box_size, pixel_size):
    """The oracle is the sum over atoms of scattering factor, B-factor and phase; edge as documented."""
    elements = ["C", "N", "O", "S", "C"]
    positions = np.array([[3.0, 1, -2], [-1, 2, 4], [0, -3.5, 1], [2, 2, 2], [-4, 0, -1]])
    b_factor = 35.0
    density = density_from_model(write_atoms(tmp_path / "m.pdb", elements, positions), box_size, pixel_size, b_factor)
    mass = np.array([gemmi.Element(element).weight for element in elements])
    positions = positions - mass @ positions / mass.sum()

    k = np.arange(box_size) - box_size // 2
    z, y, x = np.meshgrid(k, k, k, indexing="ij")
    frequency = np.stack([x, y, z], axis=-1) / (box_size * pixel_size)
    squared = (frequency**2).sum(-1)
    expected = np.zeros(squared.shape, dtype=complex)
    for element, position in zip(elements, positions, strict=True):
        coefficients = gemmi.Element(element).c4322
        factor = sum(
            a * np.exp(-(b + b_factor) * squared / 4) for a, b in zip(coefficients.a, coefficients.b, strict=True)
        )
        expected += factor * np.exp(-2j * np.pi * (frequency @ position))
    edge = 0.5 - 0.5 * np.cos(np.pi * np.clip((1 - np.sqrt(x**2 + y**2 + z**2) / (box_size / 2)) / 0.1, 0, 1))
    expected *= edge
    found = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(density.double().numpy()))) * pixel_size**3
    assert density.shape == (box_size,) * 3
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_density_stands_at_the_origin_of_the_box():
    density = density_from_model("4ake", 48, 2.0).double()
    k = torch.arange(48, dtype=torch.float64) - 24
    centroid = [
        float((density.sum(dim=[i for i in range(3) if i != axis]) * k).sum() / density.sum()) for axis in range(3)
    ]
    assert centroid == pytest.approx([0, 0, 0], abs=0.05)  # scattering is not quite mass
    assert density.sum() > 0


def test_atoms_of_one_name_are_all_kept_without_conformations(tmp_path):
    line = ATOM_LINES[0]
    (tmp_path / "beads.pdb").write_text("\n".join([line, line.replace("11.000", "21.000"), "END", ""]))
    assert len(read_atoms(tmp_path / "beads.pdb")) == 2


def test_molecule_must_fit_the_box():
    with pytest.raises(
        InputError, match=r"4ake: the molecule \(diameter \d+ Å\) does not fit a box of 32 x 1\.5 = 48 Å"
    ):
        density_from_model("4ake", 32, 1.5)


def test_unreadable_models_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"none\.pdb: there is no such file; check the name \(built-in molecules: 4ake\)"
    ):
        read_atoms(tmp_path / "none.pdb")
    (tmp_path / "broken.cif").write_text("data_\nloop_\n_a\n_b\n1\n")
    with pytest.raises(InputError, match=r"broken\.cif: cannot be read as a model \(.*\); check the file"):
        read_atoms(tmp_path / "broken.cif")
    (tmp_path / "empty.pdb").write_text("REMARK nothing\nEND\n")
    with pytest.raises(InputError, match="only hydrogens and water"):
        read_atoms(tmp_path / "empty.pdb")
    (tmp_path / "water.pdb").write_text(ATOM_LINES[-1] + "\nEND\n")
    with pytest.raises(InputError, match="only hydrogens and water"):
        read_atoms(tmp_path / "water.pdb")
    strange = ATOM_LINES[0][:12] + " 5' " + ATOM_LINES[0][16:66]
    (tmp_path / "strange.pdb").write_text(strange + "\nEND\n")
    with pytest.raises(InputError, match=r"the element of atom .* is unknown; add the element column"):
        read_atoms(tmp_path / "strange.pdb")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n_atoms"),
    [("1ol5.pdb", 2277), ("pdb1ake.pdb", 1656), ("8zpm.cif", 3222), ("mmcif_4ake_scipion.cif", 3312)],
)
def test_models_of_other_programs_are_read(shared, name, n_atoms):
    atoms = read_atoms(shared / "corpus" / "models" / name)
    assert len(atoms) == n_atoms
    assert set(atoms.elements) <= {"C", "N", "O", "S", "P", "Mg"}
    assert math.isfinite(atoms.radius)
    assert torch.isfinite(torch.from_numpy(atoms.positions)).all()
