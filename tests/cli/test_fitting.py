"""The commands that fit and render: flags arrive, figures are drawn, faults are one line."""

import json

import pytest
import yaml

from fitting.conftest import picture
from resmfn.cli.main import main
from resmfn.data import write_map
from resmfn.data.pictures.files import read_image, write_image

SMALL = ["--epochs", "6", "--hidden-dim", "6", "--device", "cpu", "--no-tensorboard"]


@pytest.fixture
def photo(tmp_path):
    write_image(tmp_path / "photo.png", picture(24, 32))
    return str(tmp_path / "photo.png")


def test_fit_an_image_then_render_it(photo, tmp_path, capsys):
    run = tmp_path / "run"
    flags = ["--stages", "2,4", "--hidden-layers", "3", "--variant", "staged", "--crop", "22", "--seed", "5"]
    assert main(["fit-image", photo, "--out", str(run), *SMALL, *flags]) == 0
    out = capsys.readouterr().out
    assert "fitting 1 as staged on cpu" in out
    assert "photo: epoch 6, scale 3, PSNR train" in out
    assert "| photo |" in out
    assert "3 figures" in out
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert (settings["stages"], settings["crop"], settings["seed"]) == ([2, 4], 22, 5)
    assert len(json.loads((run / "summary.json").read_text())["test_psnr"]) == 3
    assert read_image(run / "fields" / "photo" / "epoch_000006" / "scales.png").shape[2] == 3
    field = str(run / "fields" / "photo" / "field.pt")
    assert main(["render", field, "--out", str(tmp_path / "r.png"), "--size", "30", "--scale", "2"]) == 0
    assert "r.png: 30 x 30, scale 2" in capsys.readouterr().out
    assert read_image(tmp_path / "r.png").shape == (30, 30, 3)


def test_a_quantized_field_is_rendered_between_scales_and_filtered(photo, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "r.png"
    assert main(["fit-image", photo, "--out", str(run), *SMALL, "--quantized", "--no-figures"]) == 0
    field = str(run / "fields" / "photo" / "field.pt")
    assert main(["render", field, "--out", str(out)]) == 0
    plain = read_image(out)
    capsys.readouterr()
    assert main(["render", field, "--out", str(out), "--scale", "2.5", "--filter", "gaussian:3", "--overwrite"]) == 0
    assert "r.png: 32 x 24, scale 2.5, gaussian:3" in capsys.readouterr().out
    assert read_image(out).var() < plain.var()
    assert main(["render", field, "--out", str(out), "--filter", "gauss:3", "--overwrite"]) == 2
    assert "a filter must be one of gaussian, box, lanczos, got 'gauss'" in capsys.readouterr().err


def test_fit_a_map_by_its_name_alone(tmp_path, generator, capsys):
    import torch

    write_map(tmp_path / "map.mrc", torch.randn(22, 22, 22, generator=generator), 1.5)
    run = tmp_path / "run"
    assert main(["fit-volume", str(tmp_path / "map.mrc"), "--out", str(run), *SMALL, "--no-figures"]) == 0
    assert "map: epoch 6, scale 3" in capsys.readouterr().out
    assert not list(run.rglob("scales.png"))
    assert (run / "fields" / "map" / "scale3.mrc").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--variant", "vanilla", "--residual"], "vanilla is not residual: omit --residual"),
        (["--fair"], "needs --staged"),
        (["--stages", "1,2"], "must name 3 epochs"),
        (["--just-one", "--crop", "30"], "--crop 30 is larger than photo, 32 x 24"),
        (["--dataset", "imagenet"], "neither a file nor a built-in name"),
        (["--init", "mid"], 'Choose from: "old", "new"'),
    ],
)
def test_faults_are_one_line_and_nothing_is_written(photo, tmp_path, capsys, flags, message):
    assert main(["fit-image", photo, "--out", str(tmp_path / "run"), "--epochs", "50", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_source_is_a_fault(tmp_path, capsys):
    assert main(["fit-image", "--out", str(tmp_path / "run")]) == 2
    assert "no image to fit" in capsys.readouterr().err
