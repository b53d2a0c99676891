"""The shared cases on paths, links, names of symmetries and duplicates: read as the user means it, or refused clearly.

Each row is a case of ``../shared/cases``, whose README says where such a thing was reported. Links of the originals may
have been lost on the way, so they are made here.
"""

import shutil
from pathlib import Path

import pytest

from resmfn.cli.main import main
from resmfn.core import InputError
from resmfn.reconstruction import ReconstructionConfig

pytestmark = pytest.mark.shared

READ = [
    ("at_in_dir", "p.star"),  # user@lab in a folder's name
    ("backslash", "p.star"),
    ("dotdot", "Select/job5/p.star"),
    ("job4deep", "External/job012/out/iter/final/run_data.star"),  # names start from the current folder
    ("jobfolder", "Refine3D/job012/run_data.star"),
    ("space_quoted", "p.star"),
    ("unicode", "p.star"),
    ("stk_mrc", "p.star"),
    ("star_is_link", "elsewhere/p.star"),
    ("symlink_out", "p.star"),
]
REFUSED = [
    ("case", ["p.star"], "there is A.mrcs in ", "upper and lower case differ"),
    ("datadir_deep", ["p.star", "--datadir", "J487/extract"], "a.mrcs is there: give --datadir ", "datadir_deep"),
    ("lfs", ["p.star"], "particles.mrcs", ""),
    ("hdf", ["p.star"], "", ""),
]


@pytest.fixture
def case(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that copies a case, links and all, and goes there."""

    def go(name: str) -> Path:
        folder = tmp_path / "cases" / name
        for part in (name, "_outside"):
            shutil.copytree(shared / "cases" / part, tmp_path / "cases" / part, symlinks=True, dirs_exist_ok=True)
        for made, target in LINKS.get(name, {}).items():
            (folder / made).chmod(0o600)
            (folder / made).unlink()
            (folder / made).symlink_to(target)
        monkeypatch.chdir(folder)
        return folder

    return go


LINKS = {
    "star_is_link": {"elsewhere/p.star": "../proj/Refine3D/job001/run_data.star"},
    "symlink_out": {"J3/imported/0001_real.mrcs": "../../../_outside/real.mrcs"},
}


@pytest.mark.parametrize(("name", "star"), READ)
def test_a_case_that_is_read(case, capsys, name, star) -> None:
    case(name)
    assert main(["check", star]) == 0
    out = capsys.readouterr().out
    assert "images          12" in out
    assert "would fail" not in out


@pytest.mark.parametrize(("name", "words", "says", "and_says"), REFUSED)
def test_a_case_that_is_refused_by_its_real_cause(case, capsys, name, words, says, and_says) -> None:
    case(name)
    assert main(["check", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error and and_says in error


def test_a_deep_job_from_elsewhere_is_told_where_its_images_are(case, capsys, monkeypatch) -> None:
    folder = case("job4deep")
    (folder.parent / "away").mkdir()
    monkeypatch.chdir(folder.parent / "away")
    star = folder / "External/job012/out/iter/final/run_data.star"
    assert main(["check", str(star)]) == 2
    assert f"is there: give --datadir {folder}" in capsys.readouterr().err
    assert main(["check", str(star), "--datadir", str(folder)]) == 0


def test_paths_with_dots_from_a_sister_folder(case, capsys, monkeypatch) -> None:
    folder = case("jobfolder")
    (folder.parent / "sister").mkdir()
    monkeypatch.chdir(folder.parent / "sister")
    assert main(["check", "../jobfolder/Refine3D/job012/run_data.star"]) == 0
    assert "images          12" in capsys.readouterr().out


@pytest.mark.parametrize("poses", ["dup.star", "b.star", "c.star"])
def test_true_poses_with_duplicates_are_refused_and_others_taken_by_name(case, capsys, poses) -> None:
    case("evaluate_order")
    code = main(["evaluate", "a.star", "--true-poses", poses, "--no-figure"])
    error = capsys.readouterr().err
    if poses == "dup.star":
        assert code == 2
        assert "is listed twice, so its pose is ambiguous" in error
    else:
        assert (code, error) == (0, "")


@pytest.mark.parametrize("name", ["Oh", "icos", "O432", "Td", "S4", "C1,2", "helical", "D100", "C0", "I5"])
def test_symmetries_by_other_programs_names_are_refused(case, name) -> None:
    case("symnames")
    with pytest.raises(InputError, match="--symmetry") as refused:
        ReconstructionConfig(particles="p.star", out="run", symmetry=name)
    assert "\n" not in str(refused.value)
    assert "C1 to C99, D1 to D99, T, O, I or I1 to I4" in str(refused.value)


@pytest.mark.parametrize(("name", "taken"), [("c4", "C4"), ("I1", "I1"), ("i2", "I2"), ("D2", "D2")])
def test_symmetries_that_are_known_are_taken(name, taken) -> None:
    assert ReconstructionConfig(particles="p.star", out="run", symmetry=name).symmetry == taken
