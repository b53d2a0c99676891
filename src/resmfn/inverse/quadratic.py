"""Quadratics ``<x, K x> - 2 <b, x>``: the log-likelihood of a field under a linear operator and Gaussian noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from resmfn.core.errors import ShapeError
from resmfn.fourier import radius_grid
from resmfn.inverse.linear_operator import LinearOperator, check_cube, inner


class NormalOperator(Protocol):
    """A quadratic ``<x, K x> - 2 <b, x>`` of a field x, K symmetric and positive; its minimum solves ``K x = b``."""

    @property
    def rhs(self) -> Tensor:
        """``b``, a field."""

    def apply(self, field: Tensor) -> Tensor:
        """Return ``K x``."""

    def objective(self, field: Tensor) -> Tensor:
        """Return ``<x, K x> - 2 <b, x>``; differentiable."""


class Prior(Protocol):
    """A penalty ``<x, P x>``, P symmetric and positive: the smaller, the more is expected."""

    def apply(self, field: Tensor) -> Tensor:
        """Return ``P x``."""


class LeastSquares:
    """The weighted squared residual of data ``y``: ``|A x - y|^2 - |y|^2 = <x, A'WA x> - 2 <A'W y, x>``.

    Parameters
    ----------
    operator
        A.
    data
        y, of A's codomain.
    weights
        W: inverse variances of the data, real, that broadcast to the data's shape; None is 1.
    """

    def __init__(self, operator: LinearOperator, data: Tensor, weights: Tensor | None = None) -> None:
        self.operator, self.weights = operator, weights
        self.rhs = operator.adjoint(self._weighted(data))

    def apply(self, field: Tensor) -> Tensor:
        """Return ``A'WA x``."""
        return self.operator.adjoint(self._weighted(self.operator(field)))

    def objective(self, field: Tensor) -> Tensor:
        """Return the squared residual less that of an empty field; once differentiable."""
        return quadratic(self.apply, self.rhs, field)

    def _weighted(self, data: Tensor) -> Tensor:
        return data if self.weights is None else self.weights * data


class Penalized:
    """A quadratic with a prior added.

    Parameters
    ----------
    operator
        The quadratic of the data.
    prior
        A penalty, or a number p for ``p |x|^2`` (Tikhonov).
    """

    def __init__(self, operator: NormalOperator, prior: Prior | float) -> None:
        self.operator, self.prior = operator, prior
        self.rhs = operator.rhs

    def apply(self, field: Tensor) -> Tensor:
        """Return ``K x + P x``."""
        return self.operator.apply(field) + (
            self.prior * field if isinstance(self.prior, (int, float)) else self.prior.apply(field)
        )

    def objective(self, field: Tensor) -> Tensor:
        """Return the penalized quadratic; once differentiable."""
        return quadratic(self.apply, self.rhs, field)


class ShellPenalty:
    """A prior by spatial frequency: the inverse of the power that is expected in each shell of a square or cubic field.

    Parameters
    ----------
    penalty
        (S,): of shell ``round(|k|)`` in Fourier pixels, the transform taken as unitary; the last one goes on.
    shape
        Of the fields.
    """

    def __init__(self, penalty: Tensor, shape: tuple[int, ...]) -> None:
        size = check_cube(shape, "the fields of a penalty by shell")
        if penalty.ndim != 1 or not len(penalty) or not bool((penalty >= 0).all()):
            raise ShapeError(f"penalties must be a vector of numbers of at least 0, got shape {tuple(penalty.shape)}")
        shell = radius_grid(size, len(shape), penalty.device).round().long().clamp_max(len(penalty) - 1)
        self.gain = torch.fft.ifftshift(penalty[shell])[..., : size // 2 + 1]

    def apply(self, field: Tensor) -> Tensor:
        """Return the field with each frequency times its shell's penalty."""
        return torch.fft.irfftn(torch.fft.rfftn(field) * self.gain.to(field), s=field.shape)


def quadratic(apply: Callable[[Tensor], Tensor], rhs: Tensor, field: Tensor) -> Tensor:
    """Return ``<x, K x> - 2 <b, x>``, once differentiable in x, at the price of a single ``K x``.

    Parameters
    ----------
    apply
        x to ``K x``, symmetric; nothing is differentiated through it.
    rhs
        ``b``.
    field
        ``x``.
    """
    value: Tensor = _Quadratic.apply(field, apply, rhs)
    return value


class _Quadratic(torch.autograd.Function):
    """The quadratic, with the gradient that its value needs anyway: K is symmetric, so it is 2 (K x - b)."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, apply: Callable[[Tensor], Tensor], rhs: Tensor) -> Tensor:
        slope = apply(field) - rhs
        ctx.save_for_backward(slope)
        return inner(slope - rhs, field)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return 2 * gradients[0] * slope, None, None
