"""Several processes at one run: the same result as one, one voice, and a clear end when one is lost."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core import team_run
from reconstruction.scenes import PIXEL_SIZE, stored_images, write_particle_files
from reconstruction.test_resume import ENVIRONMENT
from resmfn.cli.reconstruct import EXIT_NOT_RESOLVED
from resmfn.core import make_generator
from resmfn.core.processes import Team
from resmfn.data import read_particles
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction.images.observations import Observations
from resmfn.rotations import geodesic_degrees, random_rotations

BOX, N = 16, 61


def run_team(what: str, size: int, **arguments: object) -> tuple[list[int], str, str]:
    """Return how each process ended, and what they printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = subprocess.run(
        [sys.executable, team_run.__file__, what, str(size), str(port), json.dumps(arguments)],
        capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=300,
    )  # fmt: skip
    *output, ended = result.stdout.splitlines()
    assert ended.startswith("ended "), result.stdout + result.stderr
    return [int(code) for code in ended.split()[1:]], "\n".join(output), result.stderr


# --- who holds what ----------------------------------------------------------------------------------


@given(n=st.integers(0, 1000), size=st.integers(1, 17))
def test_every_image_is_held_by_one_process_and_no_process_holds_many_more(n, size) -> None:
    shares = [Team(rank, size).share_of(n) for rank in range(size)]
    assert [image for share in shares for image in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def observations_of(values: torch.Tensor, team: Team) -> Observations:
    """Return what a process of a team holds of images (n, P) without CTF."""
    n, n_pixels = values.shape
    pixels = torch.tensor([[1, 0], [0, 1]])[:n_pixels]
    block = team.share_of(n)
    mine = values[block.start : block.stop]
    return Observations(
        mine, torch.ones_like(mine), pixels, box_size=8, pixel_size=1.0, noise_level=torch.ones(n), team=team
    )


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_index_is_cut_into_the_images_that_each_process_holds(size, ordered) -> None:
    index = torch.randperm(11, generator=make_generator(1))[:9]
    order = torch.randperm(9, generator=make_generator(2)) if ordered else None
    positions = order.tolist() if order is not None else range(9)
    values = torch.arange(22.0).view(11, 2)
    seen = []
    for rank in range(size):
        mine = observations_of(values, Team(rank, size))
        assert len(mine) == 11
        chunks = [rows for rows, _ in mine.in_chunks("nothing", index, 2, torch.numel, order=order)]
        assert all(1 <= len(rows) <= 2 for rows in chunks)
        for rows in chunks:
            torch.testing.assert_close(mine.batch(index[rows], 2)[0], values[index[rows]])
        own = torch.cat(chunks).tolist()
        assert own == [row for row in positions if int(index[row]) in mine.team.share_of(11)]
        seen += own
    assert sorted(seen) == list(range(9))


def test_a_process_without_images_has_no_chunks() -> None:
    mine = observations_of(torch.zeros(1, 1), Team(0, 2))
    assert list(mine.in_chunks("nothing", torch.tensor([0]), 5, torch.numel)) == []


# --- how values travel -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4])
def test_sums_values_tasks_and_refusals_reach_everyone(size) -> None:
    ended, _, error = run_team("check", size)
    assert ended == [0] * size, error


# --- whole runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an odd number of clear images: processes cannot hold equally many."""
    generator = make_generator(51)
    blobs = GaussianBlobs.random(20, radius=0.28 * BOX, width=0.8, generator=generator)
    images = blobs.project(random_rotations(N, generator=generator), BOX)
    images = images / images.std() + 0.4 * torch.randn(images.shape, generator=generator)
    return write_particle_files(tmp_path_factory.mktemp("team") / "data", images).parent


def tokens(data: Path, out: Path, *more: str) -> list[str]:
    flags = {"n-starts": 1, "hidden-dim": 16, "network-steps": 40, "shift-range": 0, "device": "cpu"}
    flags["mask-diameter"] = 0.9 * BOX * PIXEL_SIZE
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return ["reconstruct", str(data / "particles.star"), "--out", str(out), *words, *more]


def assert_same_to_rounding(run: Path, other: Path) -> None:
    """Sums of floats in another order: maps and poses may differ by what an optimizer makes of the last digits."""
    for name in ("map.mrc", "half1.mrc"):
        first, second = (mrcfile.read(folder / name).ravel() for folder in (run, other))
        assert np.corrcoef(first, second)[0, 1] > 0.99, name
    poses = [read_particles(folder / "particles.star", with_images=False).require_poses()[0] for folder in (run, other)]
    assert float(geodesic_degrees(*poses).median()) < 3.0  # so few images of 16 pixels fix them to 5 degrees


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.long)])
def test_several_processes_find_what_one_finds_and_speak_with_one_voice(data, tmp_path, size) -> None:
    assert run_team("command", 1, tokens=tokens(data, tmp_path / "one"))[0] == [EXIT_NOT_RESOLVED]
    ended, output, error = run_team("command", size, tokens=tokens(data, tmp_path / "many"))
    assert (ended, error) == ([EXIT_NOT_RESOLVED] * size, "")
    assert output.count("starting") == output.count("half maps, FSC 0.143") == 1
    assert f"{size} processes" in output
    assert json.loads((tmp_path / "many" / "summary.json").read_text())["processes"] == size
    assert_same_to_rounding(tmp_path / "many", tmp_path / "one")


def test_a_bad_image_in_the_last_share_is_one_line_from_one_process(data, tmp_path) -> None:
    write_particle_files(tmp_path / "data", torch.from_numpy(np.array(stored_images(data / "particles.mrcs"))))
    stack = stored_images(tmp_path / "data" / "particles.mrcs")
    stack[N - 1] = 0
    stack.flush()
    ended, _, error = run_team("command", 2, tokens=tokens(tmp_path / "data", tmp_path / "run"))
    assert ended == [2, 2]
    assert error.count("\n") == 1
    assert f"row {N}" in error
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken_ends_all_processes(data, tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("")
    ended, _, error = run_team("command", 2, tokens=tokens(data, tmp_path / "run"))
    assert (ended, error.count("\n")) == ([2, 2], 1)
    assert "is not a run folder" in error


def test_a_lost_process_ends_the_run_with_a_word_and_fewer_can_go_on(data, tmp_path) -> None:
    run = tmp_path / "run"
    ended, _, error = run_team("command", 2, tokens=tokens(data, run), victim=1)
    assert ended == [2, -9]
    assert error.count("\n") == 1
    assert "another process of this run was lost" in error
    assert "--resume" in error
    assert (run / "checkpoint.pt").exists()
    ended, _, error = run_team("command", 1, tokens=tokens(data, run, "--resume"))
    assert (ended, error) == ([EXIT_NOT_RESOLVED], "")
    assert "resume: from phase" in (run / "run.log").read_text()
    assert (run / "map.mrc").exists()
