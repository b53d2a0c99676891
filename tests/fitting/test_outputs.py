"""What a fit writes: the table explains what it shows."""

import pytest

from resmfn.fitting.outputs import MEASURES, PUBLISHED_SET_NOTE, table_text


@pytest.mark.parametrize(("names", "explained"), [(["train_00", "test_00"], True), (["astronaut", "test"], False)])
def test_the_pictures_of_an_npz_set_are_explained_below_the_table(names: list[str], explained: bool) -> None:
    record = {key: [1.0, 2.0] for key in MEASURES}
    text = table_text(dict.fromkeys(names, record))
    assert (PUBLISHED_SET_NOTE in text) == explained
    assert text.endswith("\n")
