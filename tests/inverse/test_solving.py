"""Quadratics, their minima, and networks fitted to them, in double precision."""

import math

import pytest
import torch

from resmfn.core import InputError, ShapeError, make_generator
from resmfn.fourier import soft_sphere
from resmfn.inverse import (
    Convolution,
    FourierSampling,
    FourierSlices,
    LeastSquares,
    Multiplication,
    ParallelBeam,
    Penalized,
    ShellPenalty,
    Space,
    ctf_operator,
    fit_network,
    sample_network,
    solve,
)
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig
from resmfn.physics import Optics
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.rotations import random_rotations

DOUBLE = torch.float64
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def problem(size: int = 7) -> LeastSquares:
    """Return a well-determined problem with weights."""
    generator = make_generator(3)
    operator = ParallelBeam(size, torch.linspace(0, 3, 12, dtype=DOUBLE), size + 2)
    data = operator.codomain.draw(generator=generator)
    return LeastSquares(operator, data, 0.5 + torch.rand(data.shape, generator=generator, dtype=DOUBLE))


def draw_network(dim: int = 2, box_size: int = 12, dtype: torch.dtype = DOUBLE, **more: object):
    config = NetworkConfig(
        **{"dim": dim, "hidden_dim": 16, "n_scales": 2, "box_size": box_size, "head_scale": 0.02, **more}
    )
    return MultiplicativeFilterNetwork(config, generator=make_generator(2), dtype=dtype)


# --- quadratics --------------------------------------------------------------------------------------


def test_the_objective_is_the_weighted_squared_residual_less_that_of_nothing(generator: torch.Generator) -> None:
    operator = ParallelBeam(5, torch.tensor([0.3, 2.0]))
    data, weights = operator.codomain.draw(generator=generator), torch.rand(2, 1, generator=generator, dtype=DOUBLE)
    field = operator.domain.draw(generator=generator)
    expected = (weights * (operator(field) - data).square()).sum() - (weights * data.square()).sum()
    torch.testing.assert_close(LeastSquares(operator, data, weights).objective(field), expected)


def test_objectives_have_the_gradients_that_differences_say(generator: torch.Generator) -> None:
    equations = problem()
    field = equations.operator.domain.draw(generator=generator).requires_grad_()
    for quadratic in (equations, Penalized(equations, 2.0), Penalized(equations, ShellPenalty(torch.ones(2), (7, 7)))):
        assert torch.autograd.gradcheck(quadratic.objective, field)


def test_complex_fields_have_a_real_objective(generator: torch.Generator) -> None:
    operator = FourierSampling(torch.rand(5, 6, generator=generator) < 0.6, is_complex=True)
    equations = LeastSquares(operator, operator.codomain.draw(generator=generator))
    field = operator.domain.draw(generator=generator)
    data = operator(equations.rhs)  # of the zero-filled field: the sampled data again
    expected = (operator(field) - data).abs().square().sum() - data.abs().square().sum()
    torch.testing.assert_close(equations.objective(field), expected)


@pytest.mark.parametrize("size", [8, 9])
def test_a_penalty_by_shell_is_what_a_wave_pays(size: int) -> None:
    """A wave of frequency 2 pays the penalty of shell 2, one beyond the last that of the last."""
    prior = ShellPenalty(torch.tensor([5.0, 7.0, 11.0, 13.0], dtype=DOUBLE), (size, size))
    x = torch.arange(size, dtype=DOUBLE) / size
    for k, penalty in ((0, 5), (1, 7), (2, 11), (3, 13), (4, 13)):
        wave = (2 * math.pi * k * x).cos().expand(size, size)
        torch.testing.assert_close(prior.apply(wave), penalty * wave)
    with pytest.raises(ShapeError, match="numbers of at least 0"):
        ShellPenalty(torch.tensor([-1.0]), (4, 4))
    with pytest.raises(InputError, match="equally long"):
        ShellPenalty(torch.ones(2), (4, 5))


# --- solving -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [None, 0.7, "shells"])
@pytest.mark.parametrize("masked", [False, True])
def test_solving_is_solving_the_dense_system(
    prior: float | str | None, masked: bool, generator: torch.Generator
) -> None:
    equations = problem()
    shape = equations.rhs.shape
    if prior == "shells":
        prior = ShellPenalty(torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE), tuple(shape))
    mask = torch.rand(shape, generator=generator, dtype=DOUBLE) if masked else torch.ones(shape, dtype=DOUBLE)
    units = torch.eye(mask.numel(), dtype=DOUBLE).view(-1, *shape)
    whole = equations if prior is None else Penalized(equations, prior)
    matrix = torch.stack([(mask * whole.apply(mask * unit)).flatten() for unit in units])
    expected = mask * torch.linalg.solve(matrix, (mask * equations.rhs).flatten()).view(shape)
    found = solve(equations, prior, mask if masked else None, iterations=500, tolerance=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_good_preconditioner_saves_steps() -> None:
    """The exact inverse needs one; steps end there."""
    transfer = 0.1 + torch.rand(8, 8, generator=make_generator(1), dtype=DOUBLE)
    transfer = transfer + transfer.roll((-1, -1), (0, 1)).flip(0, 1)  # Hermitian: real kernel
    operator = Convolution(transfer.roll((0, 0), (0, 1)))
    equations = LeastSquares(operator, torch.ones(8, 8, dtype=DOUBLE).tril())
    calls = []

    def counted(field: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return Convolution(1 / transfer.square())(field)

    found = solve(equations, precondition=counted, tolerance=1e-9)
    assert len(calls) <= 3
    torch.testing.assert_close(found, solve(equations, iterations=1000, tolerance=1e-12), rtol=1e-5, atol=1e-5)


def test_starting_from_the_solution_stays_there() -> None:
    equations = problem()
    solution = solve(equations, 0.5, iterations=300, tolerance=1e-13)
    torch.testing.assert_close(solve(equations, 0.5, start=solution, iterations=3, tolerance=0), solution)


def test_tiny_data_are_solved_as_well_as_large_ones() -> None:
    equations, operator = problem(), problem().operator
    tiny = LeastSquares(operator, 1e-18 * operator(solve(equations, 1.0)))
    large = LeastSquares(operator, operator(solve(equations, 1.0)))
    torch.testing.assert_close(1e18 * solve(tiny), solve(large))


def test_map_equations_are_the_least_squares_of_slices_times_the_ctf() -> None:
    """The sums that a reconstruction keeps, in double precision: the same right-hand side, and nearly the same K."""
    size, generator = 10, make_generator(4)
    rotation = random_rotations(400, generator=generator, dtype=DOUBLE)
    slices = FourierSlices(size, rotation, radius_max=3.5)
    operator = ctf_operator(Optics.uniform(400, dtype=DOUBLE), slices.pixels, 4.0, size) @ slices
    data = operator.codomain.draw(generator=generator)
    equations = LeastSquares(operator, data)
    grid, ctf = MapGrid(size, size), operator.outer.factor
    sums = SliceSums.of(grid, ctf * data, ctf.square(), rotation, slices.pixels)
    found = MapEquations(sums)
    assert found.rhs.dtype == found.kernel.dtype == DOUBLE
    torch.testing.assert_close(found.rhs / grid.scale, equations.rhs)
    mask = soft_sphere(size, 3.0, 1.0, dtype=DOUBLE)
    field = mask * torch.randn(size, size, size, generator=generator, dtype=DOUBLE)
    exact, quick = mask * equations.apply(field), mask * found.apply(field) / grid.scale**2
    assert float((quick - exact).norm() / exact.norm()) < 0.1  # gridding, and a kernel cut off at 0
    assert found.solve(mask, found.shell_weights()[:4]).dtype == DOUBLE


# --- networks ----------------------------------------------------------------------------------------


def test_a_network_reaches_what_a_grid_can_and_no_more() -> None:
    """The object lies in the network's band, so the explicit solution is within its reach."""
    truth = 30 * sample_network(draw_network(head_scale=1.0), 12).detach()
    operator = ParallelBeam(12, torch.linspace(0, math.pi, 16, dtype=DOUBLE))
    equations = LeastSquares(operator, operator(truth))
    fit = fit_network(draw_network(hidden_dim=40), equations, steps=200)
    assert 0.98 < fit.reached <= 1 + 1e-9
    assert fit.sample(12).dtype == DOUBLE
    torch.testing.assert_close(fit.to_network().evaluate_grid(2, 30).detach(), fit.sample(30, 2))
    value = float(equations.objective(fit.sample(12)))
    assert fit.reached == pytest.approx(value / float(equations.objective(solve(equations))), rel=1e-9)


def test_fields_of_one_and_three_dimensions_and_masks() -> None:
    for dim in (1, 3):
        shape = (9,) * dim
        mask = torch.zeros(shape, dtype=DOUBLE)
        mask[(slice(2, 7),) * dim] = 1
        truth = mask * torch.randn(shape, generator=make_generator(1), dtype=DOUBLE)
        fit = fit_network(
            draw_network(dim, 9), LeastSquares(Multiplication(mask), truth), mask=mask, steps=60, amplitude=1.0
        )
        assert fit.amplitude == 1
        assert 0.1 < fit.reached <= 1
        assert fit.sample(18).shape == (18,) * dim


def test_a_coarse_scale_is_fitted_alone_and_the_fit_can_go_on() -> None:
    operator = Multiplication(torch.ones(12, 12, dtype=DOUBLE))
    x = 2 * math.pi * torch.arange(12, dtype=DOUBLE) / 12
    equations = LeastSquares(operator, x.cos()[:, None] + x.sin())
    network = draw_network()
    before = network.heads[1].weight.detach().clone()
    first = fit_network(network, equations, scale=1, steps=30)
    assert torch.equal(network.heads[1].weight, before)
    second = fit_network(network, equations, scale=1, steps=30, amplitude=first.amplitude)
    assert second.reached > first.reached


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (torch.ones(4, 4, dtype=DOUBLE), {"dim": 3}, "need a network with dim=2 and out_dim=1, got dim=3"),
        (torch.ones(4, 4, dtype=DOUBLE), {"out_dim": 2}, "got dim=2 and out_dim=2"),
        (torch.ones(4, 4), {}, "the same real dtype, got torch.float64 and torch.float32"),
        (torch.ones(4, 5, dtype=DOUBLE), {}, "equally long along all axes"),
        (torch.zeros(4, 4, dtype=DOUBLE), {}, "the data determine nothing"),
        (torch.ones(4, 4, dtype=DOUBLE), {"quantized": False}, "needs whole frequencies"),
    ],
)
def test_what_does_not_fit_together_is_refused(data: torch.Tensor, settings: dict, message: str) -> None:
    operator = Multiplication(torch.ones_like(data), Space(tuple(data.shape)))
    with pytest.raises(InputError, match=message):
        fit_network(draw_network(**settings), LeastSquares(operator, data), steps=1)
