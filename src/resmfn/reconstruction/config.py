"""Settings of a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resmfn.core.errors import InputError, ResmfnError
from resmfn.core.numbers import (
    AMPLITUDE_CONTRAST,
    DIAMETER,
    PIXEL_SIZE,
    RESOLUTION,
    SEED,
    SHIFT,
    SIDE,
    SPHERICAL_ABERRATION,
    VOLTAGE,
    NumberRange,
    require_numbers,
)
from resmfn.rotations import point_group

if TYPE_CHECKING:
    import torch


PoseSource = Literal["unknown", "from-input", "fixed"]
Contrast = Literal["auto", "white", "black"]
Device = Literal["auto", "cpu", "cuda"]
ScorePrecision = Literal["full", "tf32"]
"""Of the scores that rank poses."""
RANGES = {
    "box_size": replace(SIDE, least=16),
    "mask_diameter": DIAMETER,
    "shift_range": SHIFT,
    "n_starts": NumberRange(1, 1_000, whole=True),
    "ini_high": RESOLUTION,
    "hidden_dim": NumberRange(8, 8_192, whole=True),
    "gpu_memory": NumberRange(0, 10_000, "GiB", open_below=True),
    "network_steps": NumberRange(1, 1_000_000, whole=True),
    "pixel_size": PIXEL_SIZE,
    "seed": SEED,
    "voltage": VOLTAGE,
    "spherical_aberration": SPHERICAL_ABERRATION,
    "amplitude_contrast": AMPLITUDE_CONTRAST,
}
"""Of every number in the settings."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """What to reconstruct, from what, and how.

    Raises
    ------
    InputError
        A value is out of its range, or two contradict each other.
    """

    particles: Path
    """Particle images: a RELION STAR file, a cryoSPARC .cs file, or a folder in the published layout."""
    out: Path
    """Run folder to make."""
    box_size: int | None = None
    """Pixels of the working box, to which the images are Fourier-cropped as they are read; by default theirs."""
    contrast: Contrast = "auto"
    """Whether molecules are white or black at low frequency in the images; auto asks the images."""
    symmetry: str = "C1"
    """Point group of the molecule, in RELION's settings: C1, Cn, Dn, T, O, I or I1 to I4."""
    flip_hand: bool = False
    """Give the mirror image of the solution, maps and poses; a finished run that is resumed with it is flipped."""
    mask_diameter: float | None = None
    """Diameter of the sphere that holds the particle, in Å; by default 0.84 of the box."""
    mask: Path | None = None
    """Map of a soft mask, 0 to 1, used in place of the mask found from the data."""
    shift_range: float = 10.0
    """Largest shift of an image that the search tries, in Å; 0 says that all images are centered."""
    n_starts: int = 4
    """Short annealed starts; the one of highest likelihood goes on."""
    poses: PoseSource = "unknown"
    """Search them, refine those of the input from where they are, or keep those of the input."""
    reference: Path | None = None
    """Map to start from, in place of the annealed starts."""
    ini_high: float = 30.0
    """Resolution to which the reference is believed, in Å."""
    hidden_dim: int | None = None
    """Width of the network; by default four times the box in pixels, 96 to 1,024."""
    score_precision: Literal["auto", "full", "tf32"] = "auto"
    """Of the scores that rank poses; in tf32 each image's best are scored again in full. auto is tf32 on a GPU."""
    gpu_memory: float | None = None
    """GiB of a GPU's memory that the run may take; by default all. Work is done on fewer images at a time to fit."""
    network_steps: int = 30
    """Conjugate gradient steps of each scale of the network, on the map of all images."""
    datadir: Path | None = None
    """Folder that image names start from; by default that of the particle file, or one above it."""
    strip_prefix: str | None = None
    """Taken away from the front of image names that begin with it."""
    allow_outside: bool = False
    """Let image names lead out of the folder that they start from."""
    passthrough: Path | None = None
    """Of a cryoSPARC .cs file, the one that has the fields it lacks; by default found beside it."""
    pixel_size: float | None = None
    """Å per pixel, in place of what the files say."""
    voltage: float | None = None
    """kV, of a particle file that does not say it."""
    spherical_aberration: float | None = None
    """mm, of a particle file that does not say it."""
    amplitude_contrast: float | None = None
    """Fraction, of a particle file that does not say it."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    seed: int = 0
    """Of everything random."""
    resume: bool = False
    """Go on from the last checkpoint of the run folder; start afresh if there is none."""
    overwrite: bool = False
    """Replace an existing run folder."""

    def __post_init__(self) -> None:
        for name in ("particles", "out", "mask", "reference", "datadir", "passthrough"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value))  # text will do
        require_numbers(self, RANGES)
        if self.poses not in ("unknown", "from-input", "fixed"):
            raise InputError(f"--poses must be unknown, from-input or fixed, got {self.poses!r}")
        if self.score_precision not in ("auto", "full", "tf32"):
            raise InputError(f"--score-precision must be auto, full or tf32, got {self.score_precision!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"--device must be auto, cpu or cuda, got {self.device!r}")
        try:
            point_group(self.symmetry)
        except ResmfnError as error:
            raise InputError(f"--symmetry {self.symmetry}: {error}") from None
        object.__setattr__(self, "symmetry", self.symmetry.strip().upper())
        if self.contrast not in ("auto", "white", "black"):
            raise InputError(f"--contrast must be auto, white or black, got {self.contrast!r}")
        if self.reference is not None and self.poses != "unknown":
            raise InputError(f"--reference starts a search: it cannot go with --poses {self.poses}; drop one of them")
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite contradict each other; give one of them")

    def score_precision_on(self, device: torch.device) -> ScorePrecision:
        """Return the precision of scores on a device: without matrix units for it, TF32 is only slower."""
        if self.score_precision == "auto":
            return "tf32" if device.type == "cuda" else "full"
        return self.score_precision
