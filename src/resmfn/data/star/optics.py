"""The columns of a RELION particle file that describe image formation: CTF, aberrations, magnification, processing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.star.metadata import Metadata
from resmfn.physics.aberrations import coma_of_beam_tilt
from resmfn.physics.ctf import electron_wavelength
from resmfn.physics.optics import Optics

DEFOCUS_COLUMNS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
MICROSCOPE_COLUMNS = {
    "voltage": "rlnVoltage",
    "spherical_aberration": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}
TILT_COLUMNS = ("rlnBeamTiltX", "rlnBeamTiltY")
ODD_COLUMN, EVEN_COLUMN = "rlnOddZernike", "rlnEvenZernike"
MAGNIFICATION_COLUMNS = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
SCALE_COLUMN = "rlnCtfScalefactor"
PREMULTIPLIED_COLUMN = "rlnCtfDataAreCtfPremultiplied"
PHASE_FLIPPED_COLUMN = "rlnCtfDataArePhaseFlipped"
#: Field of Optics -> its column, and its value where the column is absent (None: the column must be there).
_COLUMNS: dict[str, tuple[str, float | None]] = {
    "defocus_u": ("rlnDefocusU", None),
    "defocus_v": ("rlnDefocusV", None),
    "defocus_angle": ("rlnDefocusAngle", None),
    "phase_shift": ("rlnPhaseShift", 0.0),
    "b_factor": ("rlnCtfBfactor", 0.0),
    **{field: (column, None) for field, column in MICROSCOPE_COLUMNS.items()},
}
_LARGEST_STRETCH = 0.2  # of a magnification matrix: lenses distort by some percent
_MOST_COEFFICIENTS = 64  # keeps broken lists out of memory


def find_optics(metadata: Metadata, dtype: torch.dtype) -> Optics | None:
    """Return the optics of each particle, or None if the file has no defocus: images without CTF."""
    if not any(column in metadata for column in DEFOCUS_COLUMNS):
        return None
    columns = {}
    for name, (column, default) in _COLUMNS.items():
        if default is not None and column not in metadata:
            values = np.full(len(metadata), default)
        else:
            values = metadata.numbers(column)
        columns[name] = torch.from_numpy(values)
    if (columns["voltage"] <= 0).any():
        raise InputError(f"{metadata.path}: rlnVoltage must be positive; give it in kV")
    contrast = columns["amplitude_contrast"]
    if ((contrast < 0) | (contrast > 1)).any():
        cause = " (percent? RELION's is a fraction)" if contrast.max() > 1 else ""
        got = float(contrast.max() if contrast.max() > 1 else contrast.min())
        raise InputError(
            f"{metadata.path}: rlnAmplitudeContrast must lie between 0 and 1, got {got:g}{cause}; correct it"
        )
    return _with_further_terms(metadata, Optics(**columns)).to(dtype=dtype)


def _with_further_terms(metadata: Metadata, optics: Optics) -> Optics:
    """Return the optics with what few files have; a term that does nothing in any row is left out."""
    found: dict[str, Tensor] = {}
    if SCALE_COLUMN in metadata:
        scale = torch.from_numpy(metadata.numbers(SCALE_COLUMN))
        if not bool((scale > 0).all()):
            raise InputError(
                f"{metadata.path}: {SCALE_COLUMN} must be positive, got {float(scale.min()):g}; correct it"
            )
        found |= {"scale": scale} if bool((scale != 1).any()) else {}
    even, odd = _coefficients(metadata, EVEN_COLUMN), _odd_coefficients(metadata, optics)
    found |= {"even_aberration": even} if bool(even.any()) else {}
    found |= {"odd_aberration": odd} if bool(odd.any()) else {}
    magnification = _magnification(metadata)
    if magnification is not None and bool((magnification != torch.eye(2, dtype=torch.float64)).any()):
        found["magnification"] = magnification
    for name, column in (("premultiplied", PREMULTIPLIED_COLUMN), ("phase_flipped", PHASE_FLIPPED_COLUMN)):
        if column in metadata and (yes := truths(metadata, column)).any():
            found[name] = torch.from_numpy(yes)
    return replace(optics, **found)


def truths(metadata: Metadata, column: str) -> np.ndarray:
    """Return a column of 0 and 1 as (n,) bool."""
    values = metadata.numbers(column)
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{metadata.path}: {column} must be 0 or 1, got {values[~np.isin(values, (0, 1))][0]:g}")
    return values.astype(bool)


def _odd_coefficients(metadata: Metadata, optics: Optics) -> Tensor:
    """Return the coefficients (n, K) of odd Zernikes, the beam tilt's among them."""
    odd = _coefficients(metadata, ODD_COLUMN)
    tilt = [
        torch.from_numpy(metadata.numbers(column)) if column in metadata else torch.zeros(len(metadata)).double()
        for column in TILT_COLUMNS
    ]
    if not any(bool(axis.any()) for axis in tilt):
        return odd
    wavelength = electron_wavelength(optics.voltage)
    coma = coma_of_beam_tilt(torch.stack(tilt, dim=1), optics.spherical_aberration, wavelength)
    length = max(odd.shape[1], coma.shape[1])
    pad = torch.nn.functional.pad
    return pad(odd, (0, length - odd.shape[1])) + pad(coma, (0, length - coma.shape[1]))


def _coefficients(metadata: Metadata, column: str) -> Tensor:
    """Return the lists in a column, written ``[0.1,0.2]``, as (n, K) numbers, short ones filled up with zeros."""
    if column not in metadata:
        return torch.zeros(len(metadata), 0, dtype=torch.float64)
    cells, row_of = metadata.texts(column)
    lists = [_parse_list(metadata, column, cell) for cell in cells]
    table = torch.zeros(len(lists), max(map(len, lists), default=0), dtype=torch.float64)
    for row, numbers in enumerate(lists):
        table[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
    return table[torch.from_numpy(row_of)]


def _parse_list(metadata: Metadata, column: str, cell: str) -> list[float]:
    inside = cell.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    try:
        numbers = [float(text) for text in inside]
    except ValueError:
        numbers = [float("nan")]
    if not np.isfinite(numbers).all() or len(numbers) > _MOST_COEFFICIENTS:
        raise InputError(
            f"{metadata.path}: {column} must be a list of numbers as [0.1,0.2], got {cell[:40]!r}; correct it"
        )
    return numbers


def _magnification(metadata: Metadata) -> Tensor | None:
    if not any(column in metadata for column in MAGNIFICATION_COLUMNS):
        return None
    elements = []
    for column, default in zip(MAGNIFICATION_COLUMNS, (1.0, 0.0, 0.0, 1.0), strict=True):
        given = metadata.numbers(column) if column in metadata else np.full(len(metadata), default)
        elements.append(torch.from_numpy(given))
    matrices = torch.stack(elements, dim=1).reshape(-1, 2, 2)
    far = (matrices - torch.eye(2, dtype=torch.float64)).abs().amax(dim=(1, 2)) > _LARGEST_STRETCH
    if bool(far.any()):
        first = ", ".join(f"{value:g}" for value in matrices[far][0].flatten().tolist())
        raise InputError(
            f"{metadata.path}: the magnification matrix rlnMagMat00, 01, 10, 11 must be near 1, 0, 0, 1, got {first}; "
            "cryoSPARC's ctf/anisomag lacks the ones on the diagonal: add them"
        )
    return matrices


def defocus_columns(optics: Optics) -> dict[str, Tensor]:
    """Return the four columns of the optics that RELION keeps for each particle: defocus, its axis, phase shift."""
    return {
        "rlnDefocusU": optics.defocus_u,
        "rlnDefocusV": optics.defocus_v,
        "rlnDefocusAngle": optics.defocus_angle,
        "rlnPhaseShift": optics.phase_shift,
    }
