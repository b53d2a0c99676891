"""Laws of the Fourier shell correlation, its crossings and its correction for a mask."""

import csv
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resmfn.core import ResmfnError, ShapeError
from resmfn.evaluation import (
    FscCurve,
    fourier_shell_correlation,
    fsc_csv_text,
    half_map_resolution,
    phase_randomized_fsc,
)
from resmfn.evaluation.fsc import last_shell_of_both, randomize_phases, whitened
from resmfn.fourier import fftn_centered, ifftn_centered, low_pass, shell_index, soft_sphere


def noise(box_size, generator, dtype=torch.float64):
    return torch.randn((box_size,) * 3, generator=generator, dtype=dtype)


def shell_sizes(box_size):
    return torch.bincount(shell_index(box_size, 3).flatten())[: box_size // 2 + 1]


def curve(*correlation, box_length=100.0):
    values = torch.tensor(correlation, dtype=torch.float64)
    return FscCurve(torch.arange(len(values), dtype=torch.float64) / box_length, values)


@pytest.mark.parametrize("box_size", [16, 17])
def test_a_map_correlates_fully_with_itself(box_size, generator):
    volume = noise(box_size, generator)
    found = fourier_shell_correlation(volume, volume, 1.5)
    assert len(found.correlation) == box_size // 2 + 1
    torch.testing.assert_close(found.correlation, torch.ones_like(found.correlation))
    assert found.area() == pytest.approx(1)
    assert found.resolution_at(0.5) == pytest.approx(box_size * 1.5 / (box_size // 2))


def test_independent_noise_scatters_around_zero_as_its_shells_allow(generator):
    found = fourier_shell_correlation(noise(32, generator), noise(32, generator), 1.0)
    scatter = found.correlation * shell_sizes(32).sqrt()
    assert (scatter[1:].abs() < 3.5).all()
    assert 0.6 < scatter[1:].square().mean().sqrt() < 1.4


def test_noise_of_the_signals_strength_in_one_map_gives_the_square_root_of_one_half(generator):
    signal = noise(32, generator)
    found = fourier_shell_correlation(signal, signal + noise(32, generator), 1.0)
    assert ((found.correlation[4:] - math.sqrt(0.5)).abs() < 3.5 / shell_sizes(32)[4:].sqrt()).all()


@settings(max_examples=20)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_scale_does_not_matter_sign_does_and_order_does_not(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = noise(10, generator), noise(10, generator)
    expected = fourier_shell_correlation(a, b, 1.0).correlation
    torch.testing.assert_close(fourier_shell_correlation(scale * a, b, 1.0).correlation, expected)
    torch.testing.assert_close(fourier_shell_correlation(-scale * a, b, 1.0).correlation, -expected)
    torch.testing.assert_close(fourier_shell_correlation(b, a, 1.0).correlation, expected)


def test_shells_are_hard_and_rounded():
    """A wave at radius sqrt(29) = 5.39 belongs to shell 5 alone; shells without power count as 0."""
    i = torch.arange(24, dtype=torch.float64) - 12
    z, y, x = torch.meshgrid(i, i, i, indexing="ij")
    wave = torch.cos(2 * math.pi * (3 * x + 4 * y + 2 * z) / 24 + 0.3)
    found = fourier_shell_correlation(wave, wave, 1.0)
    assert found.correlation.nonzero().flatten().tolist() == [5]
    assert found.frequency[5] == pytest.approx(5 / 24)


def test_a_mask_multiplies_both_maps(generator):
    a, b, mask = noise(16, generator), noise(16, generator), soft_sphere(16, 4, 2, dtype=torch.float64)
    found = fourier_shell_correlation(a, b, 1.0, mask)
    torch.testing.assert_close(found.correlation, fourier_shell_correlation(a * mask, b * mask, 1.0).correlation)


def test_float32_maps_are_compared_in_double_precision(generator):
    volume = noise(16, generator, torch.float32)
    found = fourier_shell_correlation(volume, volume, 1.0)
    assert found.correlation.dtype == torch.float64
    torch.testing.assert_close(found.correlation, torch.ones(9, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("found", "threshold", "resolution"),
    [
        (curve(1, 0.9, 0.7, 0.3, 0.1), 0.5, 100 / 2.5),
        (curve(1, 0.9, 0.7, 0.3, 0.1), 0.143, 100 / 4),  # only the last shell is below: Nyquist
        (curve(1, 0.9, 0.4, 0.9, 0.1, 0), 0.5, 100 / 1.8),  # the first crossing counts
        (curve(1, 0.9, 0.9, 0.9), 0.5, 100 / 3),
        (curve(1, 0, 0, 0), 0.5, math.inf),  # shell 0 is one coefficient
        (curve(-1, 0.9, 0.3, 0.1), 0.6, 100 / 1.5),
        (curve(0.2, 0.1, 0, 0), 0.5, math.inf),
    ],
)
def test_the_first_crossing_is_interpolated(found, threshold, resolution):
    assert found.resolution_at(threshold) == pytest.approx(resolution)


@given(st.integers(5, 60), st.floats(0.05, 0.95), st.floats(1, 1000))
def test_a_straight_curve_crosses_where_it_must(n_shells, threshold, box_length):
    correlation = torch.linspace(1, 0, n_shells, dtype=torch.float64)
    found = FscCurve(torch.arange(n_shells, dtype=torch.float64) / box_length, correlation)
    shell = min((1 - threshold) * (n_shells - 1), n_shells - 1)
    expected = box_length / (shell if shell <= n_shells - 2 else n_shells - 1) if shell >= 1 else math.inf
    assert found.resolution_at(threshold) == pytest.approx(expected)
    assert found.area() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(4, 4, 4), torch.zeros(6, 6, 6), "cubes of one size, got 4x4x4, 6x6x6"),
        (torch.zeros(4, 4, 5), torch.zeros(4, 4, 5), "cubes of one size, got 4x4x5"),
        (torch.zeros(4, 4), torch.zeros(4, 4), "cubes of one size, got 4x4"),
    ],
)
def test_maps_of_different_shapes_are_refused(a, b, message):
    with pytest.raises(ShapeError, match=message):
        fourier_shell_correlation(a, b, 1.0)


def half_maps(generator, box_size=32):
    """Halves that share a strong structure up to shell 6, cut off sharply by a mask, and have their own noise."""
    signal = low_pass(noise(box_size, generator), 5, 2)
    mask = soft_sphere(box_size, 9, 0, dtype=torch.float64)
    halves = [signal / signal.std() + 0.5 * noise(box_size, generator) for _ in range(2)]
    return *halves, mask


def test_the_correction_takes_out_what_a_sharp_mask_adds(generator):
    half1, half2, mask = half_maps(generator)
    found = phase_randomized_fsc(half1, half2, mask, 1.0, generator=generator)
    high = slice(10, 16)
    plain = fourier_shell_correlation(half1, half2, 1.0, mask).correlation
    assert plain[high].mean() > 0.2, "the mask must inflate the curve for this test to mean anything"
    assert found.corrected.correlation[high].mean().abs() < 0.08
    assert found.unmasked.correlation[high].mean().abs() < 0.08
    assert 32 / found.randomized_from in range(4, 9)


def test_phases_are_randomized_from_where_maps_that_are_not_masked_tightly_part(generator):
    """Noise around the molecule alone: within its own mask the halves agree in every shell."""
    inside = soft_sphere(32, 5, 1, dtype=torch.float64)
    shared = noise(32, generator) * inside
    halves = [shared + noise(32, generator) * (1 - soft_sphere(32, 8, 1, dtype=torch.float64)) for _ in range(2)]
    found = phase_randomized_fsc(*halves, inside, 1.0, generator=generator)
    assert float(found.masked.correlation[1:16].min()) > 0.8
    assert found.randomized_from > 4.0  # and not only near Nyquist, 2 Å


def test_the_correction_is_chens_equation_beyond_its_margin(generator):
    found = phase_randomized_fsc(*half_maps(generator), 1.0, generator=generator)
    start = round(32 / found.randomized_from) + 2
    masked, randomized = found.masked.correlation, found.randomized.correlation
    expected = (masked - randomized) / (1 - randomized)
    torch.testing.assert_close(found.corrected.correlation[start:], expected[start:])
    torch.testing.assert_close(found.corrected.correlation[:start], masked[:start])


def test_equal_halves_need_no_correction(generator):
    volume = noise(16, generator)
    found = phase_randomized_fsc(volume, volume, soft_sphere(16, 5, 2), 1.0, generator=generator)
    assert found.randomized_from == 0
    torch.testing.assert_close(found.corrected.correlation, torch.ones(9, dtype=torch.float64))


@pytest.mark.parametrize("box_size", [12, 13])
def test_randomized_phases_keep_amplitudes_and_the_low_shells(box_size, generator):
    volume = noise(box_size, generator)
    other = randomize_phases(volume, 3, generator)
    before, after = fftn_centered(volume), fftn_centered(other)
    low = shell_index(box_size, 3) < 3
    torch.testing.assert_close(after.abs(), before.abs())
    torch.testing.assert_close(after[low], before[low])
    assert fourier_shell_correlation(volume, other, 1.0).correlation[3:].abs().max() < 0.5


def test_the_half_map_resolution_is_read_from_the_corrected_curve(generator):
    half1, half2, mask = half_maps(generator)
    found = half_map_resolution(half1, half2, mask, 1.5, generator=generator)
    assert found.resolution == found.curves.corrected.resolution_at(0.143)
    assert found.resolution > fourier_shell_correlation(half1, half2, 1.5, mask).resolution_at(0.143)
    assert found.resolution == pytest.approx(32 * 1.5 / 7.5, rel=0.25)


@pytest.mark.parametrize("cutoff", [6, 9, 12])
def test_a_mask_adds_no_resolution_to_maps_that_end_before(cutoff, generator):
    """Beyond the last shell that maps have, a mask fills shells with what leaks from those that agree."""
    signal = soft_sphere(32, 8, 3, dtype=torch.float64) * noise(32, generator)
    ends = shell_index(32, 3) <= cutoff
    halves = [ifftn_centered(fftn_centered(signal + 0.3 * noise(32, generator)) * ends).real for _ in range(2)]
    found = half_map_resolution(*halves, soft_sphere(32, 9, 2, dtype=torch.float64), 1.5, generator=generator)
    mask = soft_sphere(32, 9, 2, dtype=torch.float64)
    leaks = fourier_shell_correlation(*halves, 1.5, mask).correlation[cutoff + 1]
    assert leaks > 0.3, "the mask must leak for this test to mean anything"
    assert found.resolution == pytest.approx(32 * 1.5 / cutoff)
    kept_as_files_are = [half.float() for half in halves]
    found = half_map_resolution(*kept_as_files_are, soft_sphere(32, 9, 2), 1.5, generator=generator)
    assert found.resolution == pytest.approx(32 * 1.5 / cutoff)
    whole = half_map_resolution(signal, signal, None, 1.5, generator=generator)
    assert whole.resolution == pytest.approx(3.0)  # Nyquist of maps that go there


def test_half_maps_without_a_mask_have_one_curve(generator):
    half1, half2, _ = half_maps(generator)
    found = half_map_resolution(half1, half2, None, 1.5, generator=generator)
    assert found.resolution == found.resolution_unmasked
    assert found.curves.corrected is found.curves.unmasked


def test_curves_as_a_table():
    text = fsc_csv_text({"unmasked": curve(1, 0.5, 0.25), "masked": curve(1, 0.75, 0.5)})
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["masked"]) for row in rows] == [1, 0.75, 0.5]
    assert rows[0]["resolution"] == ""
    assert float(rows[2]["resolution"]) == pytest.approx(50)
    assert float(rows[2]["frequency"]) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("curves", "message"),
    [({}, "at least one curve"), ({"a": curve(1, 0), "b": curve(1, 0, box_length=50)}, "share their frequencies")],
)
def test_tables_that_make_no_sense_are_refused(curves, message):
    with pytest.raises(ResmfnError, match=message):
        fsc_csv_text(curves)


def test_strong_shells_do_not_leak_through_a_mask_into_weak_ones() -> None:
    """Two maps share all below shell 6 and nothing beyond, where they have a millionth of the power."""
    generator = torch.Generator().manual_seed(4)
    shared, *own = (torch.randn(40, 40, 40, generator=generator, dtype=torch.float64) for _ in range(3))
    strong = 1e3 * low_pass(shared, 6.0, 0.0)
    first, second = (strong + noise - low_pass(noise, 6.0, 0.0) for noise in own)
    mask = soft_sphere(40, 9.0, 3.0)
    curves = phase_randomized_fsc(first, second, mask, 1.0, generator=generator)
    assert float(curves.corrected.correlation[10:20].abs().max()) < 0.3
    leaking = fourier_shell_correlation(first, second, 1.0, mask).correlation
    assert float(leaking[10:14].min()) > 0.9  # what a mask does to maps that are not whitened


def test_whitened_maps_correlate_as_they_did() -> None:
    generator = torch.Generator().manual_seed(5)
    first = torch.randn(24, 24, 24, generator=generator, dtype=torch.float64)
    second = first + torch.randn(24, 24, 24, generator=generator, dtype=torch.float64)
    plain = fourier_shell_correlation(low_pass(first, 3.0, 6.0), second, 2.0).correlation
    white = fourier_shell_correlation(whitened(low_pass(first, 3.0, 6.0)), whitened(second), 2.0).correlation
    torch.testing.assert_close(white[:6], plain[:6], rtol=1e-6, atol=1e-9)


def test_a_large_constant_empties_no_shell() -> None:
    generator = torch.Generator().manual_seed(6)
    maps = [torch.randn(24, 24, 24, generator=generator, dtype=torch.float64) for _ in range(2)]
    raised = [volume + 1e5 for volume in maps]
    assert last_shell_of_both(*raised) == last_shell_of_both(*maps) == 12
    plain = fourier_shell_correlation(*maps, 2.0).correlation
    white = fourier_shell_correlation(*map(whitened, raised), 2.0).correlation
    torch.testing.assert_close(white[1:], plain[1:], rtol=1e-6, atol=1e-6)
