"""Settings of a simulation. Imports nothing heavy: the command line reads flags and help from here."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

from resmfn.core import InputError
from resmfn.core.numbers import (
    B_FACTOR,
    COUNT,
    PIXEL_SIZE,
    SEED,
    SHIFT,
    SIDE,
    NumberRange,
    require_numbers,
    require_types,
)

DEFOCUS = NumberRange(-1_000_000, 1_000_000, "Å")
"""0.1 mm either way: beyond it, the CTF oscillates within one pixel of any image."""
RANGES = {
    "n_projections": COUNT,
    "snr": NumberRange(0, 1e6, open_below=True),
    "box_size": replace(SIDE, least=8),
    "pixel_size": PIXEL_SIZE,
    "b_factor": replace(B_FACTOR, least=0),
    "shift_std": SHIFT,
    "view_concentration": NumberRange(0, 100),
    "defocus_range": DEFOCUS,
    "astigmatism_range": replace(DEFOCUS, least=0),
    "voltage": NumberRange(1, 10_000, "kV"),
    "spherical_aberration": NumberRange(-100, 100, "mm"),
    "amplitude_contrast": NumberRange(0, 1),
    "phase_shift": NumberRange(-360, 360, "degrees"),
    "seed": SEED,
}
"""Range of every number in the settings."""


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate, and where to write it; the defaults are those of the published simulator."""

    source: str | Path
    """A map (.mrc, .map, also .gz), a model (.pdb, .cif, also .gz), a folder with volume.mrc, or 4ake (built in)."""
    _: KW_ONLY
    out: Path | str
    """Output folder."""
    n_projections: int | None = None
    """Number of images; by default 50,000, or the number of poses."""
    snr: float | None = 0.1
    """Signal-to-noise ratio: variance of the clean image over variance of the noise; none for no noise."""
    ctf: bool = True
    """Whether to apply a CTF."""
    box_size: int | None = None
    """Box size in pixels; by default 64 for a model, the map's own for a map."""
    pixel_size: float | None = None
    """Pixel size in Å; by default 1.5 for a model, the map's own for a map."""
    b_factor: float = 40.0
    """B-factor of the atoms of a model, Å^2."""
    shift_std: float = 0.0
    """Standard deviation of the shift along x and along y, Å."""
    view_concentration: float = 0.0
    """Preferred orientation: views along z are exp(this) times as likely as side views; 0 is uniform."""
    poses_from: Path | str | None = None
    """STAR file to take angles and shifts from; by default they are random."""
    defocus_range: tuple[float, float] = (15_000.0, 20_000.0)
    """Range of the mean defocus in Å, underfocus positive; drawn uniformly."""
    astigmatism_range: tuple[float, float] = (100.0, 500.0)
    """Range of the astigmatism (defocus U - V) in Å; drawn uniformly, like its angle."""
    voltage: float = 300.0
    """kV."""
    spherical_aberration: float = 2.7
    """mm."""
    amplitude_contrast: float = 0.1
    """Fraction."""
    phase_shift: float = 0.0
    """Phase shift in degrees (phase plate)."""
    layout: Literal["relion", "published"] = "relion"
    """"published" writes the .npy folder of the published implementation as well."""
    seed: int = 0
    """Random seed; the same seed gives the same files."""
    overwrite: bool = False
    """Write to a folder that already has files."""

    def __post_init__(self) -> None:
        require_types(self)
        require_numbers(self, RANGES)
        for name in ("defocus_range", "astigmatism_range"):
            low, high = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            _require(low <= high, flag, "two numbers in Å, the smaller first", f"{low:g} {high:g}")
        _require(self.layout in ("relion", "published"), "--layout", "relion or published", self.layout)
        if self.poses_from is not None and (self.shift_std > 0 or self.view_concentration > 0):
            raise InputError("--poses-from sets poses and shifts; omit --shift-std and --view-concentration")


def _require(holds: bool, flag: str, what: str, got: object) -> None:
    if not holds:
        raise InputError(f"{flag} must be {what}, got {got}")
