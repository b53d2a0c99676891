"""Whole commands on a pretended GPU: no tensor is left on the CPU, none is given to NumPy from the GPU."""

from pathlib import Path

import pytest

import resmfn
from devices.pretended_gpu import PEAK_BYTES, PretendedGpu
from resmfn.core import InputError
from resmfn.core.captured_step import EAGER_STEPS
from resmfn.fitting import ImageFitConfig, VolumeFitConfig, fit_image, fit_volume
from resmfn.reconstruction.published import PublishedConfig, reconstruct_published

BOX, N = 16, 60
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def simulated(out: Path, **changes: object) -> Path:
    """Make a tiny particle set, and return its folder."""
    settings = {"source": "4ake", "n_projections": N, "box_size": BOX, "pixel_size": 6.0, "snr": 2.0} | changes
    resmfn.simulate(resmfn.SimulationConfig(out=out, **settings))
    return out


@pytest.mark.parametrize(
    "settings",
    [
        {"shift_range": 0.0},
        pytest.param({"shift_range": 8.0, "symmetry": "C2"}, marks=pytest.mark.long),
    ],
    ids=["unknown poses", "shifts and symmetry"],
)
def test_reconstruct(tmp_path, settings):
    data = simulated(tmp_path / "data", shift_std=2.0 if "symmetry" in settings else 0.0)
    config = resmfn.ReconstructionConfig(
        particles=data / "particles.star", out=tmp_path / "run", n_starts=1, hidden_dim=8, device="cuda", **settings
    )
    with PretendedGpu():
        found = resmfn.reconstruct(config)
    assert found.summary["device"] == "cuda"
    assert found.summary["peak_gpu_memory"] == PEAK_BYTES


def test_a_run_takes_no_more_memory_than_it_may(tmp_path, monkeypatch):
    shares = []
    data = simulated(tmp_path / "data")
    settings = {"particles": data / "particles_true.star", "poses": "fixed", "hidden_dim": 8, "device": "cuda"}
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", shares.append)
    with PretendedGpu():
        resmfn.reconstruct(resmfn.ReconstructionConfig(**settings, out=tmp_path / "run", gpu_memory=8))
        assert shares == [0.1]  # of 80 GiB
        with pytest.raises(InputError, match="at most the GPU's 80.0 GiB, got 100"):
            resmfn.reconstruct(resmfn.ReconstructionConfig(**settings, out=tmp_path / "other", gpu_memory=100))
    assert not (tmp_path / "other").exists()


def test_a_run_goes_on_where_it_stopped(tmp_path):
    data = simulated(tmp_path / "data")
    settings = {"particles": data / "particles_true.star", "out": tmp_path / "run", "poses": "fixed", "hidden_dim": 8}
    settings["refine_defocus"] = True

    def interrupt(event):
        if event.stage == "halves":
            raise KeyboardInterrupt

    with PretendedGpu():
        with pytest.raises(KeyboardInterrupt):
            resmfn.reconstruct(resmfn.ReconstructionConfig(**settings, device="cuda"), interrupt)
        assert resmfn.reconstruct(resmfn.ReconstructionConfig(**settings, device="cuda", resume=True)).summary


def test_the_published_preset(tmp_path):
    folder = simulated(tmp_path / "data", layout="published") / f"N{N}_snr2_ctf"
    settings = {"epochs": 5, "stages": "1,3", "batch_size": 30, "bacon_hidden_dim": 8, "warm_up": 2, "pose_iter": 2}
    for variant in ("residual-mfn", "staged-fair"):
        config = PublishedConfig(folder=folder, out=tmp_path / variant, variant=variant, device="cuda", **settings)
        with PretendedGpu():
            assert reconstruct_published(config).summary["device"] == "cuda"


def test_fits(tmp_path):
    settings = {"hidden_dim": 8, "hidden_layers": 2, "epochs": EAGER_STEPS, "stages": (1,), "device": "cuda"}
    data = simulated(tmp_path / "data", box_size=24)
    with PretendedGpu():  # a step is captured after these; what a graph does needs a real GPU
        fit_image(ImageFitConfig(sources=("astronaut",), crop=32, out=tmp_path / "image", **settings))
        fit_volume(VolumeFitConfig(map=data / "volume.mrc", out=tmp_path / "volume", **settings))
