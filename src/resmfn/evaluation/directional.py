"""Fourier shell correlation by direction: a map may be resolved along one axis and not along another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from resmfn.evaluation.fsc import FscCurve, last_shell_of_both, whitened
from resmfn.evaluation.views import fibonacci_half_sphere
from resmfn.fourier.grids import centered_indices
from resmfn.fourier.transforms import fftn_centered

CONE_DEGREES = 20.0
"""Half the opening of a cone (Tan et al. 2017)."""
N_DIRECTIONS = 200  # some 10 degrees apart, half a cone; no comparison recorded


@dataclass(frozen=True)
class DirectionalFsc:
    """Correlation in cones around directions that fill a half sphere evenly, each with its opposite."""

    directions: Tensor
    """(D, 3): unit vectors x, y, z, z >= 0."""
    frequency: Tensor
    """1/Å, (n_shells,)."""
    correlation: Tensor
    """(D, n_shells); 1 in shells that a cone does not meet. Shell 0 has no direction and holds what shell 1 does."""

    def resolutions(self, threshold: float = 0.143) -> Tensor:
        """Å in each direction, (D,): where the curve first falls below a threshold."""
        found = [FscCurve(self.frequency, curve).resolution_at(threshold) for curve in self.correlation]
        return torch.tensor(found, dtype=torch.float64)

    def area_ratio(self) -> float:
        """Return cFAR, the conical FSC area ratio, 0 to 1: the least area under a curve over the largest.

        Areas are over all frequencies to Nyquist, as cryoSPARC defines it; it calls less than 0.5 a preferred
        orientation.
        """
        areas = [max(0.0, FscCurve(self.frequency, curve).area()) for curve in self.correlation]
        return min(areas) / max(areas) if max(areas) > 0 else 0.0

    def sphericity(self, threshold: float = 0.143) -> float:
        """Return how round the resolved part of Fourier space is, 0 to 1.

        ``pi^(1/3) (6 V)^(2/3) / A`` of the body whose surface lies, in each direction, where the correlation falls
        below the threshold (Tan et al. measure the same of a thresholded grid; here the surface is triangulated).
        """
        radius = 1 / self.resolutions(threshold)
        points = self.directions.double()
        both = torch.cat((points, -points))
        faces = torch.as_tensor(ConvexHull(both.numpy()).simplices.astype("int64"))
        a, b, c = (torch.cat((radius, radius))[:, None] * both)[faces].unbind(dim=1)
        volume = float(torch.linalg.cross(a, b).mul(c).sum(dim=1).abs().sum()) / 6
        area = float(torch.linalg.cross(b - a, c - a).norm(dim=1).sum()) / 2
        return math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area if area > 0 else 0.0


def directional_fsc(
    half1: Tensor,
    half2: Tensor,
    pixel_size: float,
    mask: Tensor | None = None,
    *,
    added_by_mask: Tensor | None = None,
    n_directions: int = N_DIRECTIONS,
) -> DirectionalFsc:
    """Correlate two half maps shell by shell within cones around many directions.

    Parameters
    ----------
    half1, half2
        (N, N, N).
    pixel_size
        Å.
    mask
        (N, N, N): multiplies both first, after they were whitened as :func:`phase_randomized_fsc` does, whose
        correction is of whitened maps.
    added_by_mask
        (n_shells,): correlation that the mask makes by itself (:meth:`PhaseRandomizedFsc.added_by_mask`); subtracted
        from every direction.
    n_directions
        How many, over a half sphere.

    Notes
    -----
    Tan et al., Nature Methods 14 (2017) 793: conical FSC, half angle 20 degrees. Hard cones.
    """
    size = half1.shape[0]
    a, b = (fftn_centered(half.double() if mask is None else whitened(half) * mask) for half in (half1, half2))
    axis = centered_indices(size, device=half1.device, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack((x, y, z), dim=-1)
    radius = points.norm(dim=-1)
    n_shells = size // 2 + 1
    # A direction and its opposite are equivalent: half of the points suffice.
    used = (radius > 0.5) & (radius.round() < n_shells) & ((z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0)))))
    shell = radius[used].round().long()
    unit = points[used] / radius[used][:, None]
    a, b = a[used], b[used]
    parts = torch.stack(((a * b.conj()).real, a.abs().square(), b.abs().square()))
    directions = fibonacci_half_sphere(n_directions).to(half1.device)
    curves = []
    for direction in directions:
        inside = (unit @ direction).abs() >= math.cos(math.radians(CONE_DEGREES))
        sums = torch.zeros(3, n_shells, dtype=torch.float64, device=half1.device)
        sums.index_add_(1, shell[inside], parts[:, inside])
        power = (sums[1] * sums[2]).sqrt()
        curves.append(torch.where(power > 0, sums[0] / power.clamp_min(1e-300), 1.0))
    frequency = torch.arange(n_shells, dtype=torch.float64) / (size * pixel_size)
    correlation = torch.stack(curves).cpu()
    if added_by_mask is not None:
        added = added_by_mask.cpu()
        correlation = ((correlation - added) / (1 - added)).clamp_min(-1.0)
    correlation[:, last_shell_of_both(half1, half2) + 1 :] = 0  # what a mask lets leak into shells of no map
    correlation[:, 0] = correlation[:, 1]
    return DirectionalFsc(directions.cpu(), frequency, correlation)
