"""Thousands of damaged run folders: what is built of each is harmless, or it is refused in one line."""

import json
import random
from pathlib import Path

import pytest

from data import fuzzing
from reports import fuzzing_reports
from reports.harmless import require_harmless, require_strict
from resmfn.reports.html.elements import Markup, element
from resmfn.reports.html.page import Page, render

FUZZER = Path(fuzzing_reports.__file__)


def test_some_damaged_run_folders_become_harmless_pages(tmp_path):
    found = fuzzing.run_program(FUZZER, 150, tmp_path)
    assert found["refused"] > 10
    assert found["read"] > 50
    assert found["pool"] > 15  # the fuzzer follows the code


@pytest.mark.long
def test_many_damaged_run_folders_become_harmless_pages(tmp_path):
    found = fuzzing.run_program(FUZZER, 20_000, tmp_path)
    print(json.dumps(found))
    assert found["cases"] == 20_000
    assert found["read"] > 5000


def test_a_folder_is_its_content_again():
    files = {"a.json": b"{}", "evil\udcff.txt": b"\x00\n"}
    assert fuzzing_reports.unpack(fuzzing_reports.pack(files)) == files
    content, rng = fuzzing_reports.pack({"config.yaml": b"a: 1\n", "summary.json": b'{"x": [1, 2]}'}), random.Random(0)
    assert len({fuzzing_reports.mutate(content, [content], rng) for _ in range(50)}) > 30


@pytest.mark.parametrize("check", [require_harmless, require_strict])
@pytest.mark.parametrize(
    "hostile",
    [
        Markup("<b-evil>"),
        Markup("<p onclick=evil()>x</p>"),
        Markup('<a href="http://a/">x</a>'),
        Markup('<meta http-equiv="refresh" content="0">'),
        Markup('<p class="evil">x</p>'),
        Markup("<p style='evil'>x</p>"),
    ],
)
def test_the_checks_see_what_is_not_the_reports_own(check, hostile):
    check(render(Page("evil", "<evil>", None, [("s", "evil", element("p", "<b-evil>"))])))
    with pytest.raises(AssertionError):
        check(render(Page("run", "", None, [("s", "s", element("p", hostile))])))
