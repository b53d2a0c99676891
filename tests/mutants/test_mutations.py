"""The list of faults is as long as it is said to be, and each of them can be made."""

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from mutations import MUTATIONS

sys.path.pop(0)
ROOT = Path(__file__).parents[2]


def test_there_are_at_least_eighty_over_all_rooms() -> None:
    assert sum(len(group.changes) for group in MUTATIONS) >= 80
    rooms = {group.file.partition("/")[0] for group in MUTATIONS}
    assert rooms >= {"physics", "rotations", "data", "evaluation", "reconstruction", "reports"}


@pytest.mark.parametrize("group", MUTATIONS, ids=[group.file for group in MUTATIONS])
def test_each_fault_stands_once_in_its_file_and_is_still_a_program(group) -> None:
    source = (ROOT / "src" / "resmfn" / group.file).read_text()
    for old, new in group.changes:
        assert source.count(old) == 1, old
        assert old != new
        ast.parse(source.replace(old, new))
    for name in group.tests.split():
        assert (ROOT / name.partition("::")[0]).exists()
