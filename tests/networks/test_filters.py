import math

import pytest
import torch

from resmfn.networks import FrequencyBox, GaborFilter, SineFilter

BOX = FrequencyBox(1.0, 4.0)


def gabor(generator, n_filters=4, hidden_dim=9):
    return GaborFilter(BOX, hidden_dim, 2, n_filters=n_filters, generator=generator).double()


def test_sine_filter_is_its_formula(generator, points):
    sine = SineFilter(BOX, 9, 2, quantized=False, generator=generator)
    x = points(2)
    expected = torch.sin(2 * math.pi * (x[:, None] * sine.frequencies).sum(-1) + sine.phases)
    torch.testing.assert_close(sine(x), expected, rtol=0, atol=1e-13)


def test_phases_fill_the_circle(generator):
    phases = SineFilter(BOX, 20_000, 1, quantized=True, generator=generator).phases
    assert phases.abs().max() <= math.pi
    assert phases.mean().abs() < 0.1
    assert phases.var().item() == pytest.approx(math.pi**2 / 3, rel=0.03)


def test_single_precision_stays_accurate_at_high_frequencies(generator, points):
    sine = SineFilter(FrequencyBox(500.0), 50, 3, quantized=True, generator=generator)
    grid = (points(3) * 1024).round() / 1024  # exact in single precision, as the samples of a box of 1024 are
    exact = sine(grid)
    torch.testing.assert_close(sine.to(torch.float32)(grid.float()).double(), exact, rtol=0, atol=2e-6)


def test_gabor_filter_is_a_sine_under_a_gaussian(generator, points):
    filter_ = gabor(generator)
    x = points(2)
    square = (x[:, None] - filter_.centers).square().sum(-1)
    expected = SineFilter.forward(filter_, x) * torch.exp(-filter_.precisions * square / 2)
    torch.testing.assert_close(filter_(x), expected, rtol=0, atol=1e-12)
    assert filter_.centers.abs().max() <= 0.5


def test_precisions_of_all_gabor_filters_together_have_shape_six(generator):
    filters = [gabor(generator, n_filters=4, hidden_dim=20_000) for _ in range(4)]
    total = torch.stack([f.precisions for f in filters]).sum(0)
    assert total.mean().item() == pytest.approx(6 * 4, rel=0.03)  # a Gamma law: mean shape * scale
    assert total.var().item() == pytest.approx(6 * 4**2, rel=0.08)


def test_a_filter_is_frozen(generator):
    for filter_ in (SineFilter(BOX, 4, 2, quantized=True, generator=generator), gabor(generator)):
        assert list(filter_.parameters()) == []
        assert {"frequencies", "phases"} <= set(filter_.state_dict())


def test_gabor_band_holds_the_energy_of_a_windowed_filter(generator):
    filter_ = gabor(generator)
    n, length = 1024, 32  # samples and boxes along one axis through the box's middle
    x = torch.zeros(n, 2, dtype=torch.float64)
    x[:, 0] = (torch.arange(n) - n // 2) * length / n
    window = torch.hann_window(n, periodic=False, dtype=torch.float64)[:, None]
    spectrum = torch.fft.fft(filter_(x) * window, dim=0).abs().square()
    frequency = torch.fft.fftfreq(n, length / n).abs()
    outside = spectrum[frequency > filter_.half_width + 2 / length].sum(0) / spectrum.sum(0)
    assert filter_.half_width > BOX.half_width
    assert outside.max() < 1e-6
