"""Quadratics minimized by preconditioned conjugate gradients (Hestenes and Stiefel 1952)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resmfn.inverse.linear_operator import inner
from resmfn.inverse.quadratic import NormalOperator, Penalized, Prior

Step = Callable[[Tensor], Tensor]


def solve(
    operator: NormalOperator,
    prior: Prior | float | None = None,
    mask: Tensor | None = None,
    *,
    precondition: Step | None = None,
    start: Tensor | None = None,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Tensor:
    """Return the field ``mask * u`` that minimizes a quadratic.

    Parameters
    ----------
    operator
        The quadratic of the data.
    prior
        A penalty that is added, or a number p for ``p |x|^2``. Without one and with many iterations this is plain least
        squares.
    mask
        The field's shape, 0 to 1: where the field may differ from 0.
    precondition
        Symmetric and positive, close to the inverse of the operator with its prior.
    start
        u to start from; zero by default.
    iterations
        Largest number of iterations.
    tolerance
        Steps end once the residual, in the preconditioner's norm, has fallen to this share of the first one.
    """
    whole = operator if prior is None else Penalized(operator, prior)
    if mask is None:
        return conjugate_gradients(
            whole.apply, whole.rhs, precondition, start=start, iterations=iterations, tolerance=tolerance
        )
    found = conjugate_gradients(
        lambda u: mask * whole.apply(mask * u),
        mask * whole.rhs,
        precondition,
        start=start,
        iterations=iterations,
        tolerance=tolerance,
    )
    return mask * found


def conjugate_gradients(
    apply: Step,
    rhs: Tensor,
    precondition: Step | None = None,
    *,
    start: Tensor | None = None,
    iterations: int,
    tolerance: float = 0.0,
) -> Tensor:
    """Return u with ``apply(u) = rhs``, ``apply`` symmetric and positive; see :func:`solve` for the rest.

    With a tolerance of 0 all steps are taken, and nothing waits for a GPU.
    """
    tiny = torch.finfo(rhs.dtype).tiny  # keeps quotients of exactly solved systems finite
    u = torch.zeros_like(rhs) if start is None else start.clone()
    residual = rhs if start is None else rhs - apply(u)
    z = residual if precondition is None else precondition(residual)
    direction, slope = z, inner(residual, z)
    enough = tolerance**2 * float(slope) if tolerance else 0.0
    for _ in range(iterations):
        if tolerance and float(slope) <= enough:
            break
        image = apply(direction)
        step = slope / inner(direction, image).clamp_min(tiny)
        u = u + step * direction
        residual = residual - step * image
        z = residual if precondition is None else precondition(residual)
        slope, before = inner(residual, z), slope
        direction = z + slope / before.clamp_min(tiny) * direction
    return u
