"""A folder of files appears whole, or not at all."""

import pytest

from resmfn.core import InputError
from resmfn.simulation.output import whole_folder


def fill(path, text="new", *, overwrite=False, fail=False):
    with whole_folder(path, overwrite=overwrite) as folder:
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(text)
        assert not (path / "a").exists() or (path / "a").read_text() != text
        if fail:
            raise KeyboardInterrupt


def files(path):
    return {p.relative_to(path).as_posix(): p.read_text() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_gets_all_files(tmp_path, exists):
    if exists:
        (tmp_path / "deep" / "out").mkdir(parents=True)
    fill(tmp_path / "deep" / "out")
    assert files(tmp_path) == {"deep/out/a": "new", "deep/out/sub/b": "new"}


def test_overwriting_replaces_what_it_writes_and_nothing_else(tmp_path):
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "mine").write_text("kept")
    (tmp_path / "out" / "sub" / "stale").write_text("gone")
    fill(tmp_path / "out", "new", overwrite=True)
    assert files(tmp_path / "out") == {"a": "new", "sub/b": "new", "mine": "kept"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_all_as_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out", fail=True)
    assert list(tmp_path.iterdir()) == []
    fill(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out", overwrite=True, fail=True)
    assert files(tmp_path) == {"out/a": "old", "out/sub/b": "old"}


def test_folders_that_cannot_be_written_are_named(tmp_path):
    fill(tmp_path / "out")
    with pytest.raises(InputError, match=r"out: the folder exists and has files; give --overwrite"):
        fill(tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file: is a file, not a folder"):
        fill(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot be created \((Not a directory|File exists)\)"):
        fill(tmp_path / "file" / "out")
