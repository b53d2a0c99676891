"""The scores of an exhaustive pass: products of matrices, in full precision or in TF32 with the best ones redone.

TF32 is what a GPU's matrix units make of fp32: operands with 10 bits behind the point, sums in fp32. The rounding is
done here, so that the scores are the same wherever they are computed, and a CPU can say what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError
from resmfn.reconstruction.config import ScorePrecision

RESCORED = 16
"""Best poses of each image, beyond those that are listed, that are scored again in full precision."""
_LOST_BITS = 13


class SliceProducts:
    """Slices of a map (G, P), complex, ready to be multiplied with images.

    Parameters
    ----------
    slices
        Complex64 for TF32.
    precision
        Of the products; see the module.
    """

    def __init__(self, slices: Tensor, precision: ScorePrecision) -> None:
        self.exact = precision == "full"
        self._rows = torch.cat((slices.real, slices.imag), dim=1)
        self._power_rows = slices.abs().square()
        self._matrix = self._prepared(self._rows.T.contiguous())
        self._power = self._prepared(self._power_rows.T.contiguous())

    def scores(self, images: Tensor, power: Tensor, log_prior: Tensor | None = None) -> Tensor:
        """Return ``2 Re <C Y, S> - <C^2, |S|^2>`` of every image at every slice, and the shift's log prior with it.

        Parameters
        ----------
        images
            ``C Y`` of each image at each of T shifts, real (n * T, 2 P): real parts, then imaginary ones.
        power
            ``C^2`` (n, P).
        log_prior
            (n, T); by default none.

        Returns
        -------
        Tensor
            (n, T, G).
        """
        with _tf32_products(enabled=not self.exact):
            prior = power.new_zeros(1, len(images) // len(power), 1) if log_prior is None else log_prior[:, :, None]
            score = prior - torch.mm(self._prepared(power), self._power)[:, None]
            score.view(len(images), -1).addmm_(self._prepared(images), self._matrix, alpha=2)
        return score

    def scores_again(self, images: Tensor, power: Tensor, candidates: Tensor) -> Tensor:
        """Return, in full precision, the scores at some candidates (n, k), given as ``shift * G + slice``."""
        n_slices, n = len(self._rows), len(power)
        n_shifts = len(images) // n
        first = torch.arange(n, device=images.device) * n_shifts
        found = torch.empty(candidates.shape, dtype=images.dtype, device=images.device)
        for k, candidate in enumerate(candidates.unbind(dim=1)):
            slices = candidate % n_slices
            image = images[first + candidate // n_slices]
            found[:, k] = 2 * (image * self._rows[slices]).sum(dim=1) - (power * self._power_rows[slices]).sum(dim=1)
        return found

    def mean_slices(self, share: Tensor) -> Tensor:
        """Return means (n, 2 P) of the slices by some weights (n, G), as real rows."""
        return share @ self._rows

    def _prepared(self, operand: Tensor) -> Tensor:
        return operand if self.exact else rounded_to_tf32(operand)


def rounded_to_tf32(values: Tensor) -> Tensor:
    """Round fp32 numbers to the nearest that TF32 has, ties to even.

    Raises
    ------
    ShapeError
        Numbers of another precision.
    """
    if values.dtype != torch.float32:
        raise ShapeError(f"TF32 is a rounding of float32, got {values.dtype}; use full precision")
    bits = values.contiguous().view(torch.int32)
    half = (1 << (_LOST_BITS - 1)) - 1
    bits = (bits + half + ((bits >> _LOST_BITS) & 1)) & ~((1 << _LOST_BITS) - 1)
    return bits.view(torch.float32)


@contextmanager
def _tf32_products(*, enabled: bool) -> Iterator[None]:
    """Let a GPU's matrix units take these products; nothing else is left to them, rotations least of all."""
    if not enabled:
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before
