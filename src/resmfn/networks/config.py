"""Settings of a network, as one record that a checkpoint can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resmfn.core.errors import InputError
from resmfn.networks.bands import PAPER_LAMBDAS, BandSchedule
from resmfn.networks.frequencies import Initialization

FilterKind = Literal["sine", "gabor"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Everything but the random draw that decides a network; plain values only."""

    dim: int
    """Dimensions of the coordinates: 2 for images, 3 for volumes."""
    hidden_dim: int
    """Width: number of sines in each filter."""
    out_dim: int = 1
    """Values at each point: 1 for densities, 3 for colors."""
    n_scales: int = 3
    """Number of band-limited outputs, coarse to fine."""
    box_size: int = 64
    """Training grid, samples on each side; its Nyquist frequency is the full band."""
    residual: bool = True
    """Output of a scale is the sum of the heads so far (Residual MFN), not its own head alone (BACON)."""
    init: Initialization = "new"
    """How frequencies are drawn: BACON's "old", the residual network's "new", or "ball"."""
    quantized: bool = True
    """Whole cycles per box: the field is periodic and every scale an exact finite Fourier series."""
    filter: FilterKind = "sine"
    """Filter family; "gabor" has no exact band, so it cannot be quantized."""
    head_scale: float = 1.0
    """Factor on the heads' starting width sqrt(6 / hidden_dim); small values start near zero density."""
    lambdas: tuple[float, float] = PAPER_LAMBDAS
    """(spread, offset) of the band schedule."""
    cutoffs: tuple[float, ...] | None = None
    """Cut-off of each scale as a fraction of Nyquist, coarse to fine; None is the paper's schedule."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        least = {"dim": 1, "hidden_dim": 1, "out_dim": 1, "n_scales": 1, "box_size": 3}
        for name, minimum in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < minimum:
                raise InputError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
        if self.init not in ("old", "new", "ball"):
            raise InputError(f"init must be 'old' (BACON), 'new' (the residual network's) or 'ball', got {self.init!r}")
        if self.filter not in ("sine", "gabor"):
            raise InputError(f"filter must be 'sine' or 'gabor', got {self.filter!r}")
        if self.filter == "gabor" and self.quantized:
            raise InputError("Gabor filters are not finite Fourier series, got quantized=True; pass quantized=False")
        if not self.head_scale >= 0:
            raise InputError(f"head_scale must be at least 0, got {self.head_scale}")
        _ = self.bands  # refuses bad lambdas and cut-offs

    @property
    def bands(self) -> BandSchedule:
        """The band schedule: the paper's for these scales and lambdas, or the cut-offs that are stated."""
        if self.cutoffs is None:
            return BandSchedule.paper(self.n_scales, self.lambdas)
        if len(self.cutoffs) != self.n_scales:
            raise InputError(f"cutoffs must name {self.n_scales} scales (n_scales), got {self.cutoffs}")
        return BandSchedule(self.cutoffs, self.lambdas)
