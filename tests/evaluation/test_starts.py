"""Independent starts, counted by their maps."""

from resmfn.evaluation.starts import SAME_MAP, starts_with_another_map


def test_a_map_that_correlates_less_is_another_one() -> None:
    assert starts_with_another_map([]) == 0
    assert starts_with_another_map([SAME_MAP + 0.01, SAME_MAP - 0.01, 0.1]) == 2
