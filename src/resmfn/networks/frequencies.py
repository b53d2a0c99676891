"""How the frozen frequencies of the filters are drawn. All frequencies are in cycles per box."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.networks.bands import BandSchedule

Initialization = Literal["old", "new", "ball"]


@dataclass(frozen=True)
class FrequencyBox:
    """Where the frequencies of one filter lie: ``offset * r + u``, u uniform in the box of half-width ``spread``.

    ``r`` is one of :func:`offset_directions`; both lengths are in cycles per box.
    """

    spread: float
    offset: float = 0.0
    ball: float | None = None
    """Frequencies are drawn evenly from a ball of this radius, and those beyond ``spread`` are moved in to it."""

    @property
    def half_width(self) -> float:
        """Largest frequency on any axis, in cycles per box."""
        return self.spread + self.offset


def offset_directions(dim: int) -> Tensor:
    """One of each +- pair of the non-zero neighbors of the origin on the integer lattice.

    Returns
    -------
    Tensor
        (m, dim) int64 with m = (3^dim - 1) / 2: 4 directions in 2-D, 13 in 3-D. The last non-zero component is +1.
    """
    steps = itertools.product((-1, 0, 1), repeat=dim)
    return torch.tensor([r for r in steps if next((v for v in reversed(r) if v), 0) == 1], dtype=torch.int64)


def filter_boxes(
    bands: BandSchedule, box_size: int, *, init: Initialization, quantized: bool
) -> tuple[FrequencyBox, ...]:
    """Frequency box of each of the ``n_scales + 1`` filters.

    ``"old"`` (BACON, arXiv 2112.04645) fills the whole band that a scale adds. ``"new"`` (Shekarforoush et al.,
    arXiv 2206.00746) draws in a narrow box around lattice offsets, so that a scale writes mostly outside
    the band below it. ``"ball"`` is for fields whose band is a ball, such as maps: every frequency of the ball that a
    scale reaches has a filter drawn for it, the nearest that leaves room for the band below; nothing is spent on the
    corners of the cube, which are half of it.

    Parameters
    ----------
    bands
        Cut-offs as fractions of Nyquist.
    box_size
        Training grid, samples on each side: Nyquist is ``box_size / 2`` cycles per box.
    init
        Which of the three.
    quantized
        Round the half-widths to integers such that every partial sum is the integer nearest to its cut-off (each
        scale at least one cycle wider than the one below, where there is room), and the whole sum stays strictly
        below ``box_size / 2``.
    """
    if init not in ("old", "new", "ball"):
        raise InputError(f"init must be 'old' (BACON), 'new' (the residual network's) or 'ball', got {init!r}")
    reach = [c * box_size / 2 for c in bands.filter_cutoffs]
    if quantized:
        limit = (box_size - 1) // 2
        reach = [float(min(max(round(v), i), limit)) for i, v in enumerate(reach)]
    widths = [b - a for a, b in zip([0.0, *reach], reach, strict=False)]
    if init == "old":
        return tuple(FrequencyBox(w) for w in widths)
    if init == "ball":
        return tuple(FrequencyBox(w, ball=r) for w, r in zip(widths, reach, strict=True))
    offsets = [w * bands.offset_share for w in widths[1:]]
    if quantized:
        offsets = [float(round(v)) for v in offsets]
    return (FrequencyBox(widths[0]), *(FrequencyBox(w - o, o) for w, o in zip(widths[1:], offsets, strict=True)))


def draw_frequencies(box: FrequencyBox, n: int, dim: int, *, quantized: bool, generator: torch.Generator) -> Tensor:
    """Draw ``n`` frequencies from a box.

    Returns
    -------
    Tensor
        (n, dim) float64, cycles per box, on the generator's device; whole numbers if ``quantized``.
    """
    device = generator.device
    if box.ball is not None:
        return _draw_in_ball(box.ball, box.spread, n, dim, quantized=quantized, generator=generator)
    uniform = torch.rand(n, dim, generator=generator, dtype=torch.float64, device=device)
    if quantized:
        cells = 2 * round(box.spread) + 1
        spread = (uniform * cells).floor().clamp(max=cells - 1) - round(box.spread)
    else:
        spread = (2 * uniform - 1) * box.spread
    if box.offset == 0:
        return spread
    directions = offset_directions(dim).to(device)
    pick = torch.randint(len(directions), (n,), generator=generator, device=device)
    return spread + box.offset * directions[pick]


def _draw_in_ball(
    radius: float, most: float, n: int, dim: int, *, quantized: bool, generator: torch.Generator
) -> Tensor:
    """Draw evenly from a ball; what lies farther out than ``most`` is moved in to it."""
    device = generator.device
    direction = torch.randn(n, dim, generator=generator, dtype=torch.float64, device=device)
    share = torch.rand(n, 1, generator=generator, dtype=torch.float64, device=device)
    length = (radius * share.pow(1 / dim)).clamp_max(most)
    frequencies = direction / direction.norm(dim=1, keepdim=True) * length
    return frequencies.round() if quantized else frequencies
