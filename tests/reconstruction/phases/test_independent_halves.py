"""After the split nothing that one half becomes depends on the other's images, but noise spectrum, mask and FSC."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reconstruction.conftest import SMALL_BOX, build_context
from reconstruction.scenes import PIXEL_SIZE, stored_images, turned, write_particle_files
from resmfn.core import make_generator
from resmfn.data import read_particles, write_map, write_particles
from resmfn.fourier import soft_sphere
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases import halves, rounds
from resmfn.reconstruction.phases.halves import agreement_of_half_maps, halves_step, validate_step
from resmfn.reconstruction.phases.rounds import RECHECK_ROUND
from resmfn.reconstruction.poses.candidates import Candidates
from resmfn.reconstruction.poses.posed_images import Poses, insert_images
from resmfn.reconstruction.run.context import HALVES
from resmfn.reconstruction.run.records import Agreement, Band, PoseEstimates, SoftRounds
from resmfn.reconstruction.run.state import RunState
from resmfn.rotations import random_rotations

CPU = torch.device("cpu")


def clone(state: RunState) -> RunState:
    return RunState.from_dict(copy.deepcopy(state.to_dict()), CPU)


@pytest.fixture(scope="module")
def spoiled_files(small_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same particle file with pure noise in place of the images of half 2."""
    folder = tmp_path_factory.mktemp("spoiled")
    (folder / "particles.mrcs").write_bytes((small_files.parent / "particles.mrcs").read_bytes())
    write_particles(folder / "particles.star", read_particles(small_files))
    images = stored_images(folder / "particles.mrcs")
    images[1::2] = torch.randn(80, SMALL_BOX, SMALL_BOX, generator=make_generator(7)).numpy()
    images.flush()
    return folder / "particles.star"


@pytest.fixture(scope="module")
def split_once(small_files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunState:
    """Return a state at the moment of the split: rough poses, and one common map."""
    folder = tmp_path_factory.mktemp("split")
    run = build_context(small_files, folder, poses="from-input", mask=user_mask(folder), hidden_dim=16)
    enter_first_phase(run)
    run.state.poses = turn_all(run.state.poses)
    run.state.phase = "focus"
    take_step(run)
    state = run.state
    best = run.poses()
    others = random_rotations(2 * len(best), generator=make_generator(4)).view(-1, 2, 3, 3)
    candidates = Candidates(torch.cat((best.rotation[:, None], others), dim=1), torch.zeros(len(best), 3, 2))
    state.poses = replace(state.poses, candidates=candidates)
    state.qualities = replace(state.qualities, noise_power=run.observations.noise_power)
    assert state.phase == "halves"
    return state


@pytest.fixture
def split(split_once: RunState) -> RunState:
    """Return a copy of that state, to be changed."""
    return clone(split_once)


def turn_all(poses: PoseEstimates) -> PoseEstimates:
    """Return poses whose rotations are off by 6 degrees."""
    return replace(poses, best=replace(poses.best, rotation=turned(poses.best.rotation, 6.0)))


def user_mask(folder: Path) -> Path:
    write_map(folder / "mask.mrc", soft_sphere(SMALL_BOX, 7.0, 1.5), PIXEL_SIZE)
    return folder / "mask.mrc"


def spoil_all_but_half_1(state: RunState) -> None:
    """Replace all that the second half and the joint network have found by something else."""
    generator = make_generator(8)

    def spoiled(values: torch.Tensor) -> torch.Tensor:
        changed, n = values.clone(), values[1::2].numel()
        if values.shape[-2:] == (3, 3):
            changed[1::2] = random_rotations(n // 9, generator=generator).view_as(changed[1::2])
        else:
            changed[1::2] = 0.01 * torch.randn(changed[1::2].shape, generator=generator)
        return changed

    best, candidates = state.poses.best, state.poses.candidates
    state.poses = replace(
        state.poses,
        best=Poses(spoiled(best.rotation), spoiled(best.shift)),
        candidates=Candidates(spoiled(candidates.rotation), spoiled(candidates.shift)),
    )
    size = state.maps.references["joint"].shape
    others = {name: torch.randn(size, generator=generator) for name in ("half2", "joint")}
    state.maps = state.maps.with_references(others)


def falling(state: RunState) -> Agreement:
    """Return halves that agree less in finer shells."""
    return Agreement(torch.linspace(1.0, 0.4, int(state.band.radius) + 1), (10.0,))


def half_1(state: RunState) -> list[torch.Tensor]:
    return [state.poses.best.rotation[::2], state.poses.best.shift[::2], state.maps.references["half1"]]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("step", [0, 1, RECHECK_ROUND])
def test_a_round_of_half_1_does_not_see_half_2(
    split, spoiled_files, context, tmp_path, monkeypatch, step: int, soft: bool
) -> None:
    """Same noise spectrum, mask and FSC; images, poses and maps of all but half 1 are others."""
    agreed = torch.linspace(1.0, 0.4, int(split.band.radius) + 3)
    monkeypatch.setattr(halves, "half_map_fsc", lambda *_, **__: agreed)  # each map's prior comes of both halves
    split.soft = SoftRounds(soft)
    monkeypatch.setattr(halves, "update_noise", lambda run, residual: None)  # the spectrum is shared, and would differ
    split.step = step
    split.agreement = falling(split)
    other = clone(split)
    spoil_all_but_half_1(other)
    mask = user_mask(tmp_path)
    for run in (context(state=split, mask=mask), context(spoiled_files, state=other, mask=mask)):
        halves_step(run)
    assert all(torch.equal(a, b) for a, b in zip(half_1(split), half_1(other), strict=True))
    assert not torch.equal(split.poses.best.rotation[1::2], other.poses.best.rotation[1::2])
    assert not torch.equal(split.maps.references["half2"], other.maps.references["half2"])


def test_poses_of_half_1_stand_even_though_the_noise_is_learnt_from_both(
    split, spoiled_files, context, tmp_path
) -> None:
    """The spectrum that both halves share is corrected after the poses of a round have moved."""
    split.step, split.agreement = RECHECK_ROUND, falling(split)
    other, before = clone(split), clone(split)
    mask = user_mask(tmp_path)
    for run in (context(state=split, mask=mask), context(spoiled_files, state=other, mask=mask)):
        halves_step(run)
    assert torch.equal(split.poses.best.rotation[::2], other.poses.best.rotation[::2])
    assert not torch.equal(split.poses.best.rotation[::2], before.poses.best.rotation[::2])
    assert not torch.equal(split.poses.best.rotation[1::2], other.poses.best.rotation[1::2])
    assert not torch.equal(split.qualities.noise_power, other.qualities.noise_power)


def test_the_last_maps_of_the_halves_leave_poses_and_the_map_of_all_alone(split, context, tmp_path) -> None:
    split.agreement = falling(split)
    split.phase = "validate"
    run = context(state=split, mask=user_mask(tmp_path), network_steps=3)
    before = clone(split)
    validate_step(run)
    assert torch.equal(split.poses.best.rotation, before.poses.best.rotation)
    assert torch.equal(split.maps.references["joint"], before.maps.references["joint"])
    assert not any(torch.equal(split.maps.references[name], before.maps.references[name]) for name in HALVES)


def test_the_last_maps_are_told_to_agree_as_the_verdict_will_say(split, context) -> None:
    """Rounds compare within the mask of the maps before; the verdict within that of the last maps."""
    split.agreement = falling(split)
    split.phase = "validate"
    run = context(state=split)
    needle = soft_sphere(SMALL_BOX, 2.0, 1.0)  # as if the maps before had been of another shape
    split.maps = split.maps.with_references(dict.fromkeys(HALVES, needle))
    validate_step(run)
    within_needle = run.fsc_resolution(split.agreement.fsc)
    assert split.agreement.resolutions == (10.0, agreement_of_half_maps(run, run.mask_on(run.full)).resolution)
    assert abs(within_needle - split.agreement.last_resolution) > 0.1


def test_joint_rounds_leave_the_halves_maps_alone(split, context, tmp_path) -> None:
    split.agreement = falling(split)
    split.phase, split.step = "joint", 1
    run = context(state=split, mask=user_mask(tmp_path), network_steps=3)
    before = clone(split)
    take_step(run)
    assert not torch.equal(split.poses.best.rotation, before.poses.best.rotation)
    assert not torch.equal(split.maps.references["joint"], before.maps.references["joint"])
    assert all(torch.equal(split.maps.references[name], before.maps.references[name]) for name in HALVES)
    assert torch.equal(split.agreement.fsc, before.agreement.fsc)


def test_halves_of_pure_noise_do_not_agree_beyond_the_split(context, tmp_path) -> None:
    """From one map of all images, poses refined against each half's own noise: no agreement may come of that."""
    n, box_size = 200, 26
    generator = make_generator(9)
    path = write_particle_files(
        tmp_path / "noise",
        torch.randn(n, box_size, box_size, generator=generator),
        poses=Poses(random_rotations(n, generator=generator), torch.zeros(n, 2)),
    )
    run = context(path, poses="from-input", mask_diameter=None, network_steps=30, hidden_dim=12)
    enter_first_phase(run)
    beyond = []
    while run.state.phase != "joint":
        take_step(run)
        if run.state.agreement.fsc is not None:
            beyond.append(run.state.agreement.fsc[int(run.state.band.split) + 2 :])
    assert run.state.band.split < run.observations.radius_max - 2  # there are shells to look at
    assert len(beyond) >= 3
    assert all(len(shells) <= 3 for shells in beyond)  # where halves do not agree, rounds go no further
    assert float(torch.cat([*beyond, torch.zeros(1)]).mean()) < 0.143


def fitted_to_noise(run) -> Poses:
    """Return poses of all images that were refined against one map of all images, to its finest shell."""
    state, radius = run.state, run.observations.radius_max
    state.band, state.agreement = Band(radius), Agreement(torch.full((int(radius) + 1,), 0.5))
    everyone, plan = run.posed(run.index), rounds.plan_round(run, radius, moves=True)
    for _ in range(6):
        sums = insert_images(run.observations, everyone, run.grid(radius), radius)
        mask = run.mask_on(sums.grid)
        equations = MapEquations(sums, mask, run.observations.team)
        volume = rounds.solve_map(run, equations, mask, plan, halves_in=2)
        state.maps = state.maps.with_references({"joint": volume})
        rounds.refine_against(run, everyone, "joint", plan)
    return everyone.poses


def test_what_poses_of_the_input_know_of_noise_is_forgotten_where_they_are_refined_and_stays_where_they_are_kept(
    tmp_path,
) -> None:
    """Poses of pure noise, fitted to one map: halves at these poses agree on that noise."""
    n, box_size = 300, 26
    generator = make_generator(9)
    images, rotation = torch.randn(n, box_size, box_size, generator=generator), random_rotations(n, generator=generator)
    path = write_particle_files(tmp_path / "first", images, poses=Poses(rotation, torch.zeros(n, 2)))
    run = build_context(path, tmp_path, poses="from-input", mask_diameter=None)
    enter_first_phase(run)
    run.state.phase = "focus"
    take_step(run)
    poses = fitted_to_noise(run)
    again = write_particle_files(tmp_path / "again", images, poses=poses)
    agreement = {}
    for kept in ("fixed", "from-input"):
        run = build_context(again, tmp_path / kept, poses=kept, mask_diameter=None)
        enter_first_phase(run)
        run.state.phase = "focus"
        take_step(run)
        take_step(run)
        agreement[kept] = float(run.state.agreement.fsc[int(run.state.band.split) + 1 :].mean())
    assert agreement["fixed"] > 0.2
    assert agreement["from-input"] < 0.08
