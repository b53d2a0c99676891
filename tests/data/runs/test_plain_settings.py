"""Settings are plain values: what would hang, fill memory or break the parser is refused in one line."""

import pytest

from resmfn.core import InputError
from resmfn.data.runs import plain_settings
from resmfn.data.runs.plain_settings import read_settings
from resmfn.data.runs.run_folder import settings_of

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
BROKEN = ["!!timestamp x", "!!bool x", "!!int ''", "[" * 1000, "\x00", "? [a]\n: b", "a: !!python/object:os.system x"]


def test_plain_values_come_back(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 5\nmask: null\nnames: [a, b]\nwhere: 'µ'\n", encoding="utf-8")
    assert read_settings(tmp_path / "config.yaml") == {"seed": 5, "mask": None, "names": ["a", "b"], "where": "µ"}


def test_what_is_no_table_holds_nothing(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("just words")
    assert read_settings(tmp_path / "config.yaml") == {}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_breaks_the_parser_is_refused_in_one_line(tmp_path, text) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config.yaml: cannot be read \([^\n]*\); restore it$"):
        read_settings(path)
    assert settings_of(tmp_path) == {}  # a folder with such a file is none of ours


@pytest.mark.parametrize("text", ["a: &a [x]\nb: *a\n", BOMB], ids=["one", "bomb"])
def test_aliases_are_refused_before_anything_is_multiplied(tmp_path, text) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="settings have no aliases"):
        read_settings(tmp_path / "config.yaml")


def test_more_than_settings_are_long_is_not_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plain_settings, "MOST_BYTES", 10)
    (tmp_path / "config.yaml").write_text("seed: 1234567")
    with pytest.raises(InputError, match="are no settings of a run"):
        read_settings(tmp_path / "config.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_settings(tmp_path / "config.yaml")
