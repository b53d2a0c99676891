"""A scale of a network fitted by linear algebra: at its minimum, in any dimension, alone or shared."""

from __future__ import annotations

import sys
import threading

import pytest
import torch
from torch import Tensor

from resmfn.core import InputError, make_generator
from resmfn.fourier import soft_sphere
from resmfn.inverse import LeastSquares, ParallelBeam, Penalized, fit_scale, sample_network
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig

DOUBLE = torch.float64
SIZE, AMPLITUDE = 11, 3.0
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def draw(dtype: torch.dtype = DOUBLE, **more: object) -> MultiplicativeFilterNetwork:
    settings = {"dim": 2, "hidden_dim": 8, "n_scales": 2, "box_size": SIZE, "init": "ball", **more}
    return MultiplicativeFilterNetwork(NetworkConfig(**settings), generator=make_generator(2), dtype=dtype)


@pytest.fixture(scope="module")
def equations() -> Penalized:
    generator = make_generator(3)
    operator = ParallelBeam(SIZE, torch.linspace(0, 3, 12, dtype=DOUBLE), SIZE + 2)
    return Penalized(LeastSquares(operator, operator.codomain.draw(generator=generator)), 1.0)


@pytest.fixture(scope="module")
def mask() -> Tensor:
    return soft_sphere(SIZE, 4.0, 2.0, ndim=2).to(DOUBLE)


def field_of(network: MultiplicativeFilterNetwork, mask: Tensor, scale: int) -> Tensor:
    return mask * AMPLITUDE * sample_network(network, SIZE, scale)


@pytest.mark.parametrize("scale", [1, 2])
def test_no_weight_of_the_scale_can_do_better(equations: Penalized, mask: Tensor, scale: int) -> None:
    network = draw()
    weights = [network.linears[scale - 1].weight, network.heads[scale - 1].weight]
    slopes = []
    for steps in (1, 300):
        fitted = fit_scale(network, equations, mask, scale=scale, amplitude=AMPLITUDE, steps=steps)
        objective = equations.objective(field_of(network, mask, scale))
        slopes.append(max(float(g.abs().max()) for g in torch.autograd.grad(objective, weights)))
    assert objective.item() < 0
    assert slopes[1] < 1e-3 * slopes[0]
    torch.testing.assert_close(fitted, field_of(network, mask, scale).detach())


def test_weights_of_frequencies_change_the_way_and_not_the_end(equations: Penalized, mask: Tensor) -> None:
    weights = torch.tensor([30.0, 10.0, 5.0, 3.0], dtype=DOUBLE)
    plain, weighed = (
        fit_scale(draw(), equations, mask, scale=1, amplitude=AMPLITUDE, steps=300, shell_weights=w)
        for w in (None, weights)
    )
    torch.testing.assert_close(weighed, plain, rtol=1e-2, atol=1e-3)


def test_a_fit_does_without_what_takes_a_second_to_import(equations: Penalized, mask: Tensor, monkeypatch) -> None:
    """PyTorch imports this module, and with it sympy, for a gradient that is given to torch.autograd.grad."""
    monkeypatch.setitem(sys.modules, "torch.fx.experimental.symbolic_shapes", None)
    fit_scale(draw(), equations, mask, scale=1, amplitude=AMPLITUDE, steps=2)


def test_features_keep_their_size(equations: Penalized, mask: Tensor) -> None:
    """The next scale sees rows of one length, however much each filter is needed."""
    network = draw()
    fit_scale(network, equations, mask, scale=1, amplitude=AMPLITUDE, steps=20)
    length = network.linears[0].weight.norm(dim=1)
    torch.testing.assert_close(length, torch.full_like(length, 2**0.5))


def test_single_precision_agrees_with_double(mask: Tensor) -> None:
    operator = ParallelBeam(SIZE, torch.linspace(0, 3, 12, dtype=DOUBLE), SIZE + 2)
    single = ParallelBeam(SIZE, torch.linspace(0, 3, 12), SIZE + 2)
    data = operator.codomain.draw(generator=make_generator(4))
    fits = [
        fit_scale(draw(dtype), Penalized(LeastSquares(o, data.to(dtype)), 1.0), mask.to(dtype), **MORE)
        for o, dtype in ((operator, DOUBLE), (single, torch.float32))
    ]
    assert fits[1].dtype == torch.float32
    torch.testing.assert_close(fits[1].double(), fits[0], rtol=1e-2, atol=1e-3)


MORE = {"scale": 1, "amplitude": AMPLITUDE, "steps": 3}


class Member:
    """One of two threads that stand in for processes: what they sum is exchanged behind a barrier."""

    size = 2

    def __init__(self, rank: int, barrier: threading.Barrier, desk: dict[int, tuple[Tensor, ...]]) -> None:
        self.rank, self.barrier, self.desk = rank, barrier, desk

    def share_of(self, n: int) -> range:
        return range(self.rank * n // 2, (self.rank + 1) * n // 2)

    def sum_(self, *tensors: Tensor) -> None:
        self.desk[self.rank] = tuple(t.clone() for t in tensors)
        self.barrier.wait(60)
        totals = [first + second for first, second in zip(self.desk[0], self.desk[1], strict=True)]
        self.barrier.wait(60)
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total)


def test_two_processes_find_what_one_does(equations: Penalized, mask: Tensor) -> None:
    networks = [draw(), draw()]
    barrier, desk = threading.Barrier(2), {}

    def work(rank: int) -> None:
        crew = Member(rank, barrier, desk)
        fit_scale(networks[rank], equations, mask, scale=2, amplitude=AMPLITUDE, steps=3, crew=crew)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    alone = draw()
    fit_scale(alone, equations, mask, scale=2, amplitude=AMPLITUDE, steps=3)
    for found in networks:
        torch.testing.assert_close(field_of(found, mask, 2), field_of(alone, mask, 2), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("more", "said"),
    [({"init": "old"}, "init='old'"), ({"residual": False}, "residual=False"), ({"out_dim": 2}, "out_dim=2")],
)
def test_networks_that_are_not_linear_so_are_refused(equations: Penalized, mask: Tensor, more: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_scale(draw(**more), equations, mask, **MORE)


def test_data_of_another_shape_or_precision_are_refused(equations: Penalized, mask: Tensor) -> None:
    with pytest.raises(InputError, match="one shape"):
        fit_scale(draw(), equations, mask[1:], **MORE)
    with pytest.raises(InputError, match="same real dtype"):
        fit_scale(draw(torch.float32), equations, mask, **MORE)
