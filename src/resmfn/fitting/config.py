"""Settings of a fit. Imports nothing heavy: the command line reads flags and help from here."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from resmfn.core import InputError
from resmfn.core.numbers import COUNT, PIXEL_SIZE, SEED, NumberRange, require_numbers, require_types

if TYPE_CHECKING:
    from resmfn.networks import Variant

LearningRateSchedule = Literal["constant", "settle", "cosine"]
LAST_STAGE_SHARE = 0.2
"""Share of the epochs before the last scale is added; each earlier scale is added at half the time of the next."""
DEFAULT_VARIANT = "residual-mfn"
_SWITCH_FIELDS = ("staged", "fair", "residual")
RANGES = {
    "epochs": COUNT,
    "lr": NumberRange(0, 1e38, open_below=True),  # what single precision holds: a fit that diverges says so itself
    "hidden_dim": NumberRange(1, 8_192, whole=True),
    "hidden_layers": NumberRange(1, 64, whole=True),
    "stages": COUNT,
    "save_epoch": COUNT,
    "log_every": COUNT,
    "at_a_time": NumberRange(1, 10_000, whole=True),
    "seed": SEED,
}
"""Range of every number in the settings of a fit."""


@dataclass(frozen=True)
class FitConfig:
    """How a field is fitted, to images or to a map. The defaults are those of the published image script."""

    _: KW_ONLY
    out: Path
    """Run folder to create."""
    variant: str | None = None
    """vanilla, staged, staged-fair, staged-residual or residual-mfn; the last by default, unless switches are given."""
    staged: bool | None = None
    """Scales are added one after the other, coarse to fine."""
    fair: bool | None = None
    """Finished scales stay in the loss, which trains only their own heads; needs --staged."""
    residual: bool | None = None
    """Skip connections: the output of a scale is the sum of the heads up to it."""
    init: Literal["old", "new"] | None = None
    """How the fixed frequencies are drawn: old (BACON) or new (residual network); by default the variant's, or old."""
    epochs: int = 10_000
    """Optimizer steps, each on all pixels."""
    lr: float = 5e-3
    """Learning rate of Adam."""
    lr_schedule: LearningRateSchedule = "constant"
    """Learning rate: constant, as published; or a cosine decay over the last 3 % of epochs (settle), or over all."""
    hidden_dim: int = 256
    """Width of the network."""
    hidden_layers: int = 4
    """Scales, coarse to fine; each has one layer."""
    stages: str | tuple[int, ...] | None = None
    """Epochs at which scales 2, 3, ... are added, such as 500,1000,2000; by default 5, 10 and 20 % of --epochs."""
    quantized: bool = False
    """Whole cycles per box: the field is periodic, and each scale an exact finite Fourier series."""
    save_epoch: int | None = None
    """Also save images and spectra at this interval of epochs, not only when a scale is added and at the end."""
    log_every: int = 100
    """Epochs between lines of metrics.jsonl."""
    at_a_time: int | None = None
    """Images of one size fitted together; by default 1."""
    compiled: bool = False
    """Compile the step with torch.compile, for long fits on a GPU."""
    tensorboard: bool = True
    """Also write TensorBoard event files, if it is installed (resmfn[tensorboard])."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; auto takes a GPU if there is one."""
    seed: int = 0
    """Random seed of the run."""
    resume: bool = False
    """Continue from the last checkpoint of the run folder."""
    overwrite: bool = False
    """Replace an existing run folder."""

    def __post_init__(self) -> None:
        require_types(self)
        object.__setattr__(self, "out", Path(self.out))
        if isinstance(self.stages, str):
            object.__setattr__(self, "stages", _parsed_stages(self.stages))
        require_numbers(self, RANGES)
        schedules = get_args(LearningRateSchedule)
        _require(self.lr_schedule in schedules, "lr_schedule", ", ".join(schedules), self.lr_schedule)
        _require(self.init in (None, "old", "new"), "init", "old or new", self.init)
        _require(self.device in ("auto", "cpu", "cuda"), "device", "auto, cpu or cuda", self.device)
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite contradict each other; give only one")
        self.training()
        self.stage_starts()

    def training(self) -> Variant:
        """Return what the variant, or the published switches, ask for.

        Without either it is the Residual MFN; with switches and no variant, what they say and no more, as in the
        published script.

        Raises
        ------
        InputError
            If there is no such variant, or a switch contradicts it.
        """
        from resmfn.networks import VARIANTS, Variant, variant

        switched = any(getattr(self, name) is not None for name in (*_SWITCH_FIELDS, "init"))
        if self.variant is not None or not switched:
            chosen = variant(self.variant or DEFAULT_VARIANT)
            self._refuse_conflicts(chosen)
            return chosen
        if self.fair and not self.staged:
            raise InputError("--fair keeps finished scales in the loss, so it needs --staged")
        asked = Variant(
            name="custom",
            skip=bool(self.residual),
            init=self.init or "old",
            staged=bool(self.staged),
            loss="current" if self.staged and not self.fair else "all",
            detach_finished=bool(self.fair),
        )
        return next((v for v in VARIANTS.values() if _same_training(v, asked)), asked)

    def _refuse_conflicts(self, chosen: Variant) -> None:
        has = {"staged": chosen.staged, "fair": chosen.detach_finished, "residual": chosen.skip}
        for name in _SWITCH_FIELDS:
            if getattr(self, name) not in (None, has[name]):
                flag, fact = (f"--{name}", "is not") if getattr(self, name) else (f"--no-{name}", "is")
                raise InputError(
                    f"--variant {chosen.name} {fact} {name}: omit {flag}, or give the switches without --variant"
                )
        if self.init not in (None, chosen.init):
            raise InputError(f"--variant {chosen.name} has --init {chosen.init}, not {self.init}; give only one")

    def stage_starts(self) -> tuple[int, ...]:
        """Epoch at which each scale joins: 0 for the first, and for all where the training is not staged.

        Raises
        ------
        InputError
            If ``stages`` does not name one later epoch for each further scale, or the epochs are too few for them.
        """
        given = _parsed_stages(self.stages) if isinstance(self.stages, str) else self.stages
        if not self.training().staged:
            if given is not None:
                raise InputError(f"--stages {_listed(given)} needs a staged variant")
            return (0,) * self.hidden_layers
        stages = given if given is not None else default_stages(self.epochs, self.hidden_layers)
        starts = (0, *stages)
        if len(starts) != self.hidden_layers:
            raise InputError(
                f"--stages must name {self.hidden_layers - 1} epochs, one for each scale after the first, "
                f"got {_listed(stages)}"
            )
        if any(b <= a for a, b in zip(starts, (*stages, self.epochs), strict=True)):
            raise InputError(
                f"stages must increase and lie between 0 and --epochs {self.epochs}, got {_listed(stages)}; "
                "give more epochs or other --stages"
            )
        return starts


@dataclass(frozen=True)
class ImageFitConfig(FitConfig):
    """Which images, and how they are fitted."""

    sources: tuple[str, ...] = ()
    """Image files, folders, .npz files with train_data and test_data, or built-in sets."""
    _: KW_ONLY
    dataset: str | None = None
    """A data set by its published name; natural stands for scikit-image's photographs here, text for generated text."""
    just_one: bool = False
    """Fit the first image of the set only."""
    crop: int | None = None
    """Crop each image to its central square of this many pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sources", tuple(str(s) for s in self.sources))
        require_numbers(self, {"crop": NumberRange(2 * LEAST_SIDE, 10**6, "pixels", whole=True)})

    @property
    def all_sources(self) -> tuple[str, ...]:
        """All that is to be fitted, however it was named."""
        return (*self.sources, *([self.dataset] if self.dataset else []))


@dataclass(frozen=True, kw_only=True)
class VolumeFitSettings(FitConfig):
    """How a density map is fitted: narrower and with three scales, as the published volumes."""

    hidden_dim: int = 128
    """Width of the network."""
    hidden_layers: int = 3
    """Scales, coarse to fine; each has one layer."""
    epochs: int = 2_000
    """Optimizer steps, each on all voxels."""
    downsample: Literal[1, 2] = 2
    """2 fits at half resolution and tests at full; 1 fits the full map, and the test equals the training data."""
    pixel_size: float | None = None
    """Pixel size in Å; overrides the map."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.downsample in (1, 2), "downsample", "1 or 2", self.downsample)
        require_numbers(self, {"pixel_size": PIXEL_SIZE})


@dataclass(frozen=True)
class VolumeFitConfig(VolumeFitSettings):
    """Which density map, and how it is fitted."""

    map: Path
    """The map: .mrc or .map, also compressed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "map", Path(self.map))


LEAST_SIDE = 11
"""Fewest training samples along a side: the window of the structural similarity."""


def default_stages(epochs: int, n_scales: int) -> tuple[int, ...]:
    """Epochs at which scales 2 to ``n_scales`` join: 5, 10 and 20 % of all for four scales, as published."""
    shares = [LAST_STAGE_SHARE / 2 ** (n_scales - i) for i in range(2, n_scales + 1)]
    stages: list[int] = []
    for share in shares:
        stages.append(max(round(share * epochs), (stages[-1] if stages else 0) + 1))
    return tuple(stages)


def _parsed_stages(text: str) -> tuple[int, ...]:
    """Read ``500,1000,2000``."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(
            f"--stages must be whole numbers separated by commas, such as 500,1000,2000, got {text}"
        ) from None


def _same_training(a: Variant, b: Variant) -> bool:
    keys = ("skip", "init", "staged", "loss", "detach_finished")
    return all(getattr(a, k) == getattr(b, k) for k in keys)


def _listed(stages: tuple[int, ...]) -> str:
    return ",".join(map(str, stages)) or "none"


def _require(holds: bool, field: str, what: str, got: object) -> None:
    if not holds:
        raise InputError(f"--{field.replace('_', '-')} must be {what}, got {got}")
