"""What a simulation needs to know. Imports nothing heavy: the command line reads flags and help from here."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from resmfn.core import InputError

_LARGEST_CONCENTRATION = 100
_SMALLEST_BOX = 8


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate, and where to write it; the defaults are those of the published simulator."""

    source: str | Path
    """A map (.mrc, .map, also .gz), a model (.pdb, .cif, also .gz), a folder with volume.mrc, or 4ake (built in)."""
    _: KW_ONLY
    out: Path | str
    """Folder for the files."""
    n_projections: int | None = None
    """How many images; by default 50,000, or as many as there are poses."""
    snr: float | None = 0.1
    """Variance of the clean image over variance of the noise, in each image; none for no noise."""
    ctf: bool = True
    """Whether images are modulated by a CTF."""
    box_size: int | None = None
    """Pixels; by default 64 for a model, and what it is for a map."""
    pixel_size: float | None = None
    """Å; by default 1.5 for a model, and what it is for a map."""
    b_factor: float = 40.0
    """Å^2, of the atoms of a model."""
    shift_std: float = 0.0
    """Å, standard deviation of the shift along x and along y."""
    view_concentration: float = 0.0
    """Views along the z axis of the map are exp(this) times as likely as side views; 0 is uniform."""
    poses_from: Path | str | None = None
    """STAR file whose angles and shifts are taken; by default they are drawn at random."""
    defocus_range: tuple[float, float] = (15_000.0, 20_000.0)
    """Å, underfocus, mean of the two axes; drawn uniformly."""
    astigmatism_range: tuple[float, float] = (100.0, 500.0)
    """Å, difference of the two axes; drawn uniformly, its angle too."""
    voltage: float = 300.0
    """kV."""
    spherical_aberration: float = 2.7
    """mm."""
    amplitude_contrast: float = 0.1
    """Fraction."""
    phase_shift: float = 0.0
    """Degrees (phase plate)."""
    layout: Literal["relion", "published"] = "relion"
    """"published" writes the .npy folder of the published implementation as well."""
    seed: int = 0
    """The same seed gives the same files."""
    overwrite: bool = False
    """Whether a folder that has files may be written to."""

    def __post_init__(self) -> None:
        _require(
            self.n_projections is None or self.n_projections >= 1, "--n-projections", "at least 1", self.n_projections
        )
        _require(self.snr is None or 0 < self.snr < math.inf, "--snr", "positive, or none", self.snr)
        big_enough = self.box_size is None or self.box_size >= _SMALLEST_BOX
        _require(big_enough, "--box-size", f"at least {_SMALLEST_BOX}", self.box_size)
        _require(self.pixel_size is None or self.pixel_size > 0, "--pixel-size", "positive (Å)", self.pixel_size)
        _require(self.b_factor >= 0, "--b-factor", "0 or more (Å^2)", self.b_factor)
        _require(self.shift_std >= 0, "--shift-std", "0 or more (Å)", self.shift_std)
        in_range = 0 <= self.view_concentration <= _LARGEST_CONCENTRATION
        _require(in_range, "--view-concentration", f"in 0 to {_LARGEST_CONCENTRATION}", self.view_concentration)
        low, high = self.defocus_range
        _require(low <= high, "--defocus-range", "two numbers in Å, the smaller first", self.defocus_range)
        low, high = self.astigmatism_range
        _require(0 <= low <= high, "--astigmatism-range", "0 or more (Å), the smaller first", self.astigmatism_range)
        _require(self.voltage > 0, "--voltage", "positive (kV)", self.voltage)
        _require(0 <= self.amplitude_contrast <= 1, "--amplitude-contrast", "in 0 to 1", self.amplitude_contrast)
        _require(self.layout in ("relion", "published"), "--layout", "relion or published", self.layout)
        _require(self.seed >= 0, "--seed", "0 or more", self.seed)
        if self.poses_from is not None and (self.shift_std > 0 or self.view_concentration > 0):
            raise InputError(
                "--poses-from already says poses and shifts; leave --shift-std and --view-concentration out"
            )


def _require(holds: bool, flag: str, what: str, got: object) -> None:
    if not holds:
        raise InputError(f"{flag} must be {what}, got {got}")
