"""Settings of the published preset, by the published script's own flags. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resmfn.core.errors import InputError
from resmfn.core.numbers import COUNT, PIXEL_SIZE, SEED, NumberRange, require_numbers, require_types

VariantName = Literal["residual-mfn", "staged-residual", "staged-fair", "staged", "vanilla"]
_RATE = NumberRange(0, 10, open_below=True)
_MOMENT = NumberRange(0, 1, open_above=True)
_STEPS = NumberRange(0, 10**9, whole=True)
RANGES = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "bacon_lr": _RATE,
    "bacon_iter": COUNT,
    "bacon_hidden_dim": NumberRange(8, 8_192, whole=True),
    "bacon_hidden_layers": NumberRange(1, 64, whole=True),
    "pose_lr": _RATE,
    "pose_beta1": _MOMENT,
    "pose_beta2": _MOMENT,
    "pose_lr_decay": NumberRange(0, 1, open_below=True),
    "pose_iter": COUNT,
    "warm_up": _STEPS,
    "pose_searches": _STEPS,
    "save_every": COUNT,
}
"""Range of every number in the published settings."""


@dataclass(frozen=True, kw_only=True)
class PublishedSettings:
    """What the published script lets one set, with its defaults, and what it hard-codes."""

    init_from_truth: str | None = None
    """Start from the TRUE poses, perturbed by an angle between these, degrees (published: 45,90). None: random."""
    volume: Path | None = None
    """True map: pixel size, and what poses are judged in [default: volume.mrc in the folder's parent]."""
    epochs: int = 100
    """Passes over all images."""
    stages: str = "25,50"
    """Epochs at which the next scale is added: 25,50 for 4AKE, 15,30 for 1OL5 as published."""
    batch_size: int = 600
    """Images per batch."""
    variant: VariantName = "residual-mfn"
    """Network and loss, by the paper's names."""
    heads: Literal["relu", "linear"] = "relu"
    """Density of each scale: ReLU of the head's output, as published, or the output itself."""
    bacon_lr: float = 1e-3
    """Learning rate of the network (Adam)."""
    bacon_iter: int = 5
    """Network steps per batch."""
    bacon_hidden_dim: int = 128
    """Width of the network."""
    bacon_hidden_layers: int = 3
    """Number of scales of the network."""
    pose_lr: float = 1e-2
    """Learning rate of the poses (Adam), radians."""
    pose_beta1: float = 0.9
    """Adam's beta1 for the poses."""
    pose_beta2: float = 0.9
    """Adam's beta2 for the poses."""
    pose_lr_decay: float = 1.0
    """Factor applied to --pose-lr after each epoch."""
    pose_iter: int = 20
    """Pose steps per batch."""
    warm_up: int = 200
    """Network steps before the first pose step; 0 as published."""
    pose_searches: int = 20
    """Most global pose searches, one every second epoch while scale 2 is the
    finest, from the third on; 0 as published."""
    transpose_ctf: bool = False
    """Swap x and y in the CTF, for stacks made with the published simulator's transposed grid."""
    save_every: int = 1
    """Epochs between saved maps of all scales."""

    def __post_init__(self) -> None:
        require_types(self)
        require_numbers(self, RANGES)
        _ = self.start_angles
        _ = self.switches

    @property
    def is_staged(self) -> bool:
        """Whether scales are added one after the other."""
        return self.variant != "vanilla"

    @property
    def start_angles(self) -> tuple[float, float] | None:
        """Least and largest angle between true and starting poses, degrees."""
        if self.init_from_truth is None:
            return None
        values = _numbers(self.init_from_truth, "init_from_truth")
        right = len(values) == 2 and 0 <= values[0] <= values[1] <= 180
        _require(
            right, "init_from_truth", "two angles in 0 to 180, the smaller first, such as 45,90", self.init_from_truth
        )
        return values[0], values[1]

    @property
    def switches(self) -> tuple[int, ...]:
        """Epochs, counted from 0, at which scales 2, 3, ... join; none if all are there from the start."""
        if not self.is_staged:
            return ()
        values = _numbers(self.stages, "stages")
        n = self.bacon_hidden_layers - 1
        whole = all(v == int(v) for v in values) and list(values) == sorted(set(values)) and min(values, default=1) >= 1
        what = f"{n} growing whole epochs, one for each of the {n + 1} scales but the first"
        _require(whole and len(values) == n and max(values, default=1) <= COUNT.most, "stages", what, self.stages)
        return tuple(int(v) for v in values)

    @property
    def search_epochs(self) -> tuple[int, ...]:
        """Epochs, counted from 0, that begin with a search over the whole sphere.

        None while scale 1 is alone or scale 2 is new: they say too little, and poses would end up in near-symmetries.
        None with scale 3: it has nothing left to find, and a search by it costs several times as much.
        """
        starts = self.switches or _numbers(self.stages, "stages")
        end = self.switches[1] if len(self.switches) > 1 else self.epochs
        epochs = (int(start) + 2 * (i + 1) for start in starts[:1] for i in range(self.pose_searches))
        return tuple(epoch for epoch in epochs if epoch < end)

    def scale_at(self, epoch: int) -> int:
        """Return the finest scale that is active in an epoch, counted from 0; scales count from 1."""
        if not self.is_staged:
            return self.bacon_hidden_layers
        return 1 + sum(epoch >= switch for switch in self.switches)


@dataclass(frozen=True, kw_only=True)
class PublishedConfig(PublishedSettings):
    """A run of the published preset.

    Raises
    ------
    InputError
        A value is out of its range, or two contradict each other.
    """

    folder: Path
    """Data in the published layout: particle_stack.npy, poses.npy and, with a CTF, ctf.npy."""
    out: Path
    """Run folder to create."""
    pixel_size: float | None = None
    """Pixel size in Å; overrides the map."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; auto takes a GPU if there is one."""
    seed: int = 0
    """Random seed of the run."""
    resume: bool = False
    """Continue from the last epoch of the run folder; start from the beginning if there is none."""
    overwrite: bool = False
    """Replace an existing run folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("folder", "out", "volume"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))  # text will do
        require_numbers(self, {"pixel_size": PIXEL_SIZE, "seed": SEED})
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite contradict each other; give only one")


def _numbers(text: str, name: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"--{name.replace('_', '-')} must be numbers separated by commas, got {text!r}")
    return numbers


def _require(holds: bool, name: str, what: str, got: object) -> None:
    if not holds:
        raise InputError(f"--{name.replace('_', '-')} must be {what}, got {got}")
