"""From an atomic model to its electron-scattering density."""

from __future__ import annotations

import csv
import gzip
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import gemmi
import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.fourier import centered_indices

BUILT_IN_MOLECULES = ("4ake",)
MODEL_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdb.gz", ".ent.gz", ".cif.gz", ".mmcif.gz")

_OVERSAMPLING = 2  # of the drawn density; no comparison recorded
_SAMPLES_PER_SIGMA = 1.16  # of the narrowest Gaussian on the fine grid: errors of the sampled density below 1e-3
_CUTOFF = 1e-5  # gemmi draws an atom as far as its density is above this
_SOFT_EDGE = 0.1  # of Nyquist, over which the density is taken to zero
_LARGEST_SHARE = 0.95  # of the box that the molecule's diameter may take
_TWO_LETTER_ELEMENTS = ("BR", "CL", "FE", "MG", "MN", "ZN")
_NO_ELEMENT = "X"


@dataclass(frozen=True)
class Atoms:
    """The heavy atoms of one molecule."""

    elements: list[str]  #: symbols
    positions: np.ndarray  #: (n, 3) x, y, z in Å

    def __len__(self) -> int:
        return len(self.elements)

    def centered(self) -> Atoms:
        """Return the same atoms with their center of mass at 0."""
        mass = np.array([gemmi.Element(element).weight for element in self.elements])
        return Atoms(self.elements, self.positions - mass @ self.positions / mass.sum())

    @property
    def radius(self) -> float:
        """Distance in Å of the farthest atom from 0."""
        return float(np.linalg.norm(self.positions, axis=1).max())


def is_model(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is an atomic model: a built-in name, or a file with a model's suffix."""
    return str(source) in BUILT_IN_MOLECULES or str(source).lower().endswith(MODEL_SUFFIXES)


def density_from_model(
    source: str | os.PathLike[str], box_size: int, pixel_size: float, b_factor: float = 40.0
) -> Tensor:
    """Return the electron-scattering density of a molecule, center of mass at voxel ``box_size // 2``.

    Each atom is the Fourier transform of its electron scattering factor (five Gaussians) with one B-factor for all;
    the density is sampled twice as finely as asked, and its Fourier transform cropped, so that voxels do not alias.
    A cosine edge over the last tenth before Nyquist keeps the corners of Fourier space empty.

    Parameters
    ----------
    source
        A .pdb or .cif file, plain or .gz, or the name of a built-in molecule ("4ake"). Waters and hydrogens are left
        out; of alternative conformations the first is taken.
    box_size
        Voxels along each side.
    pixel_size
        Å per voxel.
    b_factor
        Å^2, of every atom.

    Returns
    -------
    Tensor
        (box_size,) * 3 as [z, y, x], float32, positive (white) on zero; scattering density in 1/Å^2 (its integral is
        the sum of f_e(0) in Å).

    Raises
    ------
    InputError
        The file cannot be read, has no heavy atoms or unknown elements, or the molecule does not fit the box.

    References
    ----------
    Electron scattering factors: International Tables for Crystallography C (2004), table 4.3.2.2, as in gemmi.
    """
    atoms = read_atoms(source).centered()
    side = box_size * pixel_size
    if 2 * atoms.radius > _LARGEST_SHARE * side:
        raise InputError(
            f"{source}: the molecule (diameter {2 * atoms.radius:.0f} Å) does not fit a box of {box_size} x "
            f"{pixel_size:g} = {side:.0f} Å; raise --box-size or --pixel-size (a side of {2.5 * atoms.radius:.0f} Å is "
            "comfortable)"
        )
    # Sharp atoms on a coarse grid would alias: draw them blurred, and take the blur off in Fourier space.
    spacing = pixel_size / _OVERSAMPLING
    blur = max(0.0, 8 * math.pi**2 * (_SAMPLES_PER_SIGMA * spacing) ** 2 - b_factor)
    fine = _sample_density(atoms, box_size, pixel_size, b_factor, blur)
    return _crop_and_sharpen(fine, box_size, pixel_size, blur)


def _sample_density(atoms: Atoms, box_size: int, pixel_size: float, b_factor: float, blur: float) -> Tensor:
    """Return the blurred density on the fine grid, [z, y, x], center of mass at coarse voxel box_size // 2."""
    calculator = gemmi.DensityCalculatorE()
    calculator.blur, calculator.cutoff, calculator.d_min, calculator.rate = blur, _CUTOFF, pixel_size, 1
    side = box_size * pixel_size
    calculator.grid.set_unit_cell(gemmi.UnitCell(side, side, side, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_size(*(3 * [_OVERSAMPLING * box_size]))
    positions = atoms.positions + (box_size // 2) * pixel_size
    try:
        calculator.add_model_density_to_grid(_gemmi_model(atoms.elements, positions, b_factor))
    except RuntimeError as error:
        raise InputError(f"the model's density cannot be computed ({error}); remove atoms of rare elements") from error
    return torch.from_numpy(np.array(calculator.grid.array, dtype=np.float32).transpose(2, 1, 0).copy())


def _gemmi_model(elements: list[str], positions: np.ndarray, b_factor: float) -> gemmi.Model:
    residue = gemmi.Residue()
    for element, position in zip(elements, positions, strict=True):
        atom = gemmi.Atom()
        atom.element, atom.pos, atom.b_iso, atom.occ = gemmi.Element(element), gemmi.Position(*position), b_factor, 1.0
        residue.add_atom(atom)
    chain, model = gemmi.Chain("A"), gemmi.Model(1)
    chain.add_residue(residue)
    model.add_chain(chain)
    return model


def _crop_and_sharpen(fine: Tensor, box_size: int, pixel_size: float, blur: float) -> Tensor:
    """Crop the transform to the coarse grid, undo the blur, and apply the soft edge below Nyquist."""
    spectrum = torch.fft.rfftn(fine)
    kept = torch.cat((torch.arange((box_size + 1) // 2), torch.arange(-(box_size // 2), 0)))
    columns = box_size // 2 + 1
    spectrum = spectrum[kept][:, kept][:, :, :columns]
    k = torch.fft.ifftshift(centered_indices(box_size))
    squared = k[:, None, None] ** 2 + k[None, :, None] ** 2 + torch.arange(columns) ** 2
    of_nyquist = squared.sqrt() / (box_size / 2)
    edge = 0.5 - 0.5 * torch.cos(math.pi * ((1 - of_nyquist) / _SOFT_EDGE).clamp(0, 1))
    sharpening = torch.exp(0.25 * blur * squared.clamp(max=(box_size / 2) ** 2) / (box_size * pixel_size) ** 2)
    cropped = spectrum * (edge * sharpening / _OVERSAMPLING**3)
    return torch.fft.irfftn(cropped, s=(box_size,) * 3)


def read_atoms(source: str | os.PathLike[str]) -> Atoms:
    """Read the heavy atoms of a model: a .pdb or .cif file, plain or .gz, or a built-in molecule's name.

    Where a PDB file has no element column (77-78), elements are inferred from the names of atoms and residues: CA is a
    carbon, not calcium.
    """
    if str(source) in BUILT_IN_MOLECULES:
        return _read_table(f"{source}.csv")
    path = Path(source)
    if not path.is_file():
        built_in = ", ".join(BUILT_IN_MOLECULES)
        raise InputError(f"{path}: there is no such file; check the name (built-in molecules: {built_in})")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a model ({str(error).splitlines()[0]}); check the file") from error
    structure.remove_waters()
    if not len(structure):
        raise InputError(f"{path}: the file has no atoms; give a .pdb or .cif model")
    elements, positions = _heavy_atoms(path, structure[0], trusts_elements=_states_elements(path))
    if not elements:
        raise InputError(f"{path}: the file has only hydrogens and water; give a .pdb or .cif model")
    return Atoms(elements, np.array(positions))


def _read_table(name: str) -> Atoms:
    table = files("resmfn.data").joinpath("molecules", name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    positions = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    return Atoms([row["element"] for row in rows], positions)


def _heavy_atoms(path: Path, model: gemmi.Model, *, trusts_elements: bool) -> tuple[list[str], list[list[float]]]:
    elements, positions = [], []
    for cra in _first_conformations(model):
        element = cra.atom.element.name
        if not trusts_elements or element == _NO_ELEMENT:
            element = element_from_name(cra.atom.name, cra.residue.name)
        if element == _NO_ELEMENT:
            where = f"{cra.atom.name} of {cra.residue.name} {cra.residue.seqid}"
            raise InputError(f"{path}: the element of atom {where} is unknown; add the element column to the file")
        if element not in ("H", "D"):
            elements.append(element)
            positions.append(cra.atom.pos.tolist())
    return elements, positions


def _first_conformations(model: gemmi.Model) -> Iterator[gemmi.CRA]:
    """Yield the atoms without second conformations, which some files mark by nothing but name and occupancy."""
    conformation: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str, str]] = set()
    for cra in model.all():
        place = (cra.chain.name, str(cra.residue.seqid))
        if cra.atom.has_altloc():
            if conformation.setdefault(place, cra.atom.altloc) != cra.atom.altloc:
                continue
        elif cra.atom.occ < 1 and (*place, cra.atom.name) in seen:
            continue
        seen.add((*place, cra.atom.name))
        yield cra


def _states_elements(path: Path) -> bool:
    """Tell whether the file says what elements its atoms are; mmCIF always does, PDB files in columns 77-78."""
    if ".cif" in path.name.lower() or ".mmcif" in path.name.lower():
        return True
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding="latin-1") as lines:
        return _any_element(lines)


def _any_element(lines: Iterable[str]) -> bool:
    return any(line[76:78].strip().isalpha() for line in lines if line.startswith(("ATOM", "HETATM")))


def element_from_name(atom_name: str, residue_name: str) -> str:
    """Return the element of an atom of a biological molecule by its name, or "X" where the name does not tell.

    A residue that is named like its atom is an ion (CA of CA is calcium); SE stands for selenium in
    selenomethionine and selenocysteine; a few metals and halogens keep both letters outside amino acids and
    nucleotides; everything else is its first letter after digits.
    """
    letters = atom_name.strip().lstrip("0123456789'\"*").upper()
    residue = residue_name.strip().upper()
    alphabetic = "".join(c for c in letters if c.isalpha())
    if alphabetic and alphabetic == residue.rstrip("0123456789+-") and gemmi.Element(alphabetic).atomic_number > 0:
        return gemmi.Element(alphabetic).name
    if letters.startswith("SE") and residue in ("MSE", "SEC", "CSE"):
        return "Se"
    standard = gemmi.find_tabulated_residue(residue)
    if letters[:2] in _TWO_LETTER_ELEMENTS and not (standard.is_amino_acid() or standard.is_nucleic_acid()):
        return gemmi.Element(letters[:2]).name
    return gemmi.Element(letters[:1]).name if letters[:1] else _NO_ELEMENT
