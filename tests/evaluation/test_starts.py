"""Independent starts, counted by likelihood and by map."""

from resmfn.evaluation.starts import (
    SAME_LIKELIHOOD,
    SAME_MAP,
    starts_as_likely_as_the_best,
    starts_with_another_map,
)


def test_the_best_start_counts_and_one_beyond_the_margin_does_not() -> None:
    assert starts_as_likely_as_the_best([7.0]) == 1
    assert starts_as_likely_as_the_best([7.0, 7.0 - 0.9 * SAME_LIKELIHOOD, 7.0 - 1.1 * SAME_LIKELIHOOD]) == 2


def test_a_map_that_correlates_less_is_another_one() -> None:
    assert starts_with_another_map([]) == 0
    assert starts_with_another_map([SAME_MAP + 0.01, SAME_MAP - 0.01, 0.1]) == 2
