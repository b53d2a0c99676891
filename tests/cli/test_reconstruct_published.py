"""``resmfn reconstruct --preset published``: flags, and bad input in one line."""

from dataclasses import asdict, fields

import pytest

from resmfn.cli.main import main
from resmfn.cli.published_flags import PublishedFlags
from resmfn.reconstruction.published.config import PublishedSettings

PUBLISHED_SCRIPT = (
    "--epochs", "--bacon-lr", "--bacon-iter", "--bacon-hidden-dim", "--bacon-hidden-layers", "--pose-lr",
    "--pose-beta1", "--pose-beta2", "--pose-lr-decay", "--pose-iter",
)  # fmt: skip


def test_flags_are_the_settings_with_the_same_defaults():
    assert asdict(PublishedFlags()) == asdict(PublishedSettings())


def test_every_flag_of_the_published_script_is_there():
    assert {"--" + f.name.replace("_", "-") for f in fields(PublishedFlags)} >= set(PUBLISHED_SCRIPT)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "3"], "--epochs needs --preset published"),
        (["--preset", "search", "--heads", "relu"], "--heads needs --preset published"),
        (["--preset", "published", "--n-starts", "4"], "--n-starts cannot go with --preset published"),
        (["--preset", "published", "--box-size", "32"], "--box-size cannot go with --preset published"),
        (["--preset", "published", "--resume", "--overwrite"], "--resume and --overwrite contradict"),
        (["--preset", "published"], "takes a folder in the published layout"),
        (["--preset", "published", "--stages", "9"], "--stages must be 2 growing whole epochs"),
        (["--preset", "published", "--gpu", "0"], "Unknown option: --gpu. The published --gpu 0 is --device cuda"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(flags, message, tmp_path, capsys):
    code = main(["reconstruct", str(tmp_path / "none"), "--out", str(tmp_path / "run"), *flags])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_positional_arguments_of_the_published_script_are_answered_with_flags(capsys):
    assert main(["reconstruct", "data", "map.mrc", "run", "--gpu", "0"]) == 2
    error = capsys.readouterr().err
    assert "--out RUN and the map as --volume MAP" in error
    assert "--device cuda" in error
    assert main(["reconstruct", "data", "map.mrc", "run", "--out", "run"]) == 2
    assert "--out RUN and the map as --volume MAP" in capsys.readouterr().err


def test_other_mistakes_get_no_published_hint(capsys):
    assert main(["reconstruct", "data", "--out", "run", "--sed", "1"]) == 2
    assert "Did you mean --seed?" in capsys.readouterr().err


def test_a_run_says_what_it_started_from(tmp_path, capsys):
    data = str(tmp_path / "data")
    sampling = ["--box-size", "16", "--pixel-size", "6", "--n-projections", "12", "--layout", "published"]
    assert main(["simulate", "4ake", "--out", data, *sampling]) == 0
    sizes = ["--epochs", "1", "--bacon-hidden-dim", "8", "--warm-up", "1", "--pose-iter", "1"]
    start = ["--preset", "published", "--init-from-truth", "45,90"]
    assert main(["reconstruct", f"{data}/N12_snr0.1_ctf", "--out", str(tmp_path / "run"), *start, *sizes]) == 0
    out = capsys.readouterr().out
    assert "NOT ab initio" in out
    assert "poses not found" in out  # after one epoch of twelve images
    assert (tmp_path / "run" / "particles.star").is_file()
