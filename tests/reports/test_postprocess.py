"""Half maps to curves, B-factor and local resolution; and RELION's program on the same files."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resmfn.cli.main import main
from resmfn.core import make_generator
from resmfn.core.digest import digest_of_file
from resmfn.core.random import spawn
from resmfn.data import read_map, read_star, write_map
from resmfn.evaluation import half_map_resolution
from resmfn.fourier import radius_grid, soft_sphere
from resmfn.fourier.transforms import fftn_centered, ifftn_centered
from resmfn.reports.postprocess import postprocess

SIZE, PIXEL = 48, 1.5
B_FACTOR = 120.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two half maps and a mask: white density in a ball, its amplitudes damped, and noise."""
    folder = tmp_path_factory.mktemp("halves")
    generator = make_generator(1)
    ball = soft_sphere(SIZE, 14.0, 3.0)
    squared = (radius_grid(SIZE, 3) / (SIZE * PIXEL)).square()
    density = damped(torch.randn(SIZE, SIZE, SIZE, generator=generator) * ball, squared)
    for name in ("half1", "half2"):
        noise = 0.6 * density.std() * torch.randn(SIZE, SIZE, SIZE, generator=generator)
        write_map(folder / f"{name}.mrc", density + noise, PIXEL)
    write_map(folder / "mask.mrc", soft_sphere(SIZE, 15.0, 4.0), PIXEL)
    return folder


def damped(volume: Tensor, squared: Tensor) -> Tensor:
    return ifftn_centered(fftn_centered(volume) * torch.exp(-B_FACTOR / 4 * squared)).real


def test_a_run_folder_gives_all_files_and_the_figures(files, tmp_path, capsys) -> None:
    assert main(["postprocess", str(files), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "validation.json", "fsc.csv", "fsc_directional.csv", "fsc.xml", "postprocessed.mrc", "local_resolution.mrc",
    }  # fmt: skip
    assert f"{record['resolution_0143']['corrected']:.2f} Å" in text
    assert record["resolution_0143"]["masked"] < record["resolution_0143"]["unmasked"]
    assert 0.85 < record["directional_resolution"]["sphericity"] <= 1
    local = record["local_resolution"]
    assert local["p05"] <= local["median"] <= local["p95"]
    assert local["median"] == pytest.approx(record["resolution_0143"]["corrected"], rel=0.25)


def test_a_run_is_told_the_same_figures_again(files, tmp_path, capsys) -> None:
    """The random phases are those of the run's own seed, and "without mask" is of the halves that have none."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("half1.mrc", "half2.mrc", "mask.mrc"):
        (run / name).write_bytes((files / name).read_bytes())
    a, b, mask = (read_map(run / f"{name}.mrc").data for name in ("half1", "half2", "mask"))
    (run / "config.yaml").write_text("seed: 5\n")
    expected = half_map_resolution(a, b, mask, PIXEL, generator=spawn(5, "phases"))
    found = postprocess(run, out=tmp_path / "out").found.halves
    assert torch.equal(found.curves.corrected.correlation, expected.curves.corrected.correlation)
    assert main(["fsc", f"{run}/half1.mrc", f"{run}/half2.mrc", "--mask", f"{run}/mask.mrc", "--seed", "5"]) == 0
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("corrected"))
    assert f"{expected.curves.corrected.area():.3f}" in line
    assert f"{expected.resolution:.2f} Å" in line
    noise = torch.randn(SIZE, SIZE, SIZE, generator=make_generator(2))
    write_map(run / "half1_unfil.mrc", a + 3 * noise, PIXEL)
    write_map(run / "half2_unfil.mrc", b - 3 * noise, PIXEL)
    assert main(["postprocess", str(run), "--out", str(tmp_path / "again")]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "none" in lines["without mask"]  # a run's figures are of its half maps without mask, where it has them
    record = json.loads((tmp_path / "again" / "validation.json").read_text())
    assert record["resolution_0143"]["unmasked"] is None


@pytest.mark.parametrize("name", ["half1_unfil.mrc", "half2_unfil.mrc", "mask.mrc"])
def test_a_file_that_is_read_and_is_not_the_run_s_own_is_refused(files, tmp_path, capsys, name) -> None:
    run = tmp_path / "run"
    shutil.copytree(files, run)
    for half in ("half1", "half2"):
        shutil.copy(run / f"{half}.mrc", run / f"{half}_unfil.mrc")
    (run / "files.json").write_text(json.dumps({path.name: digest_of_file(path) for path in run.glob("*.mrc")}))
    write_map(run / "half1.mrc", torch.zeros(SIZE, SIZE, SIZE), PIXEL)  # which is not read
    assert main(["postprocess", str(run)]) == 0
    shutil.copy(run / "half1.mrc", run / name)
    capsys.readouterr()
    assert main(["postprocess", str(run), "--overwrite"]) == 2
    assert f"{name} is not the file that this run wrote" in capsys.readouterr().err


def test_a_known_fall_of_amplitudes_is_found_and_undone(files, tmp_path) -> None:
    result = postprocess(files, out=tmp_path / "out")
    assert result.found.fit is not None
    assert result.found.fit.b_factor == pytest.approx(-B_FACTOR, rel=0.25)
    again = postprocess(files, out=tmp_path / "given", b_factor=-50.0)
    assert again.found.b_factor == -50.0
    power = [
        fftn_centered(read_map(tmp_path / name / "postprocessed.mrc").data).abs()[24, 24, 24 + 12]
        for name in ("out", "given")
    ]
    expected = math.exp((-result.found.b_factor - 50.0) / 4 * (12 / (SIZE * PIXEL)) ** 2)
    assert float(power[0] / power[1]) == pytest.approx(expected, rel=0.15)  # the mask blurs a little


@pytest.mark.parametrize(
    ("config", "summary", "said"),
    [
        ("poses: fixed", {}, "not confirmed: The half maps agree to"),
        ("seed: 1", {"resolution_split": None}, "not confirmed: The half maps agree to"),
        ("seed: 1", {"resolution_split": 2.0}, "not resolved: The half maps agree to"),
        ("seed: 1", {"structure_found": False, "verdict": "no structure found"}, "no structure found: "),
        ("seed: 1", {"resolution_split": 40.0}, None),
        ("seed: 1", {}, None),
    ],
)
def test_what_the_halves_of_a_run_do_not_confirm_is_said_again(files, tmp_path, capsys, config, summary, said) -> None:
    run = tmp_path / "run"
    shutil.copytree(files, run)
    (run / "config.yaml").write_text(config)
    (run / "summary.json").write_text(json.dumps(summary))
    for command in (
        ["postprocess", str(run)],
        ["fsc", f"{run}/half1.mrc", f"{run}/half2.mrc", "--mask", f"{run}/mask.mrc"],
        ["postprocess", f"{run}/half2.mrc", f"{run}/half1.mrc", "--mask", f"{run}/mask.mrc", "--out", f"{run}/two"],
    ):
        assert main(command) == 0
        last = [line for line in capsys.readouterr().out.splitlines() if line and not line.endswith(": written")][-1]
        assert last.startswith(said) if said else ": The" not in last, command
    record = json.loads((run / "postprocess" / "validation.json").read_text())
    assert (record["unconfirmed"] or "").startswith(said or "")
    assert bool(record["unconfirmed"]) == bool(said)
    assert main(["fsc", f"{run}/half1.mrc", f"{files}/half2.mrc"]) == 0  # not the halves of one run
    assert ": The" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such run folder"),
        (["{files}/half1.mrc", "{files}/half2.mrc"], "--out is needed"),
        (["{files}/half1.mrc", "{files}/half2.mrc", "--out", "{new}"], "a mask is needed"),
        (["{files}", "--out", "{files}"], "already holds files"),
        (["{files}", "{files}/half2.mrc"], "is a folder"),
        (["{files}/half1.mrc", "{files}/half1.mrc", "--mask-diameter", "40", "--out", "{new}/a"], "are the same map"),
        (["{new}/.."], "half1.mrc is not in this folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(files, tmp_path, capsys, arguments, message) -> None:
    filled = [a.format(files=files, new=tmp_path / "new") for a in arguments]
    (tmp_path / "new").mkdir(exist_ok=True)
    assert main(["postprocess", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.relion
def test_relion_says_the_same_of_the_same_halves(files, relion, tmp_path) -> None:
    """Resolution within a shell; B-factor within a tenth (RELION's own rounding of shells differs)."""
    result = postprocess(files, out=tmp_path / "ours")
    ours = result.validation
    resolution = ours["resolution_0143"]["corrected"]
    command = [
        str(relion / "relion_postprocess"), "--i", str(files / "half1.mrc"), "--i2", str(files / "half2.mrc"),
        "--mask", str(files / "mask.mrc"), "--angpix", str(PIXEL), "--o", str(tmp_path / "relion"), "--force_mask",
        "--auto_bfac", "--autob_lowres", "10", "--autob_highres", str(resolution),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    tables = read_star(tmp_path / "relion.star")
    general = {name: tables["general"].text(name)[0] for name in ("rlnFinalResolution", "rlnBfactorUsedForSharpening")}
    shells = [SIZE * PIXEL / value for value in (resolution, float(general["rlnFinalResolution"]))]
    assert abs(shells[0] - shells[1]) <= 1
    assert result.found.b_factor == pytest.approx(float(general["rlnBfactorUsedForSharpening"]), rel=0.1)
    theirs = torch.tensor([float(v) for v in tables["fsc"].text("rlnFourierShellCorrelationMaskedMaps")])
    masked = result.found.halves.curves.masked.correlation.float()
    assert float((masked[1 : len(theirs) - 1] - theirs[1 : len(masked) - 1]).abs().max()) < 0.02


def test_one_map_given_twice_is_named(files, tmp_path, capsys) -> None:
    half, volume = files / "half1.mrc", read_map(files / "half1.mrc").data
    write_map(tmp_path / "twice.mrc", 2 * volume, PIXEL)
    for other in (half, tmp_path / "twice.mrc"):
        assert main(["fsc", str(half), str(other)]) == 0
        assert "are the same map" in capsys.readouterr().out
    write_map(tmp_path / "noisy.mrc", volume + 1e-3 * torch.randn(volume.shape), PIXEL)
    for other in (files / "half2.mrc", tmp_path / "noisy.mrc"):
        assert main(["fsc", str(half), str(other)]) == 0
        assert "are the same map" not in capsys.readouterr().out
