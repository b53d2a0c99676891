"""The pairs of particle and reprojection: the same views, in the particles' contrast and place."""

import pytest
import torch

from reconstruction.conftest import SMALL_BOX, small_blobs
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import make_generator
from resmfn.physics import FourierSliceProjector, ImageFormation, Optics
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results.examples import DETAILS, N_EXAMPLES, draw_examples
from resmfn.reconstruction.run.records import PoseEstimates
from resmfn.rotations import random_rotations


def drawn(context, tmp_path, *, flip: bool = False, resolution: float = 9.0):
    """Return the examples of clear images with CTF and shifts, the map being the truth."""
    generator = make_generator(3)
    n = 60
    rotation = random_rotations(n, generator=generator)
    shift = 6.0 * torch.randn(n, 2, generator=generator)
    optics = Optics.uniform(n)
    volume = small_blobs().volume(SMALL_BOX)
    form = ImageFormation(FourierSliceProjector(SMALL_BOX), PIXEL_SIZE)
    images = form(volume, rotation, shift, optics)
    poses = Poses(rotation, shift)
    run = context(write_particle_files(tmp_path / "data", images, optics=optics, poses=poses))
    run.state.poses = PoseEstimates(best=Poses(rotation, -shift if flip else shift))
    return draw_examples(run, volume, resolution)


def agreement(examples) -> torch.Tensor:
    a, b = (torch.from_numpy(examples[name]).flatten(1) for name in ("particle", "reprojection"))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


def test_clear_particles_and_the_true_map_give_the_same_pictures(context, tmp_path) -> None:
    examples = drawn(context, tmp_path)
    assert examples["particle"].shape == examples["reprojection"].shape
    assert list(examples["row"]) == [round(59 * i / (N_EXAMPLES - 1)) for i in range(N_EXAMPLES)]
    assert float(agreement(examples).min()) > 0.97


def test_a_shift_of_the_wrong_sign_shows(context, tmp_path) -> None:
    assert float(agreement(drawn(context, tmp_path, flip=True)).median()) < 0.8


def test_what_is_shown_depends_on_the_resolution_and_the_particle(context, tmp_path) -> None:
    side = SMALL_BOX * PIXEL_SIZE
    assert drawn(context, tmp_path / "a", resolution=9.0)["resolution"] == 9.0
    assert drawn(context, tmp_path / "b", resolution=2.0)["resolution"] == pytest.approx(0.84 * side / DETAILS)
    nowhere = drawn(context, tmp_path / "c", resolution=float("inf"))
    assert nowhere["resolution"] == side / 3
    assert abs(nowhere["pixel_size"] * nowhere["particle"].shape[1] - side) < 1e-9
