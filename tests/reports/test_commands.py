"""The commands as a user types them."""

import pytest

from resmfn.cli.main import main


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_evaluate_prints_a_table_and_writes_two_files(finished_run, tmp_path, capsys):
    code, out, err = run(
        capsys, "evaluate", finished_run / "run", "--reference", finished_run / "volume.mrc",
        "--true-poses", finished_run / "particles_true.star", "--out", tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    for expected in ("without mask", "with mask", "at 0.143", "mirrored", "median", "within 5°", "shift error", "60"):
        assert expected in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "evaluation.png"]


def test_evaluate_two_star_files_says_that_it_writes_nothing(finished_run, capsys):
    star, truth = finished_run / "run" / "particles.star", finished_run / "particles_true.star"
    code, out, _ = run(capsys, "evaluate", star, "--true-poses", truth)
    assert code == 0
    assert "nothing written (no --out)" in out
    assert "FSC" not in out


def test_align_prints_how_the_map_was_turned(finished_run, tmp_path, capsys):
    out_path = tmp_path / "aligned.mrc"
    code, out, _ = run(
        capsys, "align", finished_run / "run" / "map.mrc", finished_run / "volume.mrc", "--out", out_path
    )
    assert code == 0
    assert "mirrored" in out
    assert "tilt" in out
    assert out_path.is_file()


def test_fsc_prints_resolutions(finished_run, tmp_path, capsys):
    a = finished_run / "volume.mrc"
    code, out, _ = run(capsys, "fsc", a, a)
    assert code == 0
    assert "without mask" in out
    assert "4.00 Å" in out  # Nyquist
    code, out, _ = run(capsys, "fsc", a, a, "--mask-diameter", "30", "--out", tmp_path / "fsc.csv")
    assert "corrected" in out
    assert (tmp_path / "fsc.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "run"], "give --reference, --true-poses or both"),
        (["evaluate", "absent", "--reference", "volume.mrc"], "absent: no such run folder"),
        (["align", "volume.mrc", "absent.mrc", "--out", "new.mrc"], "absent.mrc"),
        (["align", "volume.mrc", "volume.mrc", "--out", "run/map.mrc"], "already exists"),
        (["fsc", "volume.mrc", "particles_true.star"], "particles_true.star"),
        (["fsc", "volume.mrc", "volume.mrc", "--mask-diameter", "-3"], "must be above 0 Å"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(finished_run, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(finished_run)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
