"""A file is either whole or as it was."""

import errno
from pathlib import Path

import pytest

from resmfn.core import InputError, atomic_folder, atomic_write


def test_a_finished_block_replaces_the_file(tmp_path: Path) -> None:
    target = tmp_path / "map.mrc"
    target.write_text("old")
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".mrc"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_block_leaves_everything_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "map.mrc"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half-way"), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half-way")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    expected = pytest.raises(InputError, match=r"cannot write .*map\.mrc: No space left on device")
    with expected, atomic_write(tmp_path / "map.mrc") as temporary:
        temporary.write_text("half")
        raise full
    assert not list(tmp_path.iterdir())


def test_defects_keep_their_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "map.mrc"):
        pass  # nothing written: a mistake of the caller, not of the user


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"the folder .*absent does not exist"),
        atomic_write(tmp_path / "absent" / "x"),
    ):
        pass


def test_new_files_get_the_usual_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_write(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_is_whole_or_not_there(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("a")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("a")
        assert not (tmp_path / "out").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/file"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(InputError, match="exists already"), atomic_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "out/mine").unlink()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert (tmp_path / "out/file").is_file()
