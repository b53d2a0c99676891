"""Phases on small data: networks take over what the search found, and nothing is found in noise."""

from pathlib import Path

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import make_generator
from resmfn.evaluation import align_poses
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.network_map import NetworkMap
from resmfn.reconstruction.reconstruct import STEPS


@pytest.mark.parametrize("hidden_dim", [24, 48])
def test_every_network_holds_most_of_the_common_map(context, monkeypatch, hidden_dim: int) -> None:
    reached: list[float] = []
    fit = NetworkMap.fit

    def watched(network: NetworkMap, *arguments: object, **options: object) -> float:
        reached.append(fit(network, *arguments, **options))
        return reached[-1]

    monkeypatch.setattr(NetworkMap, "fit", watched)
    run = context(n_starts=1, hidden_dim=hidden_dim)
    for phase in ("search", "focus"):
        assert run.state.phase == phase
        STEPS[phase](run)
    assert align_poses(run.state.rotation, run.particles.rotations).summary().median < 30  # the search did its part
    finest = reached[-1::-2]  # each network's last fit; 1 is the explicit solution, hardly more is possible
    assert min(finest) > 0.75
    assert max(finest) < 1.1


def test_pure_noise_ends_with_a_verdict(tmp_path: Path) -> None:
    box_size = 20
    images = torch.randn(60, box_size, box_size, generator=make_generator(5))
    path = write_particle_files(tmp_path / "noise", images)
    result = reconstruct(
        ReconstructionConfig(
            particles=path,
            out=tmp_path / "run",
            n_starts=1,
            hidden_dim=8,
            network_steps=5,
            shift_range=0.0,
            mask_diameter=0.84 * box_size * PIXEL_SIZE,
        )
    )
    assert str(result.summary["verdict"]).startswith("not resolved")
    assert (tmp_path / "run" / "map.mrc").exists()
