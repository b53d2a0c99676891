"""Memory that runs out: the same results from smaller chunks, nothing added twice, and a line that says so."""

import errno
from collections.abc import Callable

import numpy as np
import pytest
import torch

from reconstruction.scenes import make_scene, write_particle_files
from resmfn.core import InputError, make_generator
from resmfn.core.chunked_work import ChunkedWork, refusing_when_out_of_memory
from resmfn.core.progress import ProgressEvent
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.maps import slice_sums
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.phases import halves
from resmfn.reconstruction.poses import grid_posterior, pose_refinement
from resmfn.reconstruction.poses.grid_posterior import PoseGrid
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, insert_images
from resmfn.rotations import random_rotations, super_fibonacci

N = 30
ROUNDING = {"rtol": 1e-4, "atol": 1e-4}


def fail_above(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, limit: int, size: Callable[..., int]) -> None:
    """Let a function run out of memory where it is called with more than so many images."""
    original = getattr(owner, name)

    def limited(*arguments: object, **keywords: object) -> object:
        if size(*arguments) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, limited)


# --- the loop itself ---------------------------------------------------------------------------------


def work_that_fits(limit: int) -> Callable[[torch.Tensor], list[int]]:
    def work(rows: torch.Tensor) -> list[int]:
        if len(rows) > limit:
            raise torch.OutOfMemoryError("too many")
        return rows.tolist()

    return work


def allocate(n_bytes: int) -> None:
    """Ask PyTorch's allocator for more than any computer has."""
    torch.empty(n_bytes, dtype=torch.uint8)


OUT_OF_MEMORY = [
    lambda: allocate(2**50),
    lambda: np.empty(2**50, dtype=np.uint8),
    lambda: raising(MemoryError()),
    lambda: raising(OSError(errno.ENOMEM, "Cannot allocate memory")),
    lambda: raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
]


def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("ask", OUT_OF_MEMORY)
def test_memory_that_runs_out_anywhere_halves_the_chunks(ask) -> None:
    def work(rows: torch.Tensor) -> int:
        if len(rows) > 3:
            ask()
        return len(rows)

    assert sum(found for _, found in ChunkedWork()("sums", torch.arange(23), 10, work)) == 23


@pytest.mark.parametrize("ask", OUT_OF_MEMORY)
def test_memory_that_runs_out_where_nothing_can_be_cut_is_one_line(ask) -> None:
    with (
        pytest.raises(InputError, match=r"^out of memory \(.+\): free the memory") as refused,
        refusing_when_out_of_memory(),
    ):
        ask()
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="even with one image at a time"):
        list(ChunkedWork()("sums", torch.arange(2), 2, lambda _: ask()))


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "No space left"), KeyError("x")]
)
def test_other_errors_are_not_taken_for_it(error) -> None:
    with pytest.raises(type(error)), refusing_when_out_of_memory():
        raise error
    with pytest.raises(type(error)):
        list(ChunkedWork()("sums", torch.arange(2), 2, lambda _: raising(error)))


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_every_row_is_done_once_and_in_order_whatever_fits(limit) -> None:
    told: list[str] = []
    in_chunks = ChunkedWork()
    in_chunks.listener = told.append
    found = list(in_chunks("sums", torch.arange(23), 10, work_that_fits(limit)))
    assert sum((part for _, part in found), []) == list(range(23))  # noqa: RUF017 - a few
    assert all(rows.tolist() == part for rows, part in found)
    assert len(told) == {1: 3, 3: 2, 7: 1, 100: 0}[limit]


def test_what_was_learned_holds_for_this_kind_of_work_and_no_other() -> None:
    in_chunks = ChunkedWork()
    list(in_chunks("sums", torch.arange(8), 8, work_that_fits(3)))
    assert [len(rows) for rows, _ in in_chunks("sums", torch.arange(8), 8, work_that_fits(3))] == [2, 2, 2, 2]
    assert [len(rows) for rows, _ in in_chunks("others", torch.arange(8), 8, work_that_fits(8))] == [8]


def test_a_last_chunk_that_does_not_fit_becomes_smaller_too() -> None:
    assert [len(rows) for rows, _ in ChunkedWork()("sums", torch.arange(5), 64, work_that_fits(4))] == [2, 2, 1]


def test_one_image_that_does_not_fit_ends_with_what_to_do() -> None:
    with pytest.raises(InputError, match="even with one image at a time: free the memory .* --resume") as error:
        list(ChunkedWork()("sums", torch.arange(8), 8, work_that_fits(0)))
    assert "\n" not in str(error.value)


def test_other_errors_pass() -> None:
    def broken(_: torch.Tensor) -> None:
        raise RuntimeError("not about memory")

    with pytest.raises(RuntimeError, match="not about memory"):
        list(ChunkedWork()("sums", torch.arange(8), 8, broken))


# --- the three loops that take the memory ------------------------------------------------------------


@pytest.fixture
def scene():
    return make_scene(N, noise=0.5, shift=1.0)


def told_by(observations) -> list[str]:
    told: list[str] = []
    observations.chunked_work.listener = told.append
    return told


@pytest.mark.parametrize("name", ["_shifted", "soften"])  # at the beginning of a chunk, and late in it
def test_scores_are_the_same_in_smaller_chunks(scene, monkeypatch, name) -> None:
    grid = MapGrid(scene.box_size, scene.box_size)
    rotations = super_fibonacci(40)
    pixels = scene.observations.pixels[: scene.observations.n_pixels(6.0)]
    slices = grid.slices(grid.transform(scene.volume), rotations, pixels)
    poses = PoseGrid(rotations, torch.tensor([[0.0, 0.0], [3.0, 0.0]]))

    def score():
        center = torch.zeros(N, 2)
        return grid_posterior.grid_posterior(scene.observations, scene.index, slices, poses, center, n_top=3)

    expected, told = score(), told_by(scene.observations)
    n_images = (lambda _, values, __: len(values)) if name == "_shifted" else (lambda flat, *_: len(flat))
    fail_above(monkeypatch, grid_posterior, name, 8, n_images)
    found = score()
    for field in ("values", "weights", "log_evidence", "shift", "max_probability", "top_shift", "entropy"):
        torch.testing.assert_close(getattr(found, field), getattr(expected, field), **ROUNDING)
    assert told[0].startswith("out of memory in scoring images with 30 images at a time")


def test_poses_are_the_same_in_smaller_chunks(scene, monkeypatch) -> None:
    grid = MapGrid(scene.box_size, scene.box_size)
    model = PoseModel(grid, grid.transform(scene.volume), 8.0, moves_shift=True)
    weight = torch.linspace(0.5, 1, N)

    def refine():
        return refine_poses(scene.observations, scene.index, scene.poses, model, 2, weight)

    expected, told = refine(), told_by(scene.observations)
    fail_above(monkeypatch, pose_refinement._Climb, "residual_power", 8, lambda climb, _: len(climb.values))
    found = refine()
    torch.testing.assert_close(found.poses.rotation, expected.poses.rotation, **ROUNDING)
    torch.testing.assert_close(found.residual_power, expected.residual_power, **ROUNDING)
    torch.testing.assert_close(found.images.overlap, expected.images.overlap, **ROUNDING)
    assert len(told) > 0


@pytest.mark.parametrize("symmetry", ["C1", "C2"])
def test_images_are_inserted_once_in_smaller_chunks(scene, monkeypatch, symmetry) -> None:
    """What was inserted already of a chunk that fails then must not count."""
    grid = MapGrid(scene.box_size, scene.box_size, symmetry)
    posed = PosedImages(scene.index, Poses(random_rotations(N, generator=make_generator(3)), scene.shift))
    expected, told = insert_images(scene.observations, posed, grid, 8.0), told_by(scene.observations)
    insert = slice_sums.add_slices

    def insert_and_fail(*arguments: object) -> None:
        insert(*arguments)
        if len(arguments[1]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(slice_sums, "add_slices", insert_and_fail)
    found = insert_images(scene.observations, posed, grid, 8.0)
    torch.testing.assert_close(found.values, expected.values, **ROUNDING)
    torch.testing.assert_close(found.weights, expected.weights, **ROUNDING)
    assert told == [
        f"out of memory in inserting images with {n} images at a time: continuing with {n // 2}" for n in (30, 15)
    ]


# --- a whole run -------------------------------------------------------------------------------------


@pytest.fixture
def run_settings(tmp_path):
    box, n = 16, 60
    generator = make_generator(41)
    blobs = GaussianBlobs.random(20, radius=0.28 * box, width=0.8, generator=generator)
    rotation = random_rotations(n, generator=generator)
    images = blobs.project(rotation, box)
    images = images / images.std() + 0.5 * torch.randn(images.shape, generator=generator)
    star = write_particle_files(tmp_path / "data", images, poses=Poses(rotation, torch.zeros(n, 2)))
    return {"particles": star, "poses": "from-input", "shift_range": 0.0, "hidden_dim": 16,
            "network_steps": 5, "device": "cpu"}  # fmt: skip


def test_a_run_that_meets_a_full_device_says_so_and_gives_the_same_map(run_settings, tmp_path, monkeypatch) -> None:
    """First where nothing can be cut smaller: a line, and the run can go on; then where it can."""
    monkeypatch.setattr(halves, "MOST_ROUNDS", 2)
    events: list[ProgressEvent] = []
    expected = reconstruct(ReconstructionConfig(**run_settings, out=tmp_path / "a")).summary
    with monkeypatch.context() as patch:
        fail_above(patch, slice_sums.MapEquations, "objective", 0, lambda *_: 1)
        with pytest.raises(InputError, match=r"out of memory \(CUDA out of memory.*--resume") as error:
            reconstruct(ReconstructionConfig(**run_settings, out=tmp_path / "b"))
    assert "\n" not in str(error.value)
    fail_above(monkeypatch, pose_refinement._Climb, "run", 10, lambda climb, *_: len(climb.values))
    found = reconstruct(ReconstructionConfig(**run_settings, out=tmp_path / "b", resume=True), events.append).summary
    told = [event.message for event in events if event.stage == "memory"]
    assert [message.split()[-1] for message in told] == ["30", "15", "7"]  # of all 60 images; never again
    log = (tmp_path / "b" / "run.log").read_text()
    assert all(message in log for message in told)
    assert "resume: from phase joint" in log
    assert found["resolution_half_0143"] == pytest.approx(expected["resolution_half_0143"], rel=0.02)
    assert found["noise_control"] == expected["noise_control"]
