"""Stacked networks give what each gives alone, in value and in gradient."""

import pytest
import torch

from resmfn.core import ShapeError
from resmfn.fitting.network_stack import NetworkStack
from resmfn.networks import VARIANTS

variants = pytest.mark.parametrize("variant", list(VARIANTS))


@pytest.fixture
def points(generator):
    return torch.rand(20, 2, generator=generator, dtype=torch.float64) - 0.5


@variants
@pytest.mark.parametrize("n_scales", [1, 2, 3])
def test_outputs_are_those_of_the_single_networks(network, points, variant, n_scales):
    networks = [network(variant, seed, out_dim=2) for seed in (1, 2, 3)]
    stack = NetworkStack(networks)
    cache = stack.filter_cache(points, n_scales)
    assert len(cache) == n_scales + 1  # no finer filter is evaluated
    outputs = stack.outputs(cache, n_scales)
    for b, single in enumerate(networks):
        for y, expected in zip(outputs, single.outputs(points, n_scales), strict=True):
            torch.testing.assert_close(y[b], expected)
    (last,) = stack.outputs(cache, n_scales, last_only=True)
    torch.testing.assert_close(last, outputs[-1])


@variants
@pytest.mark.parametrize("detach", [False, True])
def test_gradients_are_those_of_the_single_networks(network, points, variant, detach):
    networks = [network(variant, seed) for seed in (1, 2)]
    stack = NetworkStack(networks)
    outputs = stack.outputs(stack.filter_cache(points), 3, detach_finished=detach)
    torch.stack([y.square().sum() for y in outputs]).sum().backward()
    for b, single in enumerate(networks):
        torch.stack([y.square().sum() for y in single.outputs(points, detach_finished=detach)]).sum().backward()
        expected = [p.grad for layer in (*single.linears, *single.heads) for p in layer.parameters()]
        found = [p.grad[b] for p in stack.parameters()]
        for g, e in zip(found, expected, strict=True):
            torch.testing.assert_close(g, e.T if e.ndim == 2 else e[None])


def test_trained_weights_reach_the_networks_only_when_written_back(network, points):
    single = network()
    before = single(points).detach()
    stack = NetworkStack([single])
    with torch.no_grad():
        for p in stack.parameters():
            p.mul_(1.5)
    torch.testing.assert_close(single(points), before)
    (written,) = stack.write_back()
    assert written is single
    torch.testing.assert_close(single(points), stack.outputs(stack.filter_cache(points), 3)[-1][0])
    assert (single(points) - before).abs().max() > 0.1


def test_unlike_networks_do_not_stack(network):
    with pytest.raises(ShapeError, match="same settings"):
        NetworkStack([network(), network(hidden_dim=11)])
    with pytest.raises(ShapeError, match="one network or more"):
        NetworkStack([])
