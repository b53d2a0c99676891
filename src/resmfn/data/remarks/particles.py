"""Remarks on a particle file: notes for its user, and reasons why its images cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resmfn.data.remarks.doubts import doubts
from resmfn.data.star.metadata import Metadata, parse_numbers
from resmfn.data.star.optics import (
    DEFOCUS_COLUMNS,
    EVEN_COLUMN,
    MAGNIFICATION_COLUMNS,
    MICROSCOPE_COLUMNS,
    ODD_COLUMN,
    PHASE_FLIPPED_COLUMN,
    PREMULTIPLIED_COLUMN,
    TILT_COLUMNS,
    truths,
)
from resmfn.data.star.tables import PARTICLE_COLUMN
from resmfn.physics.optics import Optics

CORRECTED_COLUMN, FLIP_COLUMN, TUBE_COLUMN = "rlnCtfDataAreCtfCorrected", "rlnIsFlip", "rlnHelicalTubeID"
_UNSCALED = {"ctf/trefoil_A": "trefoil", "ctf/tetra_A": "tetrafoil"}
_SIGN = "blob/sign"
# Beyond the range of microscopes: the likely cause is a wrong unit. No comparison recorded.
_LEAST_DEFOCUS, _MOST_DEFOCUS = 100.0, 1e6  # Å
_LEAST_VOLTAGE, _MOST_VOLTAGE = 10.0, 3000.0  # kV
_MOST_ABERRATION = 50.0  # mm
_LEAST_PIXEL, _COARSE_PIXEL = 0.2, 10.0  # Å


@dataclass(frozen=True)
class Remarks:
    """Lines about a file."""

    refusals: tuple[str, ...] = ()  #: why its images cannot be used as they are
    notes: tuple[str, ...] = ()  #: what whoever uses them should know
    applied: tuple[str, ...] = ()  #: what beyond defocus and the like is taken into account


def remark_on(
    metadata: Metadata,
    optics: Optics | None,
    *,
    records: np.ndarray | None = None,
    pixel_sizes: np.ndarray | None = None,
) -> Remarks:
    """Return the remarks on a particle file.

    Parameters
    ----------
    metadata
        Its tables.
    optics
        What :func:`resmfn.data.star.optics.find_optics` found in them.
    records
        (n,) of a cryoSPARC file.
    pixel_sizes
        (n,) in Å, where known.
    """
    refusals = [
        *_not_modeled(metadata, records),
        *_lone_terms(metadata, optics),
        *_strange_units(optics, pixel_sizes),
    ]
    notes = [
        *metadata.contradictions(),
        *_missing_ctf(metadata, optics),
        *_repeated_rows(metadata),
        *_helices(metadata),
        *_coarse_pixels(pixel_sizes),
        *doubts(metadata, optics),
    ]
    return Remarks(tuple(f"{metadata.path}: {line}" for line in refusals), tuple(notes), tuple(_applied(optics)))


def _not_modeled(metadata: Metadata, records: np.ndarray | None) -> list[str]:
    found = []
    if CORRECTED_COLUMN in metadata and truths(metadata, CORRECTED_COLUMN).any():
        found.append(
            f"{CORRECTED_COLUMN} says that the images were CTF-corrected, but not how; give them as they "
            "were extracted, or remove that column and rlnDefocusU, V and Angle if the images have no CTF left"
        )
    if FLIP_COLUMN in metadata and truths(metadata, FLIP_COLUMN).any():
        found.append(f"{FLIP_COLUMN} says that images are mirrored, which is not supported; mirror them in the stack")
    if "rlnCtfBfactor" in metadata and (b_factor := metadata.numbers("rlnCtfBfactor")).min() < 0:
        row = int(b_factor.argmin())
        found.append(
            f"row {row + 1}: rlnCtfBfactor must not be negative, got {b_factor[row]:g}; Warp and M store the dose "
            "of tilt series this way, which is not modeled: single-particle images are needed, one per row"
        )
    if PREMULTIPLIED_COLUMN in metadata and PHASE_FLIPPED_COLUMN in metadata:
        both = truths(metadata, PREMULTIPLIED_COLUMN) & truths(metadata, PHASE_FLIPPED_COLUMN)
        if both.any():
            found.append(
                f"{PREMULTIPLIED_COLUMN} and {PHASE_FLIPPED_COLUMN} are both 1, and images may have been multiplied by "
                "the CTF or by its absolute value; set the one that is wrong to 0"
            )
    for field, name in _UNSCALED.items():
        if _any_nonzero(metadata, records, field):
            found.append(
                f"{field} ({name}) is not modeled: its scale is not published; refine the aberrations without it in "
                "cryoSPARC, or in RELION, whose rlnOddZernike and rlnEvenZernike are"
            )
    signs = _field(metadata, records, _SIGN)
    if signs is not None and len(np.unique(np.sign(signs))) > 1:
        found.append(
            f"{_SIGN} says white for some and dark for others; invert the images of one kind, or split the file"
        )
    return found


def _any_nonzero(metadata: Metadata, records: np.ndarray | None, field: str) -> bool:
    """Tell whether a cryoSPARC field, or the columns that a STAR file keeps of it, say anything."""
    if records is not None:
        return field in (records.dtype.names or ()) and bool(np.any(records[field]))
    columns = [column for column in metadata.particles.columns if column.startswith(f"cs/{field}")]
    return any(bool(parse_numbers(metadata.particles[column], column, metadata.path).any()) for column in columns)


def _field(metadata: Metadata, records: np.ndarray | None, field: str) -> np.ndarray | None:
    if records is not None:
        known = field in (records.dtype.names or ()) and records[field].dtype.kind in "fiu"
        return records[field].astype(np.float64).reshape(-1) if known else None
    column = f"cs/{field}"
    return parse_numbers(metadata.particles[column], column, metadata.path) if column in metadata.particles else None


def _lone_terms(metadata: Metadata, optics: Optics | None) -> list[str]:
    """Refuse what belongs to a CTF where there is none."""
    if optics is not None:
        return []
    terms = (*TILT_COLUMNS, ODD_COLUMN, EVEN_COLUMN, *MAGNIFICATION_COLUMNS)
    columns = [column for column in terms if column in metadata]
    for column in (PREMULTIPLIED_COLUMN, PHASE_FLIPPED_COLUMN):
        columns += [column] if column in metadata and truths(metadata, column).any() else []
    if not columns:
        return []
    return [f"{columns[0]} belongs to a CTF, but there is no rlnDefocusU; add the defocus, or remove that column"]


def _strange_units(optics: Optics | None, pixel_sizes: np.ndarray | None) -> list[str]:
    found = []
    if pixel_sizes is not None and float(pixel_sizes.min()) < _LEAST_PIXEL:
        found.append(f"the pixel size is {pixel_sizes.min():g} Å, too small for a microscope (nm?); give it in Å")
    if optics is None:
        return found
    defocus = float(max(optics.defocus_u.abs().max(), optics.defocus_v.abs().max()))
    if 0 < defocus < _LEAST_DEFOCUS:
        found.append(f"rlnDefocusU and V are at most {defocus:g} Å, almost no defocus (µm?); give them in Å")
    if defocus > _MOST_DEFOCUS:
        found.append(f"rlnDefocusU and V reach {defocus:g} Å, {defocus / 1e4:g} µm (pm?); give them in Å")
    low, high = float(optics.voltage.min()), float(optics.voltage.max())
    if high > _MOST_VOLTAGE:
        found.append(f"rlnVoltage is {high:g} kV (volts?); give it in kV")
    elif low < _LEAST_VOLTAGE:
        found.append(f"rlnVoltage is {low:g} kV (MV?); give it in kV")
    if (aberration := float(optics.spherical_aberration.abs().max())) > _MOST_ABERRATION:
        found.append(f"rlnSphericalAberration is {aberration:g} mm (µm?); give it in mm")
    return found


def _missing_ctf(metadata: Metadata, optics: Optics | None) -> list[str]:
    if optics is not None:
        return []
    there = [column for column in MICROSCOPE_COLUMNS.values() if column in metadata]
    if there:
        missing = ", ".join(DEFOCUS_COLUMNS)
        return [f"incomplete CTF: {', '.join(there)} without {missing}; no CTF is applied"]
    return ["no CTF in the file: none is applied"]


def _repeated_rows(metadata: Metadata) -> list[str]:
    particles = metadata.particles
    if PARTICLE_COLUMN not in particles:
        return []
    n, n_images = len(particles), len(set(particles.text(PARTICLE_COLUMN)))
    if n == n_images:
        return []
    copies = n - len(set(zip(*particles.columns.values(), strict=True)))
    if copies:
        return [f"{copies} of {n} rows are exact copies of others and count twice: remove them"]
    return [f"{n} rows show {n_images} images: rows of one image share a half set"]


def _helices(metadata: Metadata) -> list[str]:
    if TUBE_COLUMN not in metadata.particles:
        return []
    return [
        f"helical segments ({TUBE_COLUMN}): helical symmetry is not applied, and segments of one tube overlap; half "
        "maps are independent only if rlnRandomSubset keeps each tube in one half"
    ]


def _coarse_pixels(pixel_sizes: np.ndarray | None) -> list[str]:
    if pixel_sizes is None or float(pixel_sizes.max()) <= _COARSE_PIXEL:
        return []
    coarsest = float(pixel_sizes.max())
    return [f"pixels of {coarsest:g} Å show nothing finer than {2 * coarsest:g} Å: is the pixel size right?"]


def _applied(optics: Optics | None) -> list[str]:
    if optics is None:
        return []
    whats = {
        "scale": "rlnCtfScalefactor: a factor of the CTF",
        "even_aberration": "even Zernikes: a term of the CTF",
        "odd_aberration": "beam tilt and odd Zernikes: a phase, undone as images are read",
        "magnification": "magnification matrix: says which slice of the map an image shows",
        "premultiplied": "images multiplied by their CTF: divided by it as they are read",
        "phase_flipped": "images with flipped phases: flipped back as they are read",
    }
    found = [line for name, line in whats.items() if getattr(optics, name) is not None]
    if bool((optics.b_factor != 0).any()):
        found.append("rlnCtfBfactor: an envelope of the CTF")
    return found
