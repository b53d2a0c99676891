import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resmfn.core.errors import InputError
from resmfn.networks import BandSchedule

lambdas = st.tuples(st.floats(0.01, 3), st.floats(0, 5))


@pytest.mark.parametrize(
    ("n_scales", "expected"),
    [(1, (1,)), (2, (0.303, 1)), (3, (0.092, 0.303, 1)), (4, (0.028, 0.092, 0.303, 1))],
)
def test_paper_schedule_has_the_published_numbers(n_scales, expected):
    schedule = BandSchedule.paper(n_scales)
    assert schedule.cutoffs == pytest.approx(expected, abs=5e-4)
    assert schedule.n_scales == n_scales


@given(n_scales=st.integers(1, 6), pair=lambdas)
def test_each_scale_adds_lambda_1_plus_lambda_2_times_the_band_below(n_scales, pair):
    reach = BandSchedule.paper(n_scales, pair).filter_cutoffs
    assert len(reach) == n_scales + 1
    assert reach[-1] == 1
    for below, own in itertools.pairwise(reach):
        assert own - below == pytest.approx(sum(pair) * below, rel=1e-9)


def test_offset_share_is_lambda_2_of_the_sum():
    assert BandSchedule.paper(3).offset_share == pytest.approx(2 / 2.3)
    assert BandSchedule((0.5, 1.0), (1.0, 0.0)).offset_share == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BandSchedule(()), "at least one scale, got an empty tuple"),
        (lambda: BandSchedule((0.5, 1.2)), r"lie in \(0, 1\].*got \(0.5, 1.2\)"),
        (lambda: BandSchedule((0.0, 1.0)), r"lie in \(0, 1\]"),
        (lambda: BandSchedule((0.5, 0.5)), "increase from coarse to fine"),
        (lambda: BandSchedule.paper(0), "n_scales must be at least 1, got 0"),
        (lambda: BandSchedule.paper(2, (-1.0, 0.0)), "two numbers >= 0"),
        (lambda: BandSchedule.paper(2, (0.0, 0.0)), "not both zero"),
        (lambda: BandSchedule.paper(2, (math.nan, 1.0)), "two numbers >= 0"),
        (lambda: BandSchedule.paper(2, (1.0,)), "two numbers >= 0"),
    ],
)
def test_impossible_schedules_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
