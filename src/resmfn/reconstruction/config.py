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
    require_types,
)
from resmfn.data.selection import class_numbers
from resmfn.rotations import point_group

if TYPE_CHECKING:
    import torch


PoseSource = Literal["unknown", "from-input", "fixed"]
Contrast = Literal["auto", "white", "black"]
Device = Literal["auto", "cpu", "cuda"]
ScorePrecision = Literal["full", "tf32"]
"""Precision of the scores that rank poses."""
RANGES = {
    "box_size": replace(SIDE, least=16),
    "mask_diameter": DIAMETER,
    "shift_range": SHIFT,
    "n_starts": NumberRange(1, 1_000, whole=True),
    "n_classes": NumberRange(1, 64, whole=True),
    "ini_high": RESOLUTION,
    "final_resolution": RESOLUTION,
    "hidden_dim": NumberRange(8, 8_192, whole=True),
    "memory": NumberRange(0, 100_000, "GiB", open_below=True),
    "gpu_memory": NumberRange(0, 10_000, "GiB", open_below=True),
    "network_steps": NumberRange(1, 1_000_000, whole=True),
    "pixel_size": PIXEL_SIZE,
    "seed": SEED,
    "voltage": VOLTAGE,
    "spherical_aberration": SPHERICAL_ABERRATION,
    "amplitude_contrast": AMPLITUDE_CONTRAST,
}
"""Range of every number in the settings."""
CLASSES_OF_AUTO, STATES_OF_AUTO = 16, 4
"""The most that ``n_classes`` = "auto" allows."""


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
    """Run folder to create."""
    box_size: int | None = None
    """Box size in pixels that images are Fourier-cropped to as they are read, and of all maps; by default maps and
    images are held in a box that grows with the resolution, and the final maps have that of the images."""
    final_resolution: float | None = None
    """Resolution in Å beyond which the images are not used; by default two of their pixels."""
    contrast: Contrast = "auto"
    """Contrast of the molecules in the images; auto measures it from the lowest frequencies."""
    symmetry: str = "C1"
    """Point group of the molecule, oriented as in RELION: C1, Cn, Dn, T, O, I or I1 to I4."""
    relax_symmetry: str | None = None
    """Point group that the molecule has only nearly: poses are found with it, then each image chooses among the copies
    of its pose, and the map has no symmetry."""
    refine_defocus: bool = False
    """Refine the defocus of each image against the map of its half set, as far as images tell it."""
    flip_hand: bool = False
    """Write maps and poses of the other hand; with --resume, a finished run is flipped."""
    mask_diameter: float | None = None
    """Diameter of the particle in Å; by default 0.84 of the box."""
    mask: Path | None = None
    """Soft mask, 0 to 1; by default one is made from the map."""
    shift_range: float = 10.0
    """Largest shift to search, in Å; 0 if all images are centered."""
    n_starts: int = 4
    """Number of short annealed starts; the one of highest likelihood is kept."""
    n_classes: int | Literal["auto"] = 1
    """Largest number of classes; fewer if held-out images do not support as many. auto allows 16."""
    local_states: bool = False
    """Classes are states of one structure that differ locally: it is refined as one, and divided at its poses then."""
    classes_from: Path | None = None
    """Finished run, by whose classes images are chosen among ``particles``, in the half sets of that run; with
    ``poses`` other than unknown its poses are taken too."""
    classes: str | None = None
    """Class numbers of that run, with commas between."""
    poses: PoseSource = "unknown"
    """Search the poses, refine those of the input locally, or keep them fixed."""
    reference: Path | None = None
    """Initial map, instead of the annealed starts."""
    ini_high: float = 30.0
    """Resolution to which the reference is low-passed, in Å."""
    hidden_dim: int | None = None
    """Width of the network; by default four times its box in pixels, 96 to 1,024."""
    score_precision: Literal["auto", "full", "tf32"] = "auto"
    """Precision of the scores that rank poses; the best are rescored in full precision. auto is tf32 on a GPU."""
    memory: float | None = None
    """Limit of memory in GiB, of all processes together: the box grows no further than that allows. By default there is
    none."""
    gpu_memory: float | None = None
    """Limit of GPU memory in GiB; by default all. Fewer images are processed at a time to fit, and the box grows no
    further than that allows."""
    network_steps: int = 30
    """Conjugate gradient steps of each scale of the network, which is fitted to the map of all images."""
    datadir: Path | None = None
    """Folder that image paths are relative to; by default that of the particle file, or one above it."""
    strip_prefix: str | None = None
    """Prefix to remove from image paths."""
    allow_outside: bool = False
    """Allow image paths that leave the folder they are relative to."""
    passthrough: Path | None = None
    """Passthrough file of a cryoSPARC .cs file; by default found beside it."""
    pixel_size: float | None = None
    """Pixel size in Å; overrides the files."""
    voltage: float | None = None
    """Voltage in kV, for a particle file that lacks it."""
    spherical_aberration: float | None = None
    """Cs in mm, for a particle file that lacks it."""
    amplitude_contrast: float | None = None
    """Amplitude contrast, 0 to 1, for a particle file that lacks it."""
    device: Device = "auto"
    """Device; auto takes a GPU if there is one."""
    seed: int = 0
    """Random seed of the run."""
    resume: bool = False
    """Continue from the last checkpoint of the run folder; start from the beginning if there is none."""
    overwrite: bool = False
    """Replace an existing run folder."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("particles", "out", "mask", "reference", "datadir", "passthrough", "classes_from"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value))  # text will do
        asked = {name: range_ for name, range_ in RANGES.items() if getattr(self, name) != "auto"}
        require_numbers(self, asked)
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
        self._require_relaxable()
        if self.contrast not in ("auto", "white", "black"):
            raise InputError(f"--contrast must be auto, white or black, got {self.contrast!r}")
        if self.reference is not None and self.poses != "unknown":
            raise InputError(f"--reference starts a search and excludes --poses {self.poses}; give only one")
        self._require_classes()
        if self.refine_defocus and self.n_classes != 1:
            raise InputError(
                f"--refine-defocus compares images with one map and excludes --n-classes {self.n_classes}; give only "
                "one, and refine the images of a class afterwards with --classes-from"
            )
        self._require_other_run()
        if self.box_size is not None and self.final_resolution is not None:
            raise InputError("--box-size keeps one box and --final-resolution lets it grow; give only one")
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite contradict each other; give only one")

    def _require_classes(self) -> None:
        """Check that several classes can be searched, or divided."""
        several = f"--n-classes {self.n_classes}"
        if self.local_states:
            if self.n_classes == 1:
                raise InputError(
                    "--local-states divides a structure and needs --n-classes 2 or more, or auto; give both"
                )
            if self.poses == "fixed":
                raise InputError("--local-states refines poses within each state; give --poses from-input, not fixed")
        elif self.n_classes != 1 and (self.poses != "unknown" or self.reference is not None):
            given = "--reference" if self.reference is not None else f"--poses {self.poses}"
            raise InputError(
                f"{several} starts a search and excludes {given}; give only one, or --local-states for states of one "
                "structure"
            )

    def _require_other_run(self) -> None:
        """Check that the classes of another run are named, and can be read while this one is written."""
        if (self.classes_from is None) != (self.classes is None):
            given, other = ("--classes", "--classes-from RUN")
            if self.classes is None:
                given, other = f"--classes-from {self.classes_from}", "--classes, such as --classes 1"
            raise InputError(f"{given} chooses images by the classes of another run and needs {other}; give both")
        if self.classes_from is None or self.classes is None:
            return
        class_numbers(self.classes)
        if self.classes_from.resolve() == self.out.resolve():
            raise InputError(f"--out {self.out} is the run of --classes-from, which would be replaced; give another")

    def _require_relaxable(self) -> None:
        """Check the group that is relaxed, and that what it needs is not excluded."""
        if self.relax_symmetry is None:
            return
        name = self.relax_symmetry.strip().upper()
        object.__setattr__(self, "relax_symmetry", name)
        given = f"--relax-symmetry {name}"
        try:
            order = len(point_group(name))
        except ResmfnError as error:
            raise InputError(f"{given}: {error}") from None
        if order == 1:
            raise InputError(f"{given} has no copies to choose among; leave it out, or give the group, such as C4")
        if self.symmetry != "C1":
            raise InputError(f"{given} makes a map in C1 and excludes --symmetry {self.symmetry}; give only one")
        if self.poses == "fixed":
            raise InputError(f"{given} chooses among copies of poses and excludes --poses fixed; give from-input")
        if self.n_classes != 1:
            raise InputError(f"{given} makes one map and excludes --n-classes {self.n_classes}; give only one")

    @property
    def most_classes(self) -> int:
        """How many classes, or local states, there may be."""
        if self.n_classes == "auto":
            return STATES_OF_AUTO if self.local_states else CLASSES_OF_AUTO
        return self.n_classes

    @property
    def search_symmetry(self) -> str:
        """The point group that poses are searched with."""
        return self.relax_symmetry or self.symmetry

    def score_precision_on(self, device: torch.device) -> ScorePrecision:
        """Return the precision of scores on a device: without matrix units for it, TF32 is only slower."""
        if self.score_precision == "auto":
            return "tf32" if device.type == "cuda" else "full"
        return self.score_precision
