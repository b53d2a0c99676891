"""What all phases share: halves, masks, poses, networks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reconstruction.conftest import build_context
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import InputError, machine, make_generator
from resmfn.data import write_map
from resmfn.fourier import resize_map, soft_sphere
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.network_map import FittedNetwork
from resmfn.reconstruction.phases import starts
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses
from resmfn.reconstruction.run import box_plan
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.context import HALVES, already_set
from resmfn.reconstruction.run.cost_model import memory_needed
from resmfn.reconstruction.run.memory_plan import within_memory
from resmfn.reconstruction.run.preflight import require_memory_to_grow
from resmfn.reconstruction.run.records import ImageQualities, Maps, PoseEstimates
from resmfn.reconstruction.run.state import RunState
from resmfn.rotations import random_rotations

BOX = 20


def white(n: int) -> torch.Tensor:
    return torch.randn(n, BOX, BOX, generator=make_generator(1))


# --- halves ------------------------------------------------------------------------------------------


def test_halves_are_those_of_the_file(context) -> None:
    first, second = context().half_index
    assert torch.equal(first, torch.arange(0, 160, 2))
    assert torch.equal(second, torch.arange(1, 160, 2))


def test_halves_that_the_file_does_not_name_are_drawn_once_by_seed(context, tmp_path) -> None:
    path = write_particle_files(tmp_path / "plain", white(61))
    first, second = context(path).half_index
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(61))
    assert abs(len(first) - len(second)) <= 1
    assert all(torch.equal(a, b) for a, b in zip(context(path).half_index, (first, second), strict=True))
    assert not torch.equal(context(path, seed=1).half_index[0], first)


def test_a_column_that_names_one_half_only_is_refused(context, tmp_path) -> None:
    path = write_particle_files(tmp_path / "ones", white(60), subset=torch.ones(60, dtype=torch.int64))
    with pytest.raises(InputError, match="must name two half sets, but every row is in half 1"):
        context(path)


# --- masks -------------------------------------------------------------------------------------------


def test_the_sphere_is_as_wide_as_it_was_asked_for(context) -> None:
    run = context(mask_diameter=30.0)
    assert run.space.mask_radius == pytest.approx(5.0)
    assert float(run.sphere[BOX // 2, BOX // 2, BOX // 2 + 5]) == 1
    assert float(run.sphere[BOX // 2, BOX // 2, BOX // 2 + 7]) == 0
    assert context(mask_diameter=None).space.mask_radius == pytest.approx(0.42 * BOX)


@pytest.mark.parametrize("diameter", [11.0, 61.0])
def test_a_sphere_of_no_use_is_refused(context, diameter) -> None:
    with pytest.raises(InputError, match=rf"--mask-diameter must lie .*, 12 to 60 Å, got {diameter:g}"):
        context(mask_diameter=diameter)


def test_a_mask_file_is_used_as_it_is_on_every_grid(context, tmp_path) -> None:
    mask = soft_sphere(BOX, 4.0, 3.0)
    write_map(tmp_path / "mask.mrc", mask, PIXEL_SIZE)
    run = context(mask=tmp_path / "mask.mrc")
    assert torch.equal(run.mask_on(run.full), mask)
    coarse = run.mask_on(MapGrid(BOX, 12))
    write_map(tmp_path / "silent.mrc", mask, 0.0)  # a header without voxel size: the box tells
    assert torch.equal(context(mask=tmp_path / "silent.mrc").user_mask, mask)
    torch.testing.assert_close(coarse, resize_map(mask, 12).clamp(0, 1))


@pytest.mark.parametrize(
    ("mask", "pixel_size", "message"),
    [
        (soft_sphere(24, 4.0, 3.0), PIXEL_SIZE, r"box of 20 pixels of 3 Å, got 24 of 3 Å; resample it"),
        (soft_sphere(BOX, 4.0, 3.0), 2.0, r"box of 20 pixels of 3 Å, got 20 of 2 Å"),
        (2 * soft_sphere(BOX, 4.0, 3.0), PIXEL_SIZE, r"must lie between 0 and 1, got 0 to 2"),
        (soft_sphere(BOX, 4.0, 3.0) - 0.5, PIXEL_SIZE, r"must lie between 0 and 1, got -0.5 to 0.5"),
        (torch.zeros(BOX, BOX, BOX), PIXEL_SIZE, r"must lie between 0 and 1, got 0 to 0"),
    ],
)
def test_a_mask_file_that_does_not_fit_is_refused(context, tmp_path, mask, pixel_size, message) -> None:
    write_map(tmp_path / "mask.mrc", mask, pixel_size)
    with pytest.raises(InputError, match=message):
        context(mask=tmp_path / "mask.mrc")


def test_the_mask_found_from_the_halves_lies_in_the_sphere(context) -> None:
    run = context()
    blob = soft_sphere(BOX, 3.0, 3.0)
    noise = [0.05 * torch.randn(BOX, BOX, BOX, generator=make_generator(seed)) for seed in (1, 2)]
    run.state.maps = Maps(references={name: blob + its for name, its in zip(HALVES, noise, strict=True)})
    mask = run.mask_on(run.full)
    assert bool((mask[run.sphere == 0] == 0).all())
    assert float(mask[BOX // 2, BOX // 2, BOX // 2]) == 1
    assert float(mask.mean()) < 0.8 * float(run.sphere.mean())


# --- poses and networks ------------------------------------------------------------------------------


def test_poses_of_branches_come_back_to_their_images(context) -> None:
    run = context()
    rotation = random_rotations(160, generator=make_generator(3))
    run.state.poses = PoseEstimates(best=Poses(torch.eye(3).repeat(160, 1, 1), torch.zeros(160, 2)))
    before = run.poses().rotation
    halves = [run.half(name) for name in HALVES]
    for half in halves:
        half.poses = Poses(rotation[half.index], half.index[:, None].float().expand(-1, 2))
    run.keep_poses(halves)
    assert torch.equal(run.poses().rotation, rotation)
    assert torch.equal(run.poses().shift[:, 0], torch.arange(160.0))
    assert torch.equal(before, torch.eye(3).repeat(160, 1, 1))  # a saved state does not change under the hand
    run.keep_poses([PosedImages(torch.tensor([5]), Poses(torch.eye(3)[None], torch.zeros(1, 2)))])
    assert torch.equal(run.poses().rotation[5], torch.eye(3))
    assert torch.equal(run.poses().rotation[6], rotation[6])


def test_each_name_has_a_network_of_its_own_that_its_seed_draws(context) -> None:
    run, grid = context(), MapGrid(BOX, 9)
    with torch.no_grad():
        maps = {name: run.network(name).decode(grid) for name in (*HALVES, "joint")}
        again = context().network("half1").decode(grid)
        other = context(seed=1).network("half1").decode(grid)
    assert torch.equal(again, maps["half1"])
    assert not torch.equal(other, maps["half1"])
    assert not torch.equal(maps["half1"], maps["half2"])
    assert not torch.equal(maps["half1"], maps["joint"])


def test_a_kept_network_is_the_one_that_is_taken_up_and_its_masked_map_the_reference(context) -> None:
    run, grid = context(), MapGrid(BOX, 12)
    mask = soft_sphere(12, 3.0, 2.0)
    network = run.network("half1")
    fitted = FittedNetwork.of(network, grid, BOX, network.n_scales, mask, 0.9)
    assert run.fit_networks({"half1": lambda _: fitted}) == [0.9]
    with torch.no_grad():
        own = network.decode(grid)
        torch.testing.assert_close(run.network("half1").decode(grid), own)
        torch.testing.assert_close(run.state.maps.references["half1"], resize_map(own * mask, BOX))


def test_a_resumed_run_whitens_as_the_state_says(context) -> None:
    power = torch.linspace(0.5, 2.0, BOX // 2 + 1)[None]
    state = RunState(qualities=ImageQualities(noise_power=power))
    torch.testing.assert_close(context(state=state).observations.noise_power, power)


@pytest.mark.parametrize(
    ("settings", "poses", "shift"),
    [
        ({"shift_range": 5.0}, True, True),
        ({"shift_range": 0.0}, True, False),
        ({"poses": "fixed", "shift_range": 5.0}, False, False),
        ({"poses": "from-input", "shift_range": 5.0}, True, True),
    ],
)
def test_what_moves_follows_from_the_settings(context, settings, poses, shift) -> None:
    run = context(**settings)
    assert (run.moves_poses, run.moves_shift) == (poses, shift)


def test_a_box_grows_for_all_maps_of_all_classes_and_only_when_it_must(small_files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(box_plan, "SIZES", (16,))
    monkeypatch.setattr(box_plan, "WORTH", 1.0)
    boxes = BoxPlan(BOX, 9, 16, BOX)
    small = soft_sphere(16, 3.0, 2.0)
    classes = [RunState(maps=Maps(references={"half1": small * scale})) for scale in (1.0, 2.0)]
    run = build_context(small_files, tmp_path, RunState(map_size=16, classes=classes), boxes=boxes)
    assert (run.map_size, run.observations.radius_max, run.sphere.shape[0]) == (16, 6.0, 16)
    assert run.map_pixel_size == pytest.approx(BOX * PIXEL_SIZE / 16)
    run.hold(6.0)
    assert run.map_size == 16
    gain = torch.linspace(0.9, 1.1, len(run.index))
    run.observations.set_gain(gain)
    run.hold(6.5)
    assert (run.map_size, run.state.map_size, run.observations.radius_max, run.sphere.shape[0]) == (20, 20, 9.0, 20)
    assert torch.equal(run.observations.gain, gain)
    for of_class, scale in zip(run.state.classes, (1.0, 2.0), strict=True):
        torch.testing.assert_close(of_class.maps.references["half1"], resize_map(small, BOX) * scale)
    assert run.of_class(1).full.size == BOX


def test_a_box_that_memory_cannot_hold_is_refused_with_what_to_do_and_nothing_changed(
    small_files, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(box_plan, "SIZES", (16,))
    monkeypatch.setattr(box_plan, "WORTH", 1.0)
    run = build_context(small_files, tmp_path, RunState(map_size=16), boxes=BoxPlan(BOX, 9, 16, BOX))
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"160 images in a box of 20, .*, or stay in this box with .*--memory"):
        run.hold(9.0)
    assert (run.map_size, run.state.map_size, run.observations.radius_max) == (16, 16, 6.0)


def test_the_memory_that_is_advised_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is what a run that goes on in this box is not refused for."""
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    for n_processes in (1, 3):
        with pytest.raises(InputError) as refused:
            require_memory_to_grow(50_000, (96, 144), (46.0, 70.0), memory_needed(50_000, 96, n_processes))
        advised = float(str(refused.value).rpartition("--memory ")[2])
        needed = memory_needed(50_000, 96, n_processes) / 2**30
        assert needed <= advised < needed + 0.11


@pytest.mark.parametrize("n_classes", [1, 4])
def test_a_run_that_stays_in_its_box_may_have_the_memory_that_is_advised(
    small_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_classes: int
) -> None:
    monkeypatch.setattr(box_plan, "SIZES", (16,))
    monkeypatch.setattr(box_plan, "WORTH", 1.0)
    boxes = BoxPlan(BOX, 9, 16, BOX)
    run = build_context(small_files, tmp_path, RunState(map_size=16), boxes=boxes, n_classes=n_classes)
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    with pytest.raises(InputError) as refused:
        run.hold(9.0)
    limited = replace(run.config, memory=float(str(refused.value).rpartition("--memory ")[2]))
    box = WorkingBox.of(limited, run.particles)
    assert within_memory(limited, boxes, box, len(run.particles), 1)[0].largest >= 16


def test_the_cost_is_known_in_a_box_that_the_plan_no_longer_has(small_files: Path, tmp_path: Path) -> None:
    """A run that was limited by --memory goes on without."""
    run = build_context(small_files, tmp_path, RunState(map_size=18, phase="joint"), boxes=BoxPlan(BOX, 9, 16, BOX))
    assert run.cost.cpu_seconds > 0


def test_resolutions_are_in_angstroms(context) -> None:
    run = context()
    assert run.resolution(6.0) == pytest.approx(10.0)
    fsc = torch.tensor([1.0, 1.0, 1.0, 0.143 + 0.2, 0.143 - 0.2, 0.0])
    assert run.fsc_resolution(fsc) == pytest.approx(BOX * PIXEL_SIZE / 3.5, rel=1e-4)


def test_a_phase_that_comes_too_early_says_so() -> None:
    assert already_set(0.0) == 0.0
    with pytest.raises(RuntimeError, match="before the one that it depends on"):
        already_set(None)


# --- rows --------------------------------------------------------------------------------------------


def test_rows_of_one_image_are_in_one_half_and_are_searched_once(context, small_files, tmp_path, monkeypatch) -> None:
    """Every image listed three times: halves, search and control are of images, not of rows."""
    lines = small_files.read_text().splitlines(keepends=True)
    rows = [line for line in lines if "@" in line]
    listed = tmp_path / "thrice.star"
    listed.write_text("".join(lines[: lines.index(rows[0])]) + "".join(row for row in rows for _ in range(3)))
    (tmp_path / "particles.mrcs").write_bytes((small_files.parent / "particles.mrcs").read_bytes())
    n = len(rows)
    run = context(listed)
    assert len(run.index) == 3 * n
    first, second = (set(run.image_of[half].tolist()) for half in run.half_index)
    assert not first & second
    assert len(first) == len(second) == n // 2
    monkeypatch.setattr(starts, "N_SEARCH", 40)
    searched = starts.search_index(run)
    assert len(searched) == len(run.image_of[searched].unique()) == 40
