"""Frozen filters: the functions of position whose products make up a multiplicative filter network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from resmfn.networks.frequencies import FrequencyBox, draw_frequencies

#: Shape of the Gamma law of all envelope precisions together (Fathony et al., ICLR 2021, appendix: alpha = 6).
GABOR_SHAPE = 6.0
#: Its scale in a box of side 1: the source's 1 for a box of side 2, times 2^2.
GABOR_SCALE = 4.0
#: Standard deviations of an envelope's spectrum that count as its band (amplitude 3e-4 at the edge).
GABOR_SIGMAS = 4.0


class SineFilter(nn.Module):
    """``g(x) = sin(2 pi k . x + b)``: frozen frequencies, b uniform in [-pi, pi).

    The Fourier filter of Fathony et al., ICLR 2021. Its buffers are ``frequencies`` (hidden_dim, dim) in cycles
    per box and ``phases`` (hidden_dim,) in radians.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(
        self, box: FrequencyBox, hidden_dim: int, dim: int, *, quantized: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.box = box
        frequencies = draw_frequencies(box, hidden_dim, dim, quantized=quantized, generator=generator)
        uniform = torch.rand(hidden_dim, generator=generator, dtype=torch.float64, device=generator.device)
        self.register_buffer("frequencies", frequencies.cpu())
        self.register_buffer("phases", (2 * math.pi * (uniform - 0.5)).cpu())

    @property
    def half_width(self) -> float:
        """Largest frequency on any axis, in cycles per box."""
        return self.box.half_width

    def forward(self, coords: Tensor) -> Tensor:
        """Values at ``coords`` (P, dim) in boxes: (P, hidden_dim)."""
        cycles = coords @ self.frequencies.T
        # Whole periods are removed first: in single precision sin() of a large angle would lose the low digits.
        return torch.sin((cycles - cycles.round()).mul_(2 * math.pi).add_(self.phases))


class GaborFilter(SineFilter):
    """A sine under a Gaussian: ``sin(2 pi k . x + b) exp(-gamma |x - mu|^2 / 2)``.

    The Gabor filter of Fathony et al., ICLR 2021. Centers ``mu`` (hidden_dim, dim) are uniform in the box; precisions
    ``gamma`` (hidden_dim,) follow a Gamma law (drawn as chi-square, so its shape is a multiple of one half) that
    gives the product of ``n_filters`` envelopes a shape near 6. The envelope has tails: its band is a convention,
    4 standard deviations of its spectrum, and the field is not periodic.
    """

    centers: Tensor
    precisions: Tensor

    def __init__(
        self, box: FrequencyBox, hidden_dim: int, dim: int, *, n_filters: int, generator: torch.Generator
    ) -> None:
        super().__init__(box, hidden_dim, dim, quantized=False, generator=generator)
        centers = torch.rand(hidden_dim, dim, generator=generator, dtype=torch.float64, device=generator.device) - 0.5
        degrees = max(1, round(2 * GABOR_SHAPE / n_filters))
        normal = torch.randn(hidden_dim, degrees, generator=generator, dtype=torch.float64, device=generator.device)
        self.register_buffer("centers", centers.cpu())
        self.register_buffer("precisions", (GABOR_SCALE * normal.square().sum(1) / 2).cpu())

    @property
    def half_width(self) -> float:
        """Band of the sine plus four standard deviations of the widest envelope's spectrum, cycles per box."""
        return self.box.half_width + GABOR_SIGMAS * math.sqrt(float(self.precisions.max())) / (2 * math.pi)

    def forward(self, coords: Tensor) -> Tensor:
        """Values at ``coords`` (P, dim) in boxes: (P, hidden_dim)."""
        square = coords.square().sum(1, keepdim=True) + self.centers.square().sum(1) - 2 * coords @ self.centers.T
        return super().forward(coords) * torch.exp(-0.5 * self.precisions * square)
