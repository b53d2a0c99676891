"""Times as people read them."""

import pytest

from resmfn.core.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_a_duration_is_given_in_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text
