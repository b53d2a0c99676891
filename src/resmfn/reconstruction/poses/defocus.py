"""How far the defocus of each image is off from what its file says, by the likelihood of its slice.

The likelihood of an offset has side maxima, as the CTF oscillates. So it is tabled over a range of offsets, finely
enough that a parabola through three of them finds its peak: an image's slice and its products with the image are
computed once, and the CTF goes from offset to offset by a turn of each pixel
(:func:`resmfn.physics.ctf_along_defocus`).

The prior of offsets is a Gaussian about 0, whose standard deviation is learned from the tables of all images: the one
under which they are likeliest. There it is the mean of squared offset and variance of the posteriors: the fixed point
of expectation maximization, which comes to 0 only in infinitely many steps, and here it may be 0. Where images cannot
tell, it is: their defocus stays what it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.physics import electron_wavelength
from resmfn.physics.projection import slice_order
from resmfn.physics.trilinear import points_at_a_time
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses.pose_refinement import PoseModel
from resmfn.reconstruction.poses.posed_images import Poses, centered_ctf

FIRST_SPREAD = 200.0
"""Å: half the thickness of the ice that particles lie in, about, where micrographs have one defocus each.
No comparison recorded."""
REACH = 3.0
"""Offsets are looked for up to so many standard deviations."""
LEAST_REACH, MOST_REACH = 300.0, 3000.0
"""Å: a set that could not tell may do so in a finer band; defocus that is further off is another matter."""
PHASE_STEP = 0.5
"""Radians at the rim of the band, by which the phase of the CTF differs between neighboring offsets.
No comparison recorded."""
_LEAST_SPREAD, _SPREAD_STEP = 5.0, 1.1
"""Å, and factor: the standard deviations that are tried beside 0."""
LEAST_EVIDENCE = 3.0
"""Nat by which all images together must prefer a standard deviation to 0: chance prefers some by one or two."""
TOLD = 0.5
"""Share of the prior's variance below which an image is said to tell its defocus."""


@dataclass(frozen=True)
class DefocusFit:
    """Offsets of the defocus of some images (n,), Å."""

    offset: Tensor
    """The most probable one."""
    deviation: Tensor
    """Standard deviation of the posterior."""
    spread: float
    """Standard deviation of the prior."""

    @property
    def told(self) -> Tensor:
        """Whether each image, bool (n,), says more of its defocus than the prior does."""
        return self.deviation.square() < TOLD * self.spread**2


def refine_defocus(
    observations: Observations,
    index: Tensor,
    poses: Poses,
    model: PoseModel,
    spread: float,
    weight: Tensor | None = None,
) -> DefocusFit:
    """Find the offset of each image's defocus from that of its file.

    Parameters
    ----------
    observations
        The images.
    index
        int64 (n,): which of them, one for each pose.
    poses
        Where they see the map; they are not moved.
    model
        The map.
    spread
        Å: standard deviation that offsets are thought to have; how far is looked follows from it.
    weight
        (n,): probability of each image to show the particle, by which its likelihood counts; by default 1. Of noise
        the likelihood says only at which defocus the map is faintest.
    """
    offsets = offsets_to_try(observations, model.radius, spread).to(observations.device)
    table = likelihood_table(observations, index, poses, model, offsets)
    if weight is not None:
        table = table * weight[:, None]
    learned = likeliest_spread(table, offsets)
    return DefocusFit(*posterior_offsets(table, offsets, learned), learned)


def offsets_to_try(observations: Observations, radius: float, spread: float) -> Tensor:
    """Return the offsets (K,), Å, evenly about 0, that a spread and a band to a radius in Fourier pixels ask for."""
    frequency = radius / (observations.box_size * observations.pixel_size)
    longest = float(electron_wavelength(observations.known_optics().voltage).max())
    step = PHASE_STEP / (math.pi * longest * frequency**2)
    reach = min(max(REACH * spread, LEAST_REACH), MOST_REACH)
    count = max(1, math.ceil(reach / step))
    return torch.linspace(-1, 1, 2 * count + 1) * reach


def likelihood_table(
    observations: Observations, index: Tensor, poses: Poses, model: PoseModel, offsets: Tensor
) -> Tensor:
    """Return the log-likelihood (n, K) of each offset of defocus (K,) over that of pure noise, for images at poses."""
    n_pixels = observations.n_pixels(model.radius)
    pixels = observations.pixels[:n_pixels]
    table = observations.noise_level.new_zeros(len(index), len(offsets))
    step = float(offsets[1] - offsets[0])

    def looked_up(rows: Tensor) -> Tensor:
        there, images = poses.select(rows), index[rows]
        values, _ = observations.batch(images, n_pixels)
        frames = observations.magnification.frames(images, there.rotation)
        slices = model.grid.slices(model.transform, frames, pixels)
        z, rate = observations.ctf_along_defocus(images, n_pixels)
        centered = values * centered_ctf(observations, torch.ones_like(rate), there.shift)
        overlap, power = 2 * (slices.conj() * centered).real, slices.real.square() + slices.imag.square()
        z = z * torch.polar(torch.ones_like(rate), rate * float(offsets[0]))
        turn = torch.polar(torch.ones_like(rate), rate * step)
        found = []
        for _ in offsets:
            ctf = z.imag
            found.append(((overlap - power * ctf) * ctf).sum(dim=1))
            z = z * turn
        return torch.stack(found, dim=1)

    at_once = max(1, points_at_a_time(observations.device) // n_pixels)
    for rows, of_rows in observations.in_chunks(
        "refining defocus", index, at_once, looked_up, order=slice_order(poses.rotation)
    ):
        table[rows] = of_rows
    observations.team.sum_(table)
    return table


def likeliest_spread(table: Tensor, offsets: Tensor) -> float:
    """Return the standard deviation of offsets, Å, under which the images of a table are likeliest; 0 if none tell.

    Parameters
    ----------
    table, offsets
        Log-likelihoods (n, K), and the offsets (K,), evenly about 0.
    """
    reach = float(offsets[-1])
    count = max(0, math.ceil(math.log(reach / _LEAST_SPREAD) / math.log(_SPREAD_STEP)))
    tried = [_LEAST_SPREAD * _SPREAD_STEP**number for number in range(count)]
    values = table.double()
    best, most = 0.0, float(values[:, len(offsets) // 2].sum()) + LEAST_EVIDENCE
    for spread in tried:
        prior = torch.log_softmax(-0.5 * (offsets.double() / spread).square(), dim=0)
        evidence = float(torch.logsumexp(values + prior, dim=1).sum())
        if evidence > most:
            best, most = spread, evidence
    return best


def posterior_offsets(table: Tensor, offsets: Tensor, spread: float) -> tuple[Tensor, Tensor]:
    """Return the most probable offset (n,) of each image under a prior, and the posterior's standard deviation (n,).

    Parameters
    ----------
    table, offsets
        As for :func:`likeliest_spread`.
    spread
        Å: standard deviation of the prior; 0 leaves all images where they are.
    """
    if spread == 0:
        return table.new_zeros(len(table)), table.new_zeros(len(table))
    log_posterior = table.double() - 0.5 * (offsets.double() / spread).square()
    posterior = torch.softmax(log_posterior, dim=1)
    mean = posterior @ offsets.double()
    variance = (posterior * (offsets.double() - mean[:, None]).square()).sum(dim=1)
    best = log_posterior.argmax(dim=1)
    inner = best.clamp(1, len(offsets) - 2)
    before, there, after = (log_posterior.gather(1, (inner + side)[:, None])[:, 0] for side in (-1, 0, 1))
    vertex = 0.5 * (before - after) / (before - 2 * there + after).clamp_max(-1e-12)
    beyond = torch.where(best == inner, vertex.clamp(-0.5, 0.5), torch.zeros_like(vertex))
    offset = offsets.double()[best] + beyond * float(offsets[1] - offsets[0])
    return offset.to(table), variance.sqrt().to(table)
