import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resmfn.core.errors import InputError, ShapeError
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig, sample_series


@settings(max_examples=40)
@given(
    dim=st.integers(1, 3),
    box_size=st.integers(3, 14),
    n_scales=st.integers(1, 4),
    lambdas=st.tuples(st.floats(0.05, 2), st.floats(0, 3)),
    init=st.sampled_from(["old", "new"]),
    residual=st.booleans(),
    out_dim=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_the_series_sums_to_the_field_anywhere(dim, box_size, n_scales, lambdas, init, residual, out_dim, seed):
    config = NetworkConfig(
        dim=dim, hidden_dim=4, out_dim=out_dim, n_scales=n_scales, box_size=box_size,
        residual=residual, init=init, lambdas=lambdas,
    )  # fmt: skip
    g = torch.Generator().manual_seed(seed)
    network = MultiplicativeFilterNetwork(config, generator=g, dtype=torch.float64)
    x = torch.rand(7, dim, generator=g, dtype=torch.float64) - 0.5
    with torch.no_grad():
        for head in network.heads:
            head.bias.copy_(torch.rand(out_dim, generator=g, dtype=torch.float64))
        for scale in range(1, n_scales + 1):
            series = network.fourier_coefficients(scale).reshape(out_dim, *[network.minimal_grid(scale)] * dim)
            half = network.minimal_grid(scale) // 2
            k = torch.arange(-half, half + 1, dtype=torch.float64)
            frequencies = torch.stack(torch.meshgrid(*[k] * dim, indexing="ij"), -1).view(-1, dim)
            waves = torch.exp(2j * torch.pi * (x @ frequencies.T))
            field = waves @ series.reshape(out_dim, -1).T
            torch.testing.assert_close(field.real, network(x, scale), rtol=0, atol=1e-10)
            assert field.imag.abs().max() < 1e-10


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_series_is_the_transform_of_the_minimal_grid(make, scale):
    network = make(dim=3, box_size=14)
    grid = network.evaluate_grid(scale)
    transform = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(grid))) / grid.numel()
    series = network.fourier_coefficients(scale)
    assert series.shape == grid.shape == (network.minimal_grid(scale),) * 3
    torch.testing.assert_close(series, transform, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("residual", "init"), [(True, "new"), (False, "old")])
def test_gradients_agree_with_the_point_by_point_network(make, points, residual, init):
    network = make(dim=2, box_size=17, residual=residual, init=init, out_dim=2)
    x = points(2)
    size = network.minimal_grid()
    half = size // 2
    k = torch.arange(-half, half + 1, dtype=torch.float64)
    waves = torch.exp(2j * torch.pi * (x @ torch.cartesian_prod(k, k).T))
    parameters = network.active_parameters()
    by_points = torch.autograd.grad(network(x).pow(3).sum(), parameters)
    field = (waves @ network.fourier_coefficients().reshape(2, -1).T).real
    by_series = torch.autograd.grad(field.pow(3).sum(), parameters)
    for a, b in zip(by_points, by_series, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("residual", "init"), [(True, "new"), (False, "old")])
def test_gradients_by_finite_differences(make, residual, init):
    network = make(dim=2, box_size=7, hidden_dim=3, n_scales=2, out_dim=2, residual=residual, init=init)
    parameters = dict(network.named_parameters())
    weights = torch.linspace(-1, 1, 49, dtype=torch.float64).view(7, 7)

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self):
            return (self.network.evaluate_grid(2, 7) * weights).square().sum()

    loss = Loss()

    def value(*values):
        names = [f"network.{name}" for name in parameters]
        return torch.func.functional_call(loss, dict(zip(names, values, strict=True)), ())

    assert torch.autograd.gradcheck(value, tuple(parameters.values()))


def test_nothing_is_sampled_on_the_way(make):
    network = make(dim=3, box_size=16)
    calls = []
    for filter_ in network.filters:
        filter_.register_forward_hook(lambda *_: calls.append(1))
    network.evaluate_grid(3, 40)
    assert calls == []
    network.evaluate_grid(3, 4)  # fewer samples than frequencies: these are taken one by one
    assert calls


@pytest.mark.parametrize("size", [5, 6, 9, 12])
def test_a_single_wave_is_sampled_around_the_middle(size):
    series = torch.zeros(5, 5, dtype=torch.complex128)
    series[2 + 1, 2 - 2] = 0.5 - 0.25j
    series[2 - 1, 2 + 2] = 0.5 + 0.25j
    x = (torch.arange(size, dtype=torch.float64) - size // 2) / size
    angle = 2 * torch.pi * (x[:, None] - 2 * x)
    torch.testing.assert_close(sample_series(series, size, dim=2), angle.cos() + 0.5 * angle.sin())


def test_unquantized_networks_have_no_series(make):
    with pytest.raises(InputError, match="whole frequencies in the box, got quantized=False"):
        make(quantized=False).fourier_coefficients()


def test_a_series_does_not_fit_fewer_samples():
    with pytest.raises(ShapeError, match="needs at least 5 samples a side, got 4"):
        sample_series(torch.zeros(5, 5, dtype=torch.complex128), 4, dim=2)


@pytest.mark.parametrize("n_parts", [2, 3, 7])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("init", ["old", "new"])
def test_parts_of_a_series_and_of_its_gradient_add_up(n_parts, residual, init):
    config = NetworkConfig(dim=2, hidden_dim=5, n_scales=2, box_size=12, residual=residual, init=init)
    network = MultiplicativeFilterNetwork(config, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    whole = network.fourier_coefficients()
    parts = [network.fourier_coefficients(part=(number, n_parts)) for number in range(n_parts)]
    torch.testing.assert_close(sum(parts), whole)
    assert sum(bool(part.any()) for part in parts) >= 2
    weight = whole.detach().conj()  # a linear function, so that the same comes back to every part
    expected = torch.autograd.grad((whole * weight).real.sum(), network.active_parameters())
    found = [torch.zeros_like(g) for g in expected]
    for part in parts:
        slopes = torch.autograd.grad((part * weight).real.sum(), network.active_parameters(), allow_unused=True)
        found = [f if s is None else f + s for f, s in zip(found, slopes, strict=True)]
    for mine, right in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, right)
