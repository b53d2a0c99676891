"""Linear operators with their adjoints, from fields to data, which can be added and composed.

Fields and data are tensors, real or complex. The inner product is the real part of ``sum(conj(a) * b)`` throughout, so
that a real field may have complex data: the adjoint of such an operator gives a real field.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.errors import InputError, ShapeError


@dataclass(frozen=True)
class Space:
    """Shape and kind of an operator's argument."""

    shape: tuple[int, ...]
    is_complex: bool = False

    def __str__(self) -> str:
        return f"{'complex' if self.is_complex else 'real'} {self.shape}"

    def check(self, values: Tensor, what: str) -> None:
        """Refuse a tensor of another shape, or a complex one where real ones are expected."""
        found = Space(tuple(values.shape), values.is_complex())
        if found.shape != self.shape or (found.is_complex and not self.is_complex):
            raise ShapeError(f"{what} must be {self}, got {found}")

    def draw(self, *, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return normally distributed numbers of a real precision, on the generator's device."""
        kind = dtype.to_complex() if self.is_complex else dtype
        return torch.randn(self.shape, generator=generator, dtype=kind, device=generator.device)


class LinearOperator(ABC):
    """A linear map from a domain to a codomain, and its adjoint; precision and device follow the argument.

    ``A @ B`` is A after B, ``A + B`` the sum. For all x and y, ``inner(A(x), y) == inner(x, A.adjoint(y))``.

    Parameters
    ----------
    domain, codomain
        Of fields and of data.
    """

    def __init__(self, domain: Space, codomain: Space) -> None:
        self.domain, self.codomain = domain, codomain

    @abstractmethod
    def _apply(self, field: Tensor) -> Tensor:
        """Return the data of a field of the domain."""

    @abstractmethod
    def _adjoint(self, data: Tensor) -> Tensor:
        """Return the adjoint of data; where the domain is real, the real part of what this gives counts."""

    def __call__(self, field: Tensor) -> Tensor:
        """Return the data of a field."""
        self.domain.check(field, "the field")
        return self._apply(field)

    def adjoint(self, data: Tensor) -> Tensor:
        """Return the adjoint applied to data: a field."""
        self.codomain.check(data, "the data")
        field = self._adjoint(data)
        return field.real if field.is_complex() and not self.domain.is_complex else field

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        return Composition(self, other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, other)

    def norm(self, *, generator: torch.Generator, iterations: int = 50, dtype: torch.dtype = torch.float64) -> float:
        """Return the largest singular value, by power iteration from a random field; it is never overestimated."""
        field = self.domain.draw(generator=generator, dtype=dtype)
        value = 0.0
        for _ in range(iterations):
            size = float(torch.linalg.vector_norm(field))
            if size == 0:
                return 0.0
            field = field / size
            data = self(field)
            value = float(torch.linalg.vector_norm(data))
            field = self.adjoint(data)
        return value


class Composition(LinearOperator):
    """``outer`` after ``inner``."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        made, needed = inner.codomain, outer.domain
        if made.shape != needed.shape or (made.is_complex and not needed.is_complex):
            raise ShapeError(f"the outer operator takes {needed}, but the inner one gives {made}")
        super().__init__(inner.domain, outer.codomain)
        self.outer, self.inner = outer, inner

    def _apply(self, field: Tensor) -> Tensor:
        return self.outer(self.inner(field))

    def _adjoint(self, data: Tensor) -> Tensor:
        between = self.outer.adjoint(data)
        return self.inner.adjoint(
            between.real if between.is_complex() and not self.inner.codomain.is_complex else between
        )


class Sum(LinearOperator):
    """The sum of two operators between the same spaces."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if (first.domain, first.codomain) != (second.domain, second.codomain):
            raise ShapeError(
                f"operators that are added must have the same spaces, got {first.domain} to {first.codomain} "
                f"and {second.domain} to {second.codomain}"
            )
        super().__init__(first.domain, first.codomain)
        self.first, self.second = first, second

    def _apply(self, field: Tensor) -> Tensor:
        return self.first(field) + self.second(field)

    def _adjoint(self, data: Tensor) -> Tensor:
        return self.first.adjoint(data) + self.second.adjoint(data)


class Multiplication(LinearOperator):
    """Pixel by pixel multiplication: a mask, weights, a transfer function.

    Parameters
    ----------
    factor
        Real or complex; it must broadcast to the domain's shape.
    domain
        By default real fields of the factor's shape.
    """

    def __init__(self, factor: Tensor, domain: Space | None = None) -> None:
        domain = domain or Space(tuple(factor.shape))
        try:
            fits = torch.broadcast_shapes(factor.shape, domain.shape) == domain.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise ShapeError(f"the factor must broadcast to the domain {domain}, got {tuple(factor.shape)}")
        super().__init__(domain, Space(domain.shape, domain.is_complex or factor.is_complex()))
        self.factor = factor

    def _apply(self, field: Tensor) -> Tensor:
        return field * like(self.factor, field)

    def _adjoint(self, data: Tensor) -> Tensor:
        return data * like(self.factor, data).conj()


def inner(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner product: the real part of ``sum(conj(first) * second)``."""
    if first.is_complex() or second.is_complex():
        return (first.conj() * second).real.sum()
    return (first * second).sum()


def like(values: Tensor, other: Tensor) -> Tensor:
    """Return values in the precision and on the device of another tensor; complex stays complex."""
    precision = other.dtype.to_real() if other.is_complex() else other.dtype
    if not (values.is_floating_point() or values.is_complex()):
        return values.to(device=other.device, dtype=precision)
    return values.to(device=other.device, dtype=precision.to_complex() if values.is_complex() else precision)


def check_cube(shape: tuple[int, ...], what: str) -> int:
    """Return the side of a square or a cube; refuse other shapes."""
    if not shape or len(set(shape)) != 1 or math.prod(shape) == 0:
        raise InputError(f"{what} must be equally long along all axes, got shape {tuple(shape)}")
    return shape[0]
