"""Compiled loops for the two passes over all images that cost most, where numba is installed.

They do what :func:`resmfn.physics.projection.add_slices` and the pose steps do by PyTorch, in about half the time, in
single precision on a CPU. Elsewhere, and without numba, PyTorch does it: results differ by rounding alone.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from types import ModuleType

import torch
from numpy.typing import NDArray
from torch import Tensor


class CompiledLoops:
    """The loops of :mod:`resmfn.physics.compiled.kernels`, for tensors."""

    def __init__(self, kernels: ModuleType) -> None:
        self._kernels = kernels

    def add_slices(
        self, sums: tuple[Tensor, Tensor], values: Tensor, weights: Tensor, frames: Tensor, pixels: Tensor, padding: int
    ) -> None:
        """Do what :func:`resmfn.physics.projection.add_slices` does. The sums must be contiguous."""
        of_values, of_weights = (torch.view_as_real(sums[0]).numpy(), sums[1].numpy())
        added = (_reals(values), _reals(weights))
        self._kernels.add_slices(of_values, of_weights, _reals(frames), pixels.contiguous().numpy(), padding, *added)

    def slope_rows(
        self,
        transform: Tensor,
        poses: tuple[Tensor, Tensor],
        pixels: Tensor,
        padding: int,
        ctf: Tensor,
        images: Tensor,
        per_angstrom: float,
        rows: Tensor,
    ) -> None:
        """Fill the rows of images that a pose step needs.

        Parameters
        ----------
        transform
            Complex ``(M, M, M)``: padded transform of the map.
        poses
            Rotations ``(n, 3, 3)`` and shifts ``(n, 2)`` in Å.
        pixels
            int64 ``(P, 2)``: (kx, ky).
        padding
            Of the transform.
        ctf, images
            Real and complex ``(n, P)``.
        per_angstrom
            ``2 pi / (N pixel_size)``: phase of a pixel at k = 1 per Å of shift.
        rows
            Contiguous ``(n, F + 2, 2 P)``, real and imaginary parts by turns: slopes of the model ``C S`` along the
            turns about x, y and z; along both shifts, where F is 5; the model; the image, where F is 5 with its shift
            taken out.
        """
        rotation, shift = poses
        self._kernels.slope_rows(
            _reals(transform),
            (_reals(rotation), _reals(shift)),
            pixels.contiguous().numpy(),
            padding,
            _reals(ctf),
            _reals(images),
            per_angstrom,
            rows.view(*rows.shape[:2], -1, 2).numpy(),
        )


def compiled_loops(*tensors: Tensor) -> CompiledLoops | None:
    """Return the loops that take some tensors: on a CPU, in single precision, without gradients, where numba is."""
    kinds = (torch.float32, torch.complex64)
    suits = all(t.device.type == "cpu" and t.dtype in kinds and not t.requires_grad for t in tensors)
    return _loops() if suits else None


def version_of_numba() -> str | None:
    """Return the version of numba that compiles the loops; None without it."""
    return None if _loops() is None else version("numba")


@cache
def _loops() -> CompiledLoops | None:
    try:
        from resmfn.physics.compiled import kernels
    except ImportError:
        return None
    return CompiledLoops(kernels)


def _reals(values: Tensor) -> NDArray:
    """Return numbers as a contiguous array of real ones; complex ones in pairs."""
    values = values.detach().resolve_conj().resolve_neg().contiguous()
    return (torch.view_as_real(values) if values.is_complex() else values).numpy()
