"""What the phases of a run hand on, a record each: a phase replaces those that it gives, and changes none.

(n,) is of all rows of the particle file, in its order; Fourier pixels are cycles over the box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.poses.candidates import Candidates
from resmfn.reconstruction.poses.defocus import DefocusFit
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses


@dataclass(frozen=True)
class Starts:
    """The coarse map that a run goes on from, and the annealed starts that it was chosen among."""

    best: Tensor | None = None
    """(M, M, M): of the likeliest start, of a class, or the reference."""
    radius: float = 0.0
    """Fourier pixels, to which ``best`` goes."""
    mask_radius: float = 0.0
    """Pixels, of what is searched, where that is smaller than the mask; 0 where it is the mask."""
    maps: tuple[Tensor, ...] = ()
    """(M, M, M): of each start."""
    log_likelihoods: tuple[float, ...] = ()
    """Mean log marginal likelihood of an image, for each start."""
    agreement: tuple[float, ...] = ()
    """Correlation of each start's map with the best one's."""
    n_images: int = 0
    """That the starts use, where images are weak; 0 where it is the usual number."""

    def with_start(self, volume: Tensor, radius: float, log_likelihood: float) -> Starts:
        """Return these and one more start, which is the best if it is likelier than all before."""
        maps, log_likelihoods = (*self.maps, volume), (*self.log_likelihoods, log_likelihood)
        of_all = replace(self, maps=maps, log_likelihoods=log_likelihoods)
        is_best = log_likelihood > max(self.log_likelihoods, default=float("-inf"))
        return replace(of_all, best=volume, radius=radius) if is_best else of_all


@dataclass(frozen=True)
class PoseEstimates:
    """Poses of all images, and how well each is known."""

    best: Poses | None = None
    """(n,)."""
    candidates: Candidates | None = None
    """(n, K): peaks of the exhaustive pass, the best first; None where the input gave the poses."""
    max_probability: Tensor | None = None
    """(n,): of a single point of the exhaustive pass."""
    entropy: Tensor | None = None
    """(n,): nat, of the exhaustive pass's posterior."""

    def moved(self, some: Iterable[PosedImages]) -> PoseEstimates:
        """Return these with the poses that some images have now."""
        if self.best is None:
            raise RuntimeError("poses moved before there were any")
        rotation, shift = self.best.rotation.clone(), self.best.shift.clone()
        for posed in some:
            rotation[posed.index] = posed.poses.rotation
            shift[posed.index] = posed.poses.shift
        return replace(self, best=Poses(rotation, shift))

    def select(self, rows: Tensor) -> PoseEstimates:
        """Return those of some images, by their rows."""
        return PoseEstimates(
            None if self.best is None else self.best.select(rows),
            None if self.candidates is None else self.candidates.select(rows),
            _rows(self.max_probability, rows),
            _rows(self.entropy, rows),
        )


@dataclass(frozen=True)
class ImageQualities:
    """How strong and how noisy images are, and what each shows; None before it is estimated."""

    noise_power: Tensor | None = None
    """(groups, shells): noise variance of a complex pixel of each optics group, in units of the first estimate."""
    gain: Tensor | None = None
    """(n,): strength of each image's signal."""
    good: Tensor | None = None
    """(n,): probability of each image to show the molecule; of a class, to show that class."""
    copy_shares: Tensor | None = None
    """(n, m): how likely each image shows each symmetric copy of its pose, where the symmetry is relaxed."""

    def judged(self, index: Tensor, gain: Tensor, good: Tensor, n_images: int) -> ImageQualities:
        """Return these with the gain and the probability (m,) of some images; others of ``n_images`` begin with 1."""
        ones = gain.new_ones(n_images)
        all_gains = ones.clone() if self.gain is None else self.gain.clone()
        all_good = ones if self.good is None else self.good.clone()
        all_gains[index], all_good[index] = gain, good
        return replace(self, gain=all_gains, good=all_good)

    def with_copies_of(self, some: Iterable[PosedImages], n_images: int) -> ImageQualities:
        """Return these with the shares that copies have in some images; others of ``n_images`` begin with 0."""
        shares = None if self.copy_shares is None else self.copy_shares.clone()
        for posed in some:
            if posed.copies is not None:
                if shares is None:
                    shares = posed.copies.share.new_zeros(n_images, len(posed.copies.group))
                shares[posed.index] = posed.copies.share
        return replace(self, copy_shares=shares)

    def select(self, rows: Tensor) -> ImageQualities:
        """Return those of some images, by their rows."""
        return ImageQualities(
            self.noise_power, _rows(self.gain, rows), _rows(self.good, rows), _rows(self.copy_shares, rows)
        )


@dataclass(frozen=True)
class Defocus:
    """How far images are off from the defocus that their file says, where that is refined."""

    offset: Tensor | None = None
    """(n,): Å, the most probable; None before the first round that asks."""
    told: Tensor | None = None
    """(n,): whether the image itself tells it, more than the prior does."""
    spread: Mapping[str, float] = field(default_factory=dict)
    """Å: standard deviation of the offsets of half1, half2 and joint, as learned last."""
    change: float = math.inf
    """Å: median change of the offsets in the last round."""

    def after(self, fits: Mapping[str, DefocusFit], some: Mapping[str, Tensor], n_images: int) -> Defocus:
        """Return it after a round that has asked some images, int64 (m,) by name, of ``n_images``."""
        first = next(iter(fits.values())).offset
        offset = first.new_zeros(n_images) if self.offset is None else self.offset.clone()
        told = torch.zeros_like(offset, dtype=torch.bool) if self.told is None else self.told.clone()
        before = offset.clone()
        for name, fit in fits.items():
            offset[some[name]], told[some[name]] = fit.offset, fit.told
        spread = {**self.spread, **{name: fit.spread for name, fit in fits.items()}}
        return Defocus(offset, told, spread, float((offset - before).abs().median()))


@dataclass(frozen=True)
class Band:
    """How far the maps of a run go, in Fourier pixels; 0 before there are any."""

    radius: float = 0.0
    """Of the last step."""
    split: float = 0.0
    """Of the last map that all images made together: the half sets are independent beyond it."""


@dataclass(frozen=True)
class Maps:
    """Maps in the box that the run has reached, and the networks fitted to them, by name."""

    references: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, B, B): masked maps of half1, half2 and joint, against which poses are moved."""
    unmasked: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, B, B): of half1 and half2, solved without network and mask."""
    networks: Mapping[str, Any] = field(default_factory=dict)
    """States of the networks."""

    def with_references(self, references: Mapping[str, Tensor]) -> Maps:
        """Return these with some references replaced."""
        return replace(self, references={**self.references, **references})

    def resized(self, size: int) -> Maps:
        """Return the maps in a box of so many voxels a side."""
        return replace(
            self,
            references={name: resized(volume, size) for name, volume in self.references.items()},
            unmasked={name: resized(volume, size) for name, volume in self.unmasked.items()},
        )


@dataclass(frozen=True)
class Agreement:
    """How far the half maps agree, round by round."""

    fsc: Tensor | None = None
    """(shells,): of the half maps of the last round; None before the first."""
    resolutions: tuple[float, ...] = ()
    """Å, where the half maps of each round fell below 0.143."""
    rounds_at_rest: int = 0
    """Rounds of the halves, up to the last one, in which nothing moved."""

    @property
    def last_resolution(self) -> float:
        """Å, of the last round; infinite before the first."""
        return self.resolutions[-1] if self.resolutions else math.inf

    def after(self, fsc: Tensor, resolution: float) -> Agreement:
        """Return it after one more comparison."""
        return replace(self, fsc=fsc, resolutions=(*self.resolutions, resolution))

    def corrected(self, resolution: float) -> Agreement:
        """Return it with another resolution, Å, of the last comparison."""
        return replace(self, resolutions=(*self.resolutions[:-1], resolution))

    def resting(self, rests: bool) -> Agreement:
        """Return it after a round in which nothing moved, or something did."""
        return replace(self, rounds_at_rest=self.rounds_at_rest + 1 if rests else 0)


@dataclass(frozen=True)
class SoftRounds:
    """Rounds that sum images over all poses rather than insert them at the best one."""

    are_on: bool = False
    priors: Mapping[str, Tensor] = field(default_factory=dict)
    """(shells,): penalty of the next map of each name, on the grid of the band's radius."""


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else values[rows]
