"""Values that can be right and hardly ever are: named with the likely cause, and used as they stand."""

from __future__ import annotations

import math

import numpy as np

from resmfn.data.star.metadata import SUBSET_COLUMN, Metadata
from resmfn.data.star.tables import unquote
from resmfn.physics.optics import Optics

_LITTLE_DEFOCUS = 2000.0  # Å; 0.2 µm: less is hardly ever asked for, and 1 to 2 µm in nm look like it
_STRONG_ASTIGMATISM = 0.5  # of the mean defocus; microscopes are stigmated to some per cent
_LITTLE_ABERRATION = 0.005  # mm; 2.7 mm in m, but for columns with a corrector, which write 0 or 0.01
_MUCH_AMPLITUDE = 0.5  # 7 to 10 % are usual; 1 is a per cent, or amplitude contrast alone
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SOME = 20  # images from which on it is no chance that all angles are small
_UNEVEN = 0.25  # share of the images in the smaller half set


def doubts(metadata: Metadata, optics: Optics | None) -> list[str]:
    """Return what is improbable in a particle file, and why it may be so.

    Parameters
    ----------
    metadata
        Its tables.
    optics
        What they say of the CTF.
    """
    found = [] if optics is None else _of_optics(optics)
    found += _of_angles(metadata)
    if "rlnClassNumber" in metadata and len(classes := np.unique(metadata.numbers("rlnClassNumber"))) > 1:
        found.append(f"{len(classes)} classes (rlnClassNumber): all are used, as images of one structure")
    return found + _of_halves(metadata)


def _of_halves(metadata: Metadata) -> list[str]:
    if SUBSET_COLUMN not in metadata:
        return []
    cells = [unquote(cell) for cell in metadata.particles[SUBSET_COLUMN]]
    counts = [sum(cell in (half, f"{half}.000000") for cell in cells) for half in "12"]
    share = min(counts) / max(1, sum(counts))
    if sum(counts) < len(cells) or not 0 < share < _UNEVEN:
        return []  # what makes no sense is refused elsewhere
    return [f"uneven half sets: {SUBSET_COLUMN} has {100 * share:.0f} % of the rows in the smaller one"]


def _of_optics(optics: Optics) -> list[str]:
    u, v = optics.defocus_u.double().numpy(), optics.defocus_v.double().numpy()
    mean = (u + v) / 2
    found = []
    if (mean < 0).any():
        n = int((mean < 0).sum())
        found.append(f"{n} of {len(mean)} images are overfocused (rlnDefocusU and V negative): another sign?")
    typical = float(np.median(np.abs(mean)))
    if typical < _LITTLE_DEFOCUS:
        found.append(f"the defocus is {typical:g} Å (median), less than anybody asks for: nm, or none fitted?")
    strong = np.abs(u - v) > _STRONG_ASTIGMATISM * np.abs(mean)
    if strong.mean() > 0.5 and typical > 0:
        found.append(f"rlnDefocusU and V differ by half of their mean or more in {strong.sum()} images: one in nm?")
    aberration = float(optics.spherical_aberration.abs().max())
    if 0 < aberration < _LITTLE_ABERRATION:
        found.append(f"rlnSphericalAberration is {aberration:g} mm: m?")
    if (amplitude := float(optics.amplitude_contrast.max())) > _MUCH_AMPLITUDE:
        found.append(f"rlnAmplitudeContrast reaches {amplitude:g}: percent?")
    phase = optics.phase_shift.abs()
    if 0 < float(phase.max()) <= math.pi and float(phase.median()) > 0.1:
        found.append(f"rlnPhaseShift is at most {float(phase.max()):.3g} degrees: radians?")
    return found


def _of_angles(metadata: Metadata) -> list[str]:
    if not all(name in metadata for name in _ANGLES) or len(metadata) < _SOME:
        return []
    largest = max(float(np.abs(metadata.numbers(name)).max()) for name in _ANGLES)
    if not 0.1 < largest <= 2 * math.pi:
        return []
    return [f"all angles of the poses are at most {largest:.3g} degrees: radians?"]
