import copy
import math

import pytest
import torch

from resmfn.core.errors import InputError, ShapeError
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig, box_coordinates, mfn

KINDS = [
    {"residual": True, "init": "new"},
    {"residual": False, "init": "old"},
    {"residual": True, "init": "old", "quantized": False},
    {"residual": False, "init": "new", "quantized": False, "filter": "gabor"},
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=["residual-mfn", "bacon", "unquantized", "gabor"])


def count_filter_calls(network):
    calls = []
    for i, filter_ in enumerate(network.filters):
        filter_.register_forward_hook(lambda *_, i=i: calls.append(i))
    return calls


@kinds
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_forward_is_the_recursion(make, points, dim, kind):
    network = make(dim=dim, out_dim=2, **kind)
    x = points(dim)
    g = [f(x) for f in network.filters]
    z, heads = g[0], []
    for i in range(3):
        bias = 0 if network.linears[i].bias is None else network.linears[i].bias
        z = (z @ network.linears[i].weight.T + bias) * g[i + 1]
        heads.append(z @ network.heads[i].weight.T + network.heads[i].bias)
    for scale in (1, 2, 3):
        expected = sum(heads[:scale]) if kind["residual"] else heads[scale - 1]
        torch.testing.assert_close(network(x, scale), expected, rtol=0, atol=1e-12)
    assert torch.equal(network(x), network(x, 3))


@kinds
def test_outputs_are_every_scale(make, points, kind):
    network = make(out_dim=3, **kind)
    x = points(2)
    outputs = network.outputs(x)
    assert [y.shape for y in outputs] == [(50, 3)] * 3
    for scale, y in enumerate(outputs, start=1):
        torch.testing.assert_close(y, network(x, scale), rtol=0, atol=1e-12)
    assert len(network.outputs(x, 2)) == 2


@kinds
def test_cached_filters_change_nothing(make, points, kind):
    network = make(**kind)
    x = points(2)
    cache = network.filter_cache(x)
    assert len(cache) == 4
    assert not any(c.requires_grad for c in cache)
    for scale in (1, 2, 3):
        assert torch.equal(network.forward_cached(cache, scale), network(x, scale))
    assert len(network.filter_cache(x, scale=1)) == 2


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_scale_is_computed_only_as_far_as_it_needs(make, points, scale):
    network = make()
    x = points(2)
    calls = count_filter_calls(network)
    network(x, scale)
    network.outputs(x, scale)
    assert calls == [*range(scale + 1)] * 2
    calls.clear()
    network.forward_cached(network.filter_cache(x, scale), scale)
    assert calls == [*range(scale + 1)]


@kinds
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_exactly_the_active_parameters_receive_gradient(make, points, kind, scale):
    network = make(**kind)
    network(points(2), scale).square().sum().backward()
    moved = {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    active = {id(p) for p in network.active_parameters(scale)}
    assert moved == {name for name, p in network.named_parameters() if id(p) in active}
    heads = {int(name.split(".")[1]) + 1 for name in moved if name.startswith("heads")}
    assert heads == (set(range(1, scale + 1)) if kind["residual"] else {scale})
    assert {int(name.split(".")[1]) + 1 for name in moved if name.startswith("linears")} == set(range(1, scale + 1))


def test_a_finished_scale_moves_its_head_alone_in_the_fair_baseline(make, points):
    network = make(residual=False, init="old")
    x = points(2)
    first, second = network.outputs(x, 2, detach_finished=True)
    torch.testing.assert_close(first, network(x, 1), rtol=0, atol=1e-12)
    first.square().sum().backward(retain_graph=True)
    assert {n for n, p in network.named_parameters() if p.grad is not None} == {"heads.0.weight", "heads.0.bias"}
    second.square().sum().backward()
    assert {n for n, p in network.named_parameters() if p.grad is not None and n.startswith("linears")} == {
        f"linears.{i}.{p}" for i in (0, 1) for p in ("weight", "bias")
    }
    assert torch.equal(network.outputs(x, 2)[0], first)


@pytest.mark.parametrize(("init", "has_bias"), [("new", False), ("old", True)])
def test_starting_weights_have_the_stated_widths(init, has_bias):
    config = NetworkConfig(dim=3, hidden_dim=200, init=init, head_scale=0.02)
    network = MultiplicativeFilterNetwork(config, generator=torch.Generator().manual_seed(3))
    bound = math.sqrt(6 / 200)
    for linear, head in zip(network.linears, network.heads, strict=True):
        assert 0.99 * bound < linear.weight.abs().max() <= bound
        assert linear.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.05)
        assert (linear.bias is not None) == has_bias
        assert 0.9 * 0.02 * bound < head.weight.abs().max() <= 0.02 * bound
        assert not head.bias.any()


def test_the_paper_sized_network_has_49539_parameters():
    network = MultiplicativeFilterNetwork(NetworkConfig(dim=3, hidden_dim=128), generator=torch.Generator())
    assert sum(p.numel() for p in network.parameters()) == 49_539


def test_starting_features_keep_their_size_from_scale_to_scale(make, points):
    network = make(hidden_dim=256, box_size=64)
    z = network.filters[0](points(2))
    for linear, filter_ in zip(network.linears, network.filters[1:], strict=True):
        z = linear(z) * filter_(points(2))
        assert z.square().mean().item() == pytest.approx(0.5, rel=0.25)


@kinds
def test_one_seed_is_one_network_in_either_precision(make, kind):
    before = torch.get_rng_state()
    kind = {**kind, "box_size": 64}
    double, single, other = make(**kind), make(dtype=torch.float32, **kind), make(seed=8, **kind)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in double.state_dict().items():
        assert torch.equal(value.float(), single.state_dict()[name])
        assert "bias" in name or not torch.equal(value, other.state_dict()[name])
    assert torch.equal(double.filters[0].frequencies, make(**kind).filters[0].frequencies)


@kinds
def test_every_number_stays_double(make, points, kind):
    network = make(**kind)
    x = points(2)
    assert all(t.dtype == torch.float64 for t in network.state_dict().values())
    assert network(x).dtype == torch.float64
    assert all(c.dtype == torch.float64 for c in network.filter_cache(x))
    assert network.evaluate_grid(size=20).dtype == torch.float64
    assert network.evaluate_grid(1).dtype == torch.float64
    assert network.float().evaluate_grid(1).dtype == torch.float32


@kinds
def test_gradients_by_finite_differences(make, points, kind):
    network = make(hidden_dim=3, n_scales=2, out_dim=2, **kind)
    names = list(dict(network.named_parameters()))
    x = points(2)[:4].requires_grad_()

    def output(x, *values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, (x, *network.parameters()))


def test_a_copy_is_independent(make, points):
    network = make()
    twin = copy.deepcopy(network)
    x = points(2)
    with torch.no_grad():
        twin.linears[0].weight.zero_()
    assert not torch.equal(network(x), twin(x))


@kinds
@pytest.mark.parametrize("size", [1, 4, 15, 16, 33])
def test_grids_hold_the_field_at_their_sample_points(make, kind, size):
    network = make(dim=2, out_dim=2, **kind)
    x = box_coordinates(size, 2, dtype=torch.float64)
    expected = network(x, 2).T.reshape(2, size, size)
    torch.testing.assert_close(network.evaluate_grid(2, size), expected, rtol=0, atol=1e-12)


def test_grid_axes_follow_the_columns_of_the_coordinates(make):
    network = make(dim=3, box_size=12)
    grid = network.evaluate_grid(size=12)
    at = torch.tensor([[(1 - 6) / 12, (7 - 6) / 12, (4 - 6) / 12]], dtype=torch.float64)
    assert grid[1, 7, 4].item() == pytest.approx(network(at).item(), abs=1e-12)
    assert box_coordinates(12, 3, dtype=torch.float64)[(1 * 12 + 7) * 12 + 4].tolist() == pytest.approx(at[0].tolist())


@pytest.mark.parametrize("quantized", [True, False])
def test_coarser_grids_are_subsets_of_finer_ones(make, quantized):
    network = make(quantized=quantized)
    torch.testing.assert_close(network.evaluate_grid(3, 8), network.evaluate_grid(3, 16)[::2, ::2])


def test_points_are_evaluated_in_chunks(make, monkeypatch):
    network = make(quantized=False)
    whole = network.evaluate_grid(size=10)
    monkeypatch.setattr(mfn, "CHUNK_POINTS", 7)
    calls = count_filter_calls(network)
    torch.testing.assert_close(network.evaluate_grid(size=10), whole, rtol=0, atol=1e-13)
    assert len(calls) == 4 * math.ceil(100 / 7)


def test_minimal_grids_are_the_smallest_that_resolve_each_scale(make):
    network = make(dim=3, box_size=64)
    assert [network.half_width(s) for s in (1, 2, 3)] == [3, 10, 31]
    assert [network.minimal_grid(s) for s in (1, 2, 3)] == [7, 21, 63]
    assert network.minimal_grid() == network.minimal_grid(3)
    exact = make(dim=3, box_size=64, quantized=False)
    assert [exact.half_width(s) for s in (1, 2, 3)] == pytest.approx([32 / 3.3**2, 32 / 3.3, 32])
    assert [exact.minimal_grid(s) for s in (1, 2)] == [6, 20]


def test_settings_can_be_read_from_the_printed_network(make):
    assert "box_size=16, residual=True, init='new'" in repr(make())


@pytest.mark.cuda
@kinds
def test_a_gpu_computes_the_same_field(make, points, kind):
    network = make(**kind)
    x = points(2)
    here = network(x), network.evaluate_grid(2)
    network.cuda()
    assert network.device.type == "cuda"
    torch.testing.assert_close(network(x.cuda()).cpu(), here[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(network.evaluate_grid(2).cpu(), here[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_scales": 0}, "n_scales must be a whole number of at least 1, got 0"),
        ({"hidden_dim": 2.5}, "hidden_dim must be a whole number"),
        ({"box_size": 2}, "box_size must be a whole number of at least 3, got 2"),
        ({"init": "bacon"}, "init must be 'old'.*got 'bacon'"),
        ({"filter": "cosine"}, "filter must be 'sine' or 'gabor', got 'cosine'"),
        ({"filter": "gabor"}, "not finite Fourier series.*pass quantized=False"),
        ({"head_scale": -1.0}, "head_scale must be at least 0, got -1.0"),
        ({"head_scale": math.nan}, "head_scale must be at least 0"),
        ({"lambdas": (0.0, -2.0)}, "lambdas must be two numbers >= 0"),
    ],
)
def test_impossible_settings_are_refused(make, settings, message):
    with pytest.raises(InputError, match=message):
        make(**settings)


def test_calls_that_cannot_be_meant_are_refused(make, points):
    network = make()
    x = points(2)
    with pytest.raises(InputError, match=r"scale must lie in 1 \(coarsest\) .. 3 \(finest\), got 0"):
        network(x, 0)
    with pytest.raises(InputError, match="got 4"):
        network.evaluate_grid(4)
    with pytest.raises(ShapeError, match=r"coords must have shape \(P, 2\), got \(50, 3\)"):
        network(points(3))
    with pytest.raises(ShapeError, match=r"network's dtype torch.float64, got torch.float32"):
        network(x.float())
    with pytest.raises(ShapeError, match="scale 3 needs the values of 4 filters, got a cache of 2"):
        network.forward_cached(network.filter_cache(x, 1), 3)
    with pytest.raises(InputError, match="size must be at least 1"):
        network.evaluate_grid(1, 0)
