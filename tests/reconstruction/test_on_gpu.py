"""The same reconstruction on a GPU, where there is one."""

import pytest

import resmfn


@pytest.mark.cuda
def test_reconstruction_on_a_gpu_finds_the_poses(tmp_path):
    data = tmp_path / "particles"
    resmfn.simulate(
        resmfn.SimulationConfig(source="4ake", out=data, n_projections=600, box_size=32, pixel_size=3.0, snr=0.5)
    )
    resmfn.reconstruct(
        resmfn.ReconstructionConfig(
            particles=data / "particles.star", out=tmp_path / "run", n_starts=2, shift_range=0, device="cuda"
        )
    )
    scores = resmfn.evaluate(tmp_path / "run", true_poses=data / "particles_true.star", figure=False)
    assert scores.poses.errors.median < 6
