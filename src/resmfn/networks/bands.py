"""Frequency bands of the scales of a network. No torch here: bands are plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resmfn.core.errors import InputError

#: Spread and offset of the paper's schedule: each scale reaches 1 + 0.3 + 2 times as far as the one before.
PAPER_LAMBDAS = (0.3, 2.0)


@dataclass(frozen=True)
class BandSchedule:
    """Cut-off of every scale as a fraction of Nyquist, coarse to fine.

    Parameters
    ----------
    cutoffs
        One cut-off a scale, increasing, in (0, 1]. Scale 1 is the coarsest.
    lambdas
        ``(lambda_1, lambda_2)``: how the band that a scale adds is divided between the random spread of its
        filter's frequencies and their offset from the band below (only their ratio matters here). The band of the
        first filter, below scale 1, is ``cutoffs[0] / (1 + lambda_1 + lambda_2)``.

    Raises
    ------
    InputError
        If the cut-offs do not increase within (0, 1], or the lambdas do not widen the band.
    """

    cutoffs: tuple[float, ...]
    lambdas: tuple[float, float] = PAPER_LAMBDAS

    def __post_init__(self) -> None:
        """Refuse an impossible schedule."""
        _check_lambdas(self.lambdas)
        if not self.cutoffs:
            raise InputError("cutoffs must name at least one scale, got an empty tuple")
        if not all(0 < c <= 1 for c in self.cutoffs):
            raise InputError(f"cutoffs must lie in (0, 1] (fractions of Nyquist), got {self.cutoffs}")
        if any(b <= a for a, b in zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            raise InputError(f"cutoffs must increase from coarse to fine, got {self.cutoffs}")

    @classmethod
    def paper(cls, n_scales: int, lambdas: tuple[float, float] = PAPER_LAMBDAS) -> BandSchedule:
        """Schedule of the paper: each scale reaches ``1 + lambda_1 + lambda_2`` times as far; the last, Nyquist.

        Shekarforoush et al., NeurIPS 2022 (arXiv 2206.00746). With the default lambdas three scales end
        at 0.092, 0.303 and 1 of Nyquist.
        """
        if n_scales < 1:
            raise InputError(f"n_scales must be at least 1, got {n_scales}")
        _check_lambdas(lambdas)
        ratio = 1 + sum(lambdas)
        return cls(tuple(ratio ** (i - n_scales) for i in range(1, n_scales + 1)), lambdas)

    @property
    def n_scales(self) -> int:
        """Number of scales."""
        return len(self.cutoffs)

    @property
    def filter_cutoffs(self) -> tuple[float, ...]:
        """Cut-off reached after each of the ``n_scales + 1`` filters: that of the first filter, then ``cutoffs``."""
        return (self.cutoffs[0] / (1 + sum(self.lambdas)), *self.cutoffs)

    @property
    def offset_share(self) -> float:
        """Share of the band that a scale adds which is offset, not random spread."""
        return self.lambdas[1] / sum(self.lambdas)


def _check_lambdas(lambdas: tuple[float, ...]) -> None:
    if len(lambdas) != 2 or not all(math.isfinite(v) and v >= 0 for v in lambdas) or not sum(lambdas):
        raise InputError(
            f"lambdas must be two numbers >= 0, not both zero (spread, offset), got {lambdas}; "
            f"the paper uses {PAPER_LAMBDAS}"
        )
