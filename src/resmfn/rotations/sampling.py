"""Random and regular samplings of SO(3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError
from resmfn.rotations.convert import matrix_from_quaternion

_FIBONACCI_PSI = 1.533751168755204288118041  # root of psi^4 = psi + 4


def random_rotations(n: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw ``n`` rotations uniformly (Haar) from SO(3); ``(n, 3, 3)`` on the generator's device."""
    normal = torch.randn(n, 4, generator=generator, dtype=dtype, device=generator.device)
    return matrix_from_quaternion(normal)


def super_fibonacci(n: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
    """Return ``n`` rotations ``(n, 3, 3)`` spread evenly over SO(3), the same ones every time.

    References
    ----------
    Alexa (2022), "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)", CVPR, algorithm 1.
    """
    s = torch.arange(n, dtype=torch.float64) + 0.5
    inner, outer = (s / n).sqrt(), (1 - s / n).sqrt()
    alpha = 2 * math.pi * s / math.sqrt(2)
    beta = 2 * math.pi * s / _FIBONACCI_PSI
    quaternion = torch.stack((inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos()), -1)
    return matrix_from_quaternion(quaternion).to(device=device, dtype=dtype)


def concentrated_rotations(
    n: int, concentration: float, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw rotations with density proportional to ``exp(concentration * |cos tilt|)``; ``(n, 3, 3)``.

    Views along +z and -z of the map become more likely than others, ``exp(concentration)`` times as likely as side
    views; 0 is uniform. Rotation in the plane of the image stays uniform. Drawn by rejection.

    Raises
    ------
    ResmfnError
        ``concentration`` is negative or beyond 100.
    """
    if not 0 <= concentration <= 100:
        raise ResmfnError(f"concentration of views must lie in [0, 100], got {concentration}")
    kept = [torch.empty(0, 3, 3, dtype=dtype, device=generator.device)]
    missing = n
    while missing > 0:
        candidates = random_rotations(max(1024, 2 * missing), generator=generator, dtype=dtype)
        chance = (concentration * (candidates[:, 2, 2].abs() - 1)).exp()
        draw = torch.rand(len(candidates), generator=generator, dtype=dtype, device=generator.device)
        accepted = candidates[draw < chance][:missing]
        kept.append(accepted)
        missing -= len(accepted)
    return torch.cat(kept)
