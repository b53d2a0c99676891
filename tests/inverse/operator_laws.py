"""The laws of a linear operator: linear, with its adjoint, differentiable, in either precision."""

import pytest
import torch

from resmfn.inverse import LinearOperator, inner


def check_laws(operator: LinearOperator, generator: torch.Generator) -> None:
    """Check everything that holds for all linear operators, in double precision."""
    x, other = (operator.domain.draw(generator=generator) for _ in range(2))
    y = operator.codomain.draw(generator=generator)
    data, field = operator(x), operator.adjoint(y)
    operator.codomain.check(data, "what the operator gives")
    operator.domain.check(field, "what the adjoint gives")
    scale = float(data.norm() * y.norm())
    assert float(inner(data, y)) == pytest.approx(float(inner(x, field)), abs=1e-12 * scale)
    torch.testing.assert_close(operator(2.5 * x - other), 2.5 * data - operator(other))
    norm = operator.norm(generator=generator)
    assert float(data.norm()) <= 1.001 * norm * float(x.norm())  # power iteration comes from below
    assert torch.autograd.gradcheck(operator, x.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradcheck(operator.adjoint, y.requires_grad_(), fast_mode=True)


def check_precision_follows(operator: LinearOperator, generator: torch.Generator) -> None:
    """Check that single precision stays single, and gives the numbers of double precision."""
    x, y = (space.draw(generator=generator) for space in (operator.domain, operator.codomain))
    for act, values in ((operator, x), (operator.adjoint, y)):
        single = values.to(torch.complex64 if values.is_complex() else torch.float32)
        found, expected = act(single), act(values)
        assert found.dtype == (torch.complex64 if expected.is_complex() else torch.float32)
        size = float(expected.abs().max())
        torch.testing.assert_close(found.to(expected.dtype), expected, rtol=1e-4, atol=1e-4 * size)


def dense(operator: LinearOperator) -> torch.Tensor:
    """Return a small operator with a real domain as a matrix of real numbers."""
    n = int(torch.tensor(operator.domain.shape).prod())
    units = torch.eye(n, dtype=torch.float64).view(n, *operator.domain.shape)
    columns = [operator(unit) for unit in units]
    return torch.stack([(torch.view_as_real(c) if c.is_complex() else c).flatten() for c in columns], dim=1)
