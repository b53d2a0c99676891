"""What images say of a map that was made without them: whether there is a structure, and its symmetry."""

from __future__ import annotations

from dataclasses import asdict, dataclass

N_HELD_OUT = 500
"""Most held-out images that a test uses; more would only reduce the standard error. No comparison recorded."""

LEAST_GAIN_ERRORS, LEAST_LEAD_ERRORS = 5.0, 3.0
"""Standard errors by which images must prefer a map to what it is compared with, and to its decoys. Pure noise, white
or colored, stays within 2.5; particles at SNR 0.03 reach 20 and more (docs/validation.md)."""

LEAST_GAIN = 0.1
"""Nat an image: of less, images cannot tell their poses, however sure the gain is. Particles at SNR 0.01 reach 1 to 3;
windows of real ice whose seams were all at the same place reached 0.0033 +- 0.0006, and "agreed" to Nyquist."""


@dataclass(frozen=True)
class NoiseControl:
    """Evidence of held-out images for a map."""

    n_images: int
    gain: float
    """Mean log marginal likelihood of an image under the map, over that of noise alone, nat."""
    gain_error: float
    """Its standard error."""
    lead: float
    """Mean of the same over the mean of the decoys, nat."""
    lead_error: float

    @property
    def is_structure(self) -> bool:
        """Whether the images show a structure."""
        return self.gain > LEAST_GAIN and _is_beyond_chance(self)


@dataclass(frozen=True)
class CopyTest:
    """Evidence of held-out images for a difference between the symmetric copies in a map."""

    group: str
    n_images: int
    gain: float
    """Mean log-likelihood of an image over the copies of its pose, under the map of other images without the symmetry,
    over that under its symmetric part, nat."""
    gain_error: float
    """Its standard error."""
    lead: float
    """The same over that of random differences as strong, nat."""
    lead_error: float
    resolution: float
    """Å, to which was compared."""

    @property
    def are_told_apart(self) -> bool:
        """Whether images tell the copies of the group apart."""
        return _is_beyond_chance(self)

    def as_dict(self) -> dict[str, float | bool | str]:
        """Return the fields, and whether copies are told apart."""
        return {**asdict(self), "are_told_apart": self.are_told_apart}


def _is_beyond_chance(test: NoiseControl | CopyTest) -> bool:
    """Return whether images prefer a map to what it is compared with, and to its decoys."""
    return test.gain > LEAST_GAIN_ERRORS * test.gain_error and test.lead > LEAST_LEAD_ERRORS * test.lead_error


@dataclass(frozen=True)
class HeldOutTests:
    """The tests that a run has made on images held out of its maps; None where it has not."""

    structure: NoiseControl | None = None
    """Of the coarse map against noise."""
    copies: CopyTest | None = None
    """Of the map's point group, or the one that is relaxed."""

    @property
    def tell_copies_apart(self) -> bool:
        """Whether images are known to tell the copies of the group apart."""
        return self.copies is not None and self.copies.are_told_apart
