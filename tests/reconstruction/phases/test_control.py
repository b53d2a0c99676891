"""Noise is told from particles, whatever was made of it before; and starts are compared."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reconstruction.conftest import SMALL_BOX, small_blobs
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import make_generator
from resmfn.core.processes import Team
from resmfn.data import write_map
from resmfn.fourier import radius_grid, resize_map, shell_average, soft_sphere
from resmfn.fourier.transforms import fft2_centered, fftn_centered, ifft2_centered
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases import control
from resmfn.reconstruction.phases.control import random_map, start_agreement
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.run.context import already_set
from resmfn.reconstruction.run.held_out import NoiseControl
from resmfn.reconstruction.run.records import Starts
from resmfn.rotations import matrix_from_euler, random_rotations

N = 160


def white(seed: int) -> Tensor:
    return torch.randn(N, SMALL_BOX, SMALL_BOX, generator=make_generator(seed))


def pink(seed: int) -> Tensor:
    gain = 1 / (1 + radius_grid(SMALL_BOX, 2) / 2)
    return ifft2_centered(fft2_centered(white(seed)) * gain).real


def louder_in_the_middle(seed: int) -> Tensor:
    """Return noise whose level, measured in the corners, is a tenth too low where the particle would be."""
    return white(seed) * (1 + 0.1 * soft_sphere(SMALL_BOX, 0.3 * SMALL_BOX, 3.0, ndim=2))


def asked(run) -> NoiseControl:
    run.state.phase = "control"
    take_step(run)
    assert run.state.phase == "focus"
    return already_set(run.state.tests.structure)


@pytest.mark.parametrize("noise", [white, pink, louder_in_the_middle])
@pytest.mark.parametrize("seed", [1, 2])
def test_noise_of_any_color_is_no_structure(context, tmp_path: Path, noise: Callable[[int], Tensor], seed: int) -> None:
    found = asked(context(write_particle_files(tmp_path / "noise", noise(seed)), seed=seed))
    assert not found.is_structure
    assert found.n_images == N // 2


@pytest.mark.parametrize("seed", [1, 2])
def test_faint_particles_are_structure(context, tmp_path: Path, seed: int) -> None:
    generator = make_generator(seed)
    clean = small_blobs().project(random_rotations(N, generator=generator), SMALL_BOX)
    images = clean + clean.std() / 0.05**0.5 * torch.randn(clean.shape, generator=generator)
    found = asked(context(write_particle_files(tmp_path / "faint", images), seed=seed))
    assert found.is_structure


def test_the_poses_of_noise_that_was_aligned_to_a_face_make_no_structure(context, tmp_path: Path) -> None:
    """Aligned to one view of a molecule, images of noise average to it, in both halves alike; still it is noise."""
    images = white(4)
    views = random_rotations(200, generator=make_generator(5))
    reference = small_blobs().project(views, SMALL_BOX).flatten(1)
    best = views[(images.flatten(1) @ (reference / reference.norm(dim=1, keepdim=True)).T).argmax(dim=1)]
    poses = Poses(best, torch.zeros(N, 2))
    run = context(write_particle_files(tmp_path / "einstein", images, poses=poses), poses="fixed")
    enter_first_phase(run)
    made = torch.corrcoef(torch.stack([_joint(run).flatten(), small_blobs().volume(SMALL_BOX).flatten()]))[0, 1]
    assert float(made) > 0.5  # the trap is set: the average does look like the molecule
    assert not asked(run).is_structure


def test_a_reference_does_not_make_structure_of_noise(context, tmp_path: Path) -> None:
    write_map(tmp_path / "einstein.mrc", small_blobs().volume(SMALL_BOX), PIXEL_SIZE)
    path = write_particle_files(tmp_path / "noise", white(6))
    run = context(path, reference=tmp_path / "einstein.mrc", ini_high=9.0)
    enter_first_phase(run)
    assert not asked(run).is_structure


def test_shifts_that_are_given_may_be_larger_than_those_that_are_searched(
    context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "FRESH_STARTS", 0)
    generator = make_generator(5)
    rotation, sign = random_rotations(160, generator=generator), 2 * torch.randint(2, (160, 2), generator=generator) - 1
    clean = small_blobs().project(rotation, SMALL_BOX)
    moved = torch.stack(
        [torch.roll(image, (5 * int(y), 5 * int(x)), (0, 1)) for image, (x, y) in zip(clean, sign, strict=True)]
    )
    images = moved + torch.randn(moved.shape, generator=generator)
    path = write_particle_files(tmp_path / "moved", images, poses=Poses(rotation, 5 * PIXEL_SIZE * sign.float()))
    run = context(path, poses="fixed")
    enter_first_phase(run)
    assert asked(run).gain > 5


def test_a_bad_reference_does_not_make_noise_of_particles(context, small_files, tmp_path: Path, monkeypatch) -> None:
    far_off = torch.roll(small_blobs().volume(SMALL_BOX), (6, 6, 6), (0, 1, 2))
    write_map(tmp_path / "off.mrc", -far_off, PIXEL_SIZE)
    run = context(small_files, reference=tmp_path / "off.mrc", ini_high=9.0)
    enter_first_phase(run)
    assert asked(run).is_structure
    monkeypatch.setattr(control, "FRESH_STARTS", 0)
    run.state.phase = "control"
    assert not asked(run).is_structure  # it was the control's own start that found it


def test_images_that_the_search_left_out_are_asked_where_there_are_enough(context, monkeypatch) -> None:
    monkeypatch.setattr("resmfn.reconstruction.phases.starts.N_SEARCH", 60)
    monkeypatch.setattr(control, "LEAST_HELD_OUT", 50)
    monkeypatch.setattr(control, "FRESH_STARTS", 0)
    run = context()
    run.state.starts = Starts(best=resize_map(small_blobs().volume(SMALL_BOX) / 1.5, 14))
    found = asked(run)
    assert (found.n_images, found.is_structure) == (100, True)


def test_a_decoy_has_the_power_of_the_map_and_nothing_else_of_it() -> None:
    volume = small_blobs().volume(SMALL_BOX)
    mask = soft_sphere(SMALL_BOX, 8.0, 1.0)
    false = random_map(volume, mask, generator=make_generator(1))
    own, other = (shell_average(fftn_centered(v).abs().square(), SMALL_BOX) for v in (volume, false))
    torch.testing.assert_close(other, own, rtol=1e-3, atol=1e-6 * float(own.max()))
    # Few numbers decide the strong first shells, so that single decoys do correlate: their mean does not.
    found = [
        float(
            torch.corrcoef(torch.stack((random_map(volume, mask, generator=make_generator(s)), volume)).flatten(1))[
                0, 1
            ]
        )
        for s in range(40)
    ]
    assert abs(sum(found) / len(found)) < 0.25
    assert min(found) < 0 < max(found)


def test_starts_agree_in_any_orientation_and_hand_and_strangers_do_not() -> None:
    blobs = small_blobs()
    turned = replace(blobs, centers=blobs.centers @ matrix_from_euler(torch.tensor([[40.0, 70.0, -100.0]]))[0].T)
    stranger = GaussianBlobs.random(30, radius=0.3 * SMALL_BOX, width=0.8, generator=make_generator(8))
    maps = [b.volume(SMALL_BOX) for b in (turned, blobs, stranger)]
    flipped, *others = (resize_map(v, 14) for v in (maps[0].flip(0), *maps[1:]))
    flipped = torch.roll(flipped, 1, 0)  # about voxel N // 2
    starts = Starts(maps=(flipped, *others), log_likelihoods=(1.0, 2.0, 1.5))
    first, best, other = start_agreement(starts, SMALL_BOX * PIXEL_SIZE, Team())
    assert best == 1.0
    assert first > 0.95
    assert other < 0.8


def _joint(run) -> Tensor:
    return resize_map(control.coarse_map_of(run, run.index), SMALL_BOX)
