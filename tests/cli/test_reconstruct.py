"""``resmfn reconstruct``: flags, progress, and every kind of bad input in one line with nothing left behind."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import resmfn.reconstruction
from reconstruction.scenes import PIXEL_SIZE, stored_images, varied_optics, write_particle_files
from resmfn.cli.main import main
from resmfn.cli.reconstruct import _closing_lines
from resmfn.cli.stopping import StopSignals
from resmfn.core import make_generator
from resmfn.data import write_map
from resmfn.fourier import radius_grid
from resmfn.reconstruction import ProgressEvent, ReconstructionConfig, ReconstructionResult

BOX, N = 16, 60
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="NOT TESTED: there is a CUDA device")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with particles.star and particles.mrcs: noise, with CTF, without poses."""
    images = torch.randn(N, BOX, BOX, generator=make_generator(1))
    write_particle_files(tmp_path / "data", images, optics=varied_optics(N))
    return tmp_path / "data"


@pytest.fixture
def refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function from flags to the one line that a run with bad input leaves, and nothing but that line."""

    def run(*flags: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        code = main(["reconstruct", str(data / "particles.star"), "--out", str(tmp_path / "run"), *flags])
        error = capsys.readouterr().err
        assert code == 2
        assert error.count("\n") == 1, error
        assert error.startswith("resmfn: ")
        assert "Traceback" not in error
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return run


def edit_star(data: Path, change: Callable[[str], str]) -> None:
    path = data / "particles.star"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


# --- images ------------------------------------------------------------------------------------------


def test_no_such_file(data, refused) -> None:
    (data / "particles.star").unlink()
    assert "particles.star: does not exist; check the name" in refused()


def test_not_a_particle_file(data, refused) -> None:
    (data / "particles.star").write_text("data_images\n\nloop_\n_rlnMicrographName #1\na.mrc\n")
    assert "not a particle file" in refused()


def test_a_missing_stack(data, refused) -> None:
    (data / "particles.mrcs").unlink()
    assert "row 1: the image stack particles.mrcs is not in " in refused()


def test_a_datadir_without_the_stack(data, refused, tmp_path) -> None:
    assert f"particles.mrcs is not in {tmp_path}" in refused("--datadir", str(tmp_path))


def test_a_truncated_stack(data, refused) -> None:
    whole = (data / "particles.mrcs").read_bytes()
    (data / "particles.mrcs").write_bytes(whole[:-100])
    assert "the file is truncated" in refused()


def test_a_row_without_a_stack(data, refused) -> None:
    edit_star(data, lambda text: text.replace("000012@particles.mrcs", "000012"))
    assert "row 12" in refused()


def test_a_row_whose_image_is_not_in_the_stack(data, refused) -> None:
    edit_star(data, lambda text: text.replace("000012@", "000061@"))
    assert "row 12: 000061@particles.mrcs names image 61, but " in refused()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image: np.full_like(image, np.nan), "holds NaN or infinite values"),
        (lambda image: np.where(np.arange(BOX) == 3, np.inf, image), "holds NaN or infinite values"),
        (lambda image: np.zeros_like(image), "is constant"),
        (lambda image: image * (radius_grid(BOX, 2).numpy() < 5), "the image is constant outside the mask"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(data, refused, spoil, message) -> None:
    images = stored_images(data / "particles.mrcs")
    images[41] = spoil(images[41])
    images.flush()
    error = refused()
    assert "row 42" in error
    assert message in error


def test_too_few_particles(data, refused) -> None:
    images = torch.randn(49, BOX, BOX, generator=make_generator(1))
    write_particle_files(data, images)
    assert "lists 49 particles; a reconstruction in two halves needs at least 50" in refused()


def test_images_that_are_not_square(data, refused) -> None:
    header = bytearray((data / "particles.mrcs").read_bytes())
    header[0:8] = np.array([2 * BOX, BOX // 2], "<i4").tobytes()
    (data / "particles.mrcs").write_bytes(header)
    assert "images must be square" in refused()


def test_pixel_sizes_that_contradict_each_other(data, refused) -> None:
    edit_star(data, lambda text: text.replace(" 3.000000 ", " 1.500000 "))
    assert "the pixel size is 1.5 Å there, but 3 Å in the header" in refused()


def test_a_defocus_that_is_no_number(data, refused) -> None:
    edit_star(data, lambda text: text.replace(" 12000.000000 ", " nan "))
    assert "row 1: rlnDefocusU must be a finite number, got 'nan'" in refused()


# --- masks, references, poses ------------------------------------------------------------------------


def test_a_mask_of_another_box(refused, tmp_path) -> None:
    write_map(tmp_path / "mask.mrc", torch.ones(20, 20, 20), PIXEL_SIZE)
    error = refused("--mask", str(tmp_path / "mask.mrc"))
    assert "must match the images' box of 16 pixels of 3 Å, got 20 of 3 Å" in error


def test_a_mask_that_is_no_mask(refused, tmp_path) -> None:
    write_map(tmp_path / "mask.mrc", 3 * torch.ones(BOX, BOX, BOX), PIXEL_SIZE)
    assert "must lie between 0 and 1, got 3 to 3" in refused("--mask", str(tmp_path / "mask.mrc"))


@pytest.mark.parametrize("name", ["--mask", "--reference"])
def test_a_map_that_is_not_there(refused, tmp_path, name) -> None:
    assert "none.mrc" in refused(name, str(tmp_path / "none.mrc"))


@pytest.mark.parametrize("name", ["--mask", "--reference"])
def test_a_map_that_is_not_cubic(refused, tmp_path, name) -> None:
    write_map(tmp_path / "flat.mrc", torch.rand(BOX, BOX, 8, generator=make_generator(1)), PIXEL_SIZE)
    error = refused(name, str(tmp_path / "flat.mrc"))
    assert "flat.mrc" in error
    assert "cub" in error


@pytest.mark.parametrize("diameter", ["49", "99999", "11"])
def test_a_mask_diameter_beyond_the_box(refused, diameter) -> None:
    assert "--mask-diameter must lie between 4 pixels and the box, 12 to 48 Å" in refused("--mask-diameter", diameter)


@pytest.mark.parametrize("poses", ["fixed", "from-input"])
def test_known_poses_that_are_not_there(refused, poses) -> None:
    assert "poses are needed, but rlnAngleRot, rlnAngleTilt or rlnAnglePsi is missing" in refused("--poses", poses)


@pytest.mark.parametrize("poses", ["fixed", "from-input"])
def test_a_reference_where_nothing_is_searched(refused, tmp_path, poses) -> None:
    error = refused("--reference", str(tmp_path / "r.mrc"), "--poses", poses)
    assert f"--reference starts a search and excludes --poses {poses}" in error


# --- flags -------------------------------------------------------------------------------------------


@NO_GPU
def test_a_gpu_that_is_not_there(refused) -> None:
    assert "--device cuda needs a GPU" in refused("--device", "cuda")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mask-diametre", "80"], "Did you mean"),
        (["--poses", "known"], "--poses"),
        (["--n-starts", "many"], "--n-starts"),
        (["--n-starts", "0"], "--n-starts must be at least 1"),
        (["--shift-range", "-1"], "--shift-range must be at least 0 Å"),
        (["--shift-range", "nan"], "--shift-range must be a finite number of Å"),
        (["--device", "tpu"], "--device"),
        (["--resume", "--overwrite"], "--resume and --overwrite contradict each other"),
        (["--no-resume"], "--no-resume"),
        (["another.star"], "another.star"),
    ],
)
def test_a_bad_flag(refused, flags, message) -> None:
    assert message in refused(*flags)


def test_no_out(data, capsys) -> None:
    assert main(["reconstruct", str(data / "particles.star")]) == 2
    assert "--out" in capsys.readouterr().err


# --- output that exists ------------------------------------------------------------------------------


def existing_run(folder: Path) -> Path:
    """Make what a finished run looks like from outside."""
    run = folder / "run"
    run.mkdir()
    (run / "config.yaml").write_text(f"seed: 0\nout: {run}\n")
    (run / "map.mrc").write_text("the result of a week")
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_run_that_is_there_already(refused, tmp_path) -> None:
    run = existing_run(tmp_path)
    before = contents(run)
    assert "holds a run; give --resume to continue it, --overwrite, or another name" in refused()
    assert contents(run) == before


def test_a_folder_of_something_else(refused, tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    for flags in ([], ["--resume"], ["--overwrite"]):
        assert "exists and is not a run folder; choose another name" in refused(*flags)


def test_a_place_where_no_folder_can_be(data, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert main(["reconstruct", str(data / "particles.star"), "--out", str(tmp_path / "file" / "run")]) == 2
    error = capsys.readouterr().err
    assert f"cannot make the run folder {tmp_path}/file/run" in error
    assert error.count("\n") == 1


def spoil_one_image(data: Path) -> None:
    images = stored_images(data / "particles.mrcs")
    images[41] = np.nan
    images.flush()


def test_bad_images_do_not_cost_the_run_that_was_to_be_overwritten(data, tmp_path, capsys) -> None:
    run = existing_run(tmp_path)
    before = contents(run)
    spoil_one_image(data)
    assert main(["reconstruct", str(data / "particles.star"), "--out", str(run), "--overwrite"]) == 2
    assert contents(run) == before


def test_bad_images_leave_an_empty_folder_empty(data, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    run.mkdir()
    spoil_one_image(data)
    for _ in range(2):
        assert main(["reconstruct", str(data / "particles.star"), "--out", str(run)]) == 2
        assert "row 42" in capsys.readouterr().err
        assert contents(run) == {}


# --- what reaches the reconstruction, and what is shown ----------------------------------------------


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ReconstructionConfig]:
    """Put a reconstruction in place that reports and does nothing; return the settings that it gets."""
    configs: list[ReconstructionConfig] = []

    def reconstruct(
        config: ReconstructionConfig, listener: Callable[[ProgressEvent], None], *, stop: Callable[[], bool]
    ) -> ReconstructionResult:
        configs.append(config)
        listener(ProgressEvent("read", "60 particles", 0.0))
        listener(ProgressEvent("start 1 of 4", "radius 3.0, log-likelihood 1.00"))
        listener(ProgressEvent("halves", "round 1 to 9.0 Å, half maps agree to 8.73 Å [sic]", 0.5, {"round": 1.0}))
        listener(ProgressEvent("done", "half maps agree to 8.00 Å", 1.0))
        summary = {
            "verdict": "half maps agree to 8.00 Å",
            "resolution_half_0143": 8.0,
            "seconds": 61,
            "cpu_seconds": 90,
            "structure_found": config.seed != 13,
            "resolved": config.seed not in (13, 14),
        }
        return ReconstructionResult(config.out, summary)

    monkeypatch.setattr(resmfn.reconstruction, "reconstruct", reconstruct)
    return configs


def test_every_flag_reaches_the_settings(recorded, tmp_path) -> None:
    wanted = {
        "box_size": 24,
        "symmetry": "D2",
        "contrast": "black",
        "mask_diameter": 80.0,
        "mask": Path("mask.mrc"),
        "shift_range": 3.5,
        "n_starts": 7,
        "poses": "unknown",
        "reference": Path("reference.mrc"),
        "ini_high": 20.0,
        "hidden_dim": 64,
        "score_precision": "tf32",
        "gpu_memory": 7.5,
        "network_steps": 33,
        "datadir": Path("elsewhere"),
        "strip_prefix": "/data",
        "passthrough": Path("rest.cs"),
        "pixel_size": 1.25,
        "device": "cpu",
        "seed": 9,
        "n_classes": 3,
        "classes_from": Path("first"),
        "classes": "1,3",
        "voltage": 200.0,
        "spherical_aberration": 2.0,
        "amplitude_contrast": 0.07,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in wanted.items()]
    switches = ["--overwrite", "--flip-hand", "--allow-outside", "--local-states"]
    assert main(["reconstruct", "p.star", "--out", "run", *flags, *switches]) == 0
    assert main(["reconstruct", "p.star", "--out", "run", "--resume", "--poses=fixed", "--refine-defocus"]) == 0
    first, second = map(vars, recorded)
    assert (
        first
        == {"particles": Path("p.star"), "out": Path("run"), "resume": False, "overwrite": True, "flip_hand": True}
        | {"allow_outside": True, "local_states": True, "refine_defocus": False}  # of one map alone
        | {"final_resolution": None, "memory": None, "relax_symmetry": None}  # not beside --box-size and --symmetry
        | wanted
    )
    assert set(first) == {field.name for field in dataclasses.fields(ReconstructionConfig)}  # none without a flag
    assert (second["resume"], second["overwrite"], second["poses"]) == (True, False, "fixed")
    assert second["refine_defocus"]


def test_flags_that_are_not_given_have_the_settings_own_defaults(recorded) -> None:
    assert main(["reconstruct", "p.star", "--out", "run"]) == 0
    assert recorded == [ReconstructionConfig(particles=Path("p.star"), out=Path("run"))]


def test_progress_is_a_line_for_each_piece_of_work_and_ends_with_the_figures(recorded, capsys) -> None:
    assert main(["reconstruct", "p.star", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0].endswith("starting")
    assert lines[1].endswith("read: 60 particles")
    assert lines[2].endswith("halves: round 1 to 9.0 Å, half maps agree to 8.73 Å [sic]")  # not read as markup
    assert " 50 %  about " in lines[2]
    assert not [line for line in lines if "radius 3.0" in line]
    assert "half maps agree to 8.00 Å" in lines
    assert "half maps, FSC 0.143  8.00 Å" in lines
    assert any("61 s (90 s of CPU)" in line for line in lines)
    assert any("run/map.mrc" in line for line in lines)


def test_no_structure_is_an_exit_code_of_its_own(recorded) -> None:
    assert main(["reconstruct", "p.star", "--out", "run", "--seed", "13"]) == 3


def test_a_structure_that_is_not_resolved_is_an_exit_code_of_its_own(recorded) -> None:
    assert main(["reconstruct", "p.star", "--out", "run", "--seed", "14"]) == 4


@pytest.fixture
def command(data: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts the command in a process of its own; what still runs at the end is killed."""
    # A shell that runs tests in the background lets them, and all that they start, ignore interrupts.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from resmfn.cli.main import main; sys.exit(main())"
    arguments = ["-c", code, "reconstruct", str(data / "particles.star"), "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, *arguments, "--overwrite"], env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_first_line_comes_within_5_seconds(command) -> None:
    """Three tries, as the machine may be busy with something else."""
    waited = []
    for _ in range(3):
        begun = time.monotonic()
        process = command()
        assert process.stdout.readline().strip().endswith("starting")
        waited.append(time.monotonic() - begun)
        process.kill()
        if waited[-1] < 5:
            return
    pytest.fail(f"the first line came after {min(waited):.1f} s")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_its_step_and_says_how_to_go_on(command, tmp_path, number, code) -> None:
    process = command()
    process.stdout.readline()
    assert "read: 60 particles of 16 x 16 pixels of 3 Å on cpu" in process.stdout.readline()
    for line in process.stdout:
        if "start 1 of 4" in line:  # the images are read, the run has begun
            break
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    first, last = error.splitlines()
    assert process.returncode == code
    assert first.startswith(f"resmfn: {number.name}: finishing this step")
    assert last.startswith(
        "resmfn: stopped after a complete step, everything is saved; continue with: resmfn reconstruct"
    )
    run = tmp_path / "run"
    assert (run / "checkpoint.pt").exists()
    assert not (run / "summary.json").exists()
    assert last.endswith(f"--config {run / 'config.yaml'} --out {run} --resume")


def test_a_second_signal_does_not_wait() -> None:
    with StopSignals() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert (stop(), stop.exit_code) == (True, 143)
        with pytest.raises(SystemExit, match="143"):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_settings_file_speaks_where_the_command_line_does_not(recorded, tmp_path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("particles: p.star\nout: old\nmask_diameter: 70.5\nseed: 5\nmask: null\noverwrite: true\n")
    assert main(["reconstruct", "--config", str(file), "--out", "new", "--seed", "6"]) == 0
    wanted = ReconstructionConfig(particles=Path("p.star"), out=Path("new"), mask_diameter=70.5, seed=6)
    assert recorded == [wanted]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("foo: 1", "there is no setting 'foo'"),
        ("1: 2", "there is no setting '1'"),
        ("just words", "not a settings file"),
        (None, "No such"),
        ("a: &a [x]\nb: &b [*a, *a]", "settings have no aliases"),
        ("!!bool x", "cannot be read"),
        ("[" * 1000, "cannot be read"),
        ("seed: {a: 1}", "--seed must be a plain value"),
        ("seed: [[1]]", "--seed must be a plain value"),
    ],
)
def test_a_settings_file_that_is_none(recorded, tmp_path, capsys, text, says) -> None:
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["reconstruct", "--config", str(file), "--out", "new"]) == 2
    error = capsys.readouterr().err
    assert (error.count("\n"), says in error) == (1, True)


def test_halves_that_agree_nowhere_are_said_at_the_end() -> None:
    summary = {"resolution_half_0143": None, "structure_found": True, "resolved": False, "resolution_split": None,
               "verdict": "not resolved", "seconds": 1.0, "cpu_seconds": 1.0}  # fmt: skip
    result = SimpleNamespace(summary=summary, run="run")
    assert "half maps, FSC 0.143  none: they agree nowhere\n" in _closing_lines(result)
