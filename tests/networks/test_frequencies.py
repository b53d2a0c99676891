import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core.errors import InputError
from resmfn.networks import BandSchedule, FrequencyBox, draw_frequencies, filter_boxes, offset_directions

N_DRAWS = 20_000


@pytest.mark.parametrize(("dim", "count"), [(1, 1), (2, 4), (3, 13), (4, 40)])
def test_offset_directions_are_a_half_neighborhood(dim, count):
    directions = {tuple(r) for r in offset_directions(dim).tolist()}
    assert len(directions) == count
    mirrored = {tuple(-v for v in r) for r in directions}
    assert not directions & mirrored
    assert len(directions | mirrored) == 3**dim - 1
    assert all(set(r) <= {-1, 0, 1} for r in directions)


def test_offset_directions_in_two_dimensions_are_the_papers():
    assert {tuple(r) for r in offset_directions(2).tolist()} == {(0, 1), (1, 0), (1, 1), (-1, 1)}


def test_boxes_of_the_paper_in_cycles_per_box():
    c = [3.3**-3, 3.3**-2, 3.3**-1]
    new = filter_boxes(BandSchedule.paper(3), 64, init="new", quantized=False)
    assert [b.spread for b in new] == pytest.approx([32 * c[0], *(0.3 * 32 * v for v in c)])
    assert [b.offset for b in new] == pytest.approx([0, *(2 * 32 * v for v in c)])
    old = filter_boxes(BandSchedule.paper(3), 64, init="old", quantized=False)
    assert [b.spread for b in old] == pytest.approx([32 * c[0], *(2.3 * 32 * v for v in c)])
    assert all(b.offset == 0 for b in old)


def test_quantized_boxes_at_64_reach_1_3_10_and_31_cycles():
    widths = [b.half_width for b in filter_boxes(BandSchedule.paper(3), 64, init="new", quantized=True)]
    assert [sum(widths[: i + 1]) for i in range(4)] == [1, 3, 10, 31]


@given(
    n_scales=st.integers(1, 6),
    pair=st.tuples(st.floats(0.01, 3), st.floats(0, 5)),
    box_size=st.integers(3, 300),
    init=st.sampled_from(["old", "new", "ball"]),
)
def test_quantized_bands_are_whole_and_end_strictly_below_nyquist(n_scales, pair, box_size, init):
    bands = BandSchedule.paper(n_scales, pair)
    boxes = filter_boxes(bands, box_size, init=init, quantized=True)
    exact = filter_boxes(bands, box_size, init=init, quantized=False)
    assert all(b.spread >= 0 and b.offset >= 0 and b.spread.is_integer() and b.offset.is_integer() for b in boxes)
    assert sum(b.half_width for b in boxes) == math.ceil(box_size / 2) - 1
    assert sum(b.half_width for b in exact) == pytest.approx(box_size / 2)
    reach = [sum(b.half_width for b in boxes[: i + 1]) for i in range(n_scales + 1)]
    limit = (box_size - 1) // 2
    for i, (whole, cutoff) in enumerate(zip(reach, bands.filter_cutoffs, strict=True)):
        wanted = cutoff * box_size / 2
        assert abs(whole - wanted) <= 0.5 or whole in (i, limit)
    assert all(b > a or b == limit for a, b in itertools.pairwise(reach))


def test_old_frequencies_fill_their_box_evenly(generator):
    k = draw_frequencies(FrequencyBox(5.0), N_DRAWS, 3, quantized=False, generator=generator)
    assert k.shape == (N_DRAWS, 3)
    assert k.dtype == torch.float64
    assert 4.99 < k.abs().max() <= 5
    assert k.mean(0).abs().max() < 0.1
    assert k.var(0) == pytest.approx([25 / 3] * 3, rel=0.03)


def test_new_frequencies_lie_around_every_offset_equally_often(generator):
    box = FrequencyBox(1.5, 10.0)
    k = draw_frequencies(box, N_DRAWS, 3, quantized=False, generator=generator)
    direction = (k / 10).round()
    rest = k - 10 * direction
    assert 1.49 < rest.abs().max() <= 1.5
    assert rest.var(0) == pytest.approx([1.5**2 / 3] * 3, rel=0.03)
    found, counts = direction.unique(dim=0, return_counts=True)
    assert {tuple(r) for r in found.tolist()} == {tuple(r) for r in offset_directions(3).tolist()}
    expected = N_DRAWS / 13
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)


def test_quantized_frequencies_are_whole_and_use_every_cell_equally(generator):
    k = draw_frequencies(FrequencyBox(2.0), N_DRAWS, 1, quantized=True, generator=generator)
    values, counts = k.unique(return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert (counts - N_DRAWS / 5).abs().max() < 5 * math.sqrt(N_DRAWS / 5)
    shifted = draw_frequencies(FrequencyBox(1.0, 6.0), N_DRAWS, 1, quantized=True, generator=generator)
    assert shifted.unique().tolist() == [5, 6, 7]


def test_draws_follow_the_generator_alone():
    def draw(seed):
        g = torch.Generator().manual_seed(seed)
        return draw_frequencies(FrequencyBox(1.0, 4.0), 30, 2, quantized=False, generator=g)

    before = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_initialization_is_refused():
    with pytest.raises(InputError, match=r"init must be 'old'.*got 'newest'"):
        filter_boxes(BandSchedule.paper(2), 16, init="newest", quantized=False)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_ball_has_a_filter_for_every_frequency_and_none_beyond_reach(quantized, generator):
    """Of 20 cycles with 5 below: even within 15, and what is between 15 and 20 has moved in to 15."""
    box = FrequencyBox(15.0, ball=20.0)
    drawn = draw_frequencies(box, N_DRAWS, 3, quantized=quantized, generator=generator)
    assert box.half_width == 15
    assert float(drawn.abs().max()) <= 15
    radius = drawn.norm(dim=1)
    assert float(radius.max()) < 15 + (0.87 if quantized else 1e-9)
    for inner in (5, 10, 13):
        assert float((radius < inner).double().mean()) == pytest.approx((inner / 20) ** 3, abs=0.02)
    assert float(drawn.mean(0).abs().max()) < 0.3
    assert not quantized or torch.equal(drawn, drawn.round())
