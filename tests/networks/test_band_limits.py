"""The law that the method stands on: no scale has energy outside its band."""

import math

import pytest
import torch

from resmfn.networks import box_coordinates

variants = pytest.mark.parametrize(("residual", "init"), [(True, "new"), (True, "old"), (False, "old")])


def spectrum_of(network, scale, size):
    """Fourier coefficients of point samples on a grid of ``size``, and each one's largest frequency on any axis."""
    dim = network.config.dim
    values = network(box_coordinates(size, dim, dtype=torch.float64), scale)[:, 0].detach()
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64).round()
    reach = torch.stack(torch.meshgrid(*[k] * dim, indexing="ij")).abs().amax(0)
    return torch.fft.fftn(values.view(*[size] * dim)) / size**dim, reach


@variants
@pytest.mark.parametrize(("dim", "box_size", "hidden_dim"), [(1, 40, 20), (2, 24, 60), (3, 13, 60)])
def test_quantized_scales_end_exactly_at_their_band(make, dim, box_size, hidden_dim, residual, init):
    network = make(dim=dim, box_size=box_size, hidden_dim=hidden_dim, residual=residual, init=init)
    for scale in (1, 2, 3):
        half_width = network.half_width(scale)
        series, reach = spectrum_of(network, scale, 2 * box_size + 1)
        assert half_width < box_size / 2
        assert series[reach > half_width].abs().max() < 1e-14 * series.abs().max() * math.sqrt(series.numel())
        assert series[reach == half_width].abs().max() > 1e-6 * series.abs().max()  # and the band is used to its edge


@variants
def test_unquantized_scales_have_no_energy_outside_their_band(make, residual, init):
    """Outside the box the field goes on, never periodic, so it is windowed.

    Over 8 boxes a four-term Blackman-Harris window smears a line by 4/8 cycles per box and leaves side lobes at
    -92 dB: energy beyond that is at most about 1e-9 of the whole.
    """
    length, box_size = 8, 12
    network = make(box_size=box_size, hidden_dim=30, residual=residual, init=init, quantized=False)
    n = 3 * box_size * length
    a = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    window = 0.35875 - 0.48829 * a.cos() + 0.14128 * (2 * a).cos() - 0.01168 * (3 * a).cos()
    x = box_coordinates(n, 2, dtype=torch.float64) * length
    k = torch.fft.fftfreq(n, length / n, dtype=torch.float64).abs()
    reach = torch.maximum(k[:, None], k)
    for scale in (1, 2, 3):
        values = network(x, scale).detach().view(n, n) * window[:, None] * window
        energy = torch.fft.fft2(values).abs().square()
        half_width = network.half_width(scale)
        assert energy[reach > half_width + 4 / length].sum() < 1e-8 * energy.sum()
        assert energy[reach > 0.6 * half_width].sum() > 1e-5 * energy.sum()


@variants
def test_quantized_fields_are_periodic_in_the_box(make, points, residual, init):
    network = make(dim=3, box_size=20, residual=residual, init=init)
    x = points(3)
    step = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(network(x + step), network(x), rtol=0, atol=1e-11)
    free = make(dim=3, box_size=20, residual=residual, init=init, quantized=False)
    assert (free(x + step) - free(x)).abs().max() > 0.1


@variants
@pytest.mark.parametrize("finer", [16, 23, 30])
def test_the_minimal_grid_determines_a_scale_everywhere(make, residual, init, finer):
    network = make(box_size=16, residual=residual, init=init)
    for scale in (1, 2, 3):
        n = network.minimal_grid(scale)
        assert n == 2 * network.half_width(scale) + 1
        coarse = network(box_coordinates(n, 2, dtype=torch.float64), scale).view(n, n)
        series = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(coarse))) / n**2
        padded = torch.zeros(finer, finer, dtype=series.dtype)
        first = finer // 2 - n // 2
        padded[first : first + n, first : first + n] = series
        fine = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(padded))).real * finer**2
        direct = network(box_coordinates(finer, 2, dtype=torch.float64), scale).view(finer, finer)
        torch.testing.assert_close(fine, direct, rtol=0, atol=1e-12)
        torch.testing.assert_close(network.evaluate_grid(scale), coarse, rtol=0, atol=1e-12)


def test_new_scales_write_mostly_above_the_band_below_and_old_ones_do_not(make):
    """Energy that the second scale's own head writes into the first scale's band, before any training."""

    def share_below(init):
        network = make(dim=2, box_size=64, hidden_dim=200, residual=False, init=init)
        with torch.no_grad():
            network.heads[1].bias.zero_()
        series, reach = spectrum_of(network, 2, network.minimal_grid(2))
        energy = series.abs().square()
        return (energy[reach <= network.half_width(1)].sum() / energy.sum()).item()

    assert share_below("new") < 0.1 < 0.15 < share_below("old")
