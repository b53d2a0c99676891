"""Classes of few views: begun again from random poses where these are likelier, and left as they are where not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reconstruction.conftest import SMALL_BOX, build_context
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import make_generator
from resmfn.evaluation import correlation_after_alignment
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction.classes import new_starts
from resmfn.reconstruction.classes.new_starts import begin_again, few_views
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.phase_table import take_step
from resmfn.reconstruction.phases.coarse_maps import equations_at_poses
from resmfn.reconstruction.phases.rounds import RECHECK_ROUND
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results.class_warnings import _one_view, _same_maps
from resmfn.reconstruction.run.context import HALVES, RunContext, already_set
from resmfn.reconstruction.run.held_out import HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import Agreement, Band, ImageQualities, Maps, PoseEstimates, SoftRounds, Starts
from resmfn.reconstruction.run.state import RunState
from resmfn.rotations import exp_so3, random_rotations

N_EACH = 150
OF_FIRST = torch.arange(2 * N_EACH) < N_EACH
RADIUS = 8.0


def blobs_of(seed: int) -> GaussianBlobs:
    blobs = GaussianBlobs.random(30, radius=0.3 * SMALL_BOX, width=0.8, generator=make_generator(seed))
    return replace(blobs, amplitudes=blobs.amplitudes / float(blobs.project(torch.eye(3)[None], SMALL_BOX).std()))


def from_one_side(n: int, seed: int) -> Tensor:
    """Return rotations (n, 3, 3) whose views are within some 20 degrees of one."""
    generator = make_generator(seed)
    tilt = torch.cat((0.3 * torch.randn(n, 2, generator=generator), 6.3 * torch.rand(n, 1, generator=generator)), dim=1)
    return exp_so3(tilt * torch.tensor([1.0, 1.0, 0.0])) @ exp_so3(tilt * torch.tensor([0.0, 0.0, 1.0]))


def two_classes(
    folder: Path, second_seen: Tensor, second_believed: Tensor, *, half_is_noise: bool = False
) -> RunContext:
    """Return a run of two classes after their rounds: the first at its poses, the second where it is believed.

    Parameters
    ----------
    folder
        Where files go.
    second_seen, second_believed
        (N_EACH, 3, 3): rotations at which images of the second were made, and those that its map is made at.
    half_is_noise
        Whether images of the second show nothing in the second half.
    """
    generator = make_generator(8)
    first_seen = random_rotations(N_EACH, generator=generator)
    pairs = (blobs_of(21), first_seen), (blobs_of(77), second_seen)
    clean = torch.cat([blobs.project(rotation, SMALL_BOX) for blobs, rotation in pairs])
    half = torch.arange(2 * N_EACH) % 2 + 1
    if half_is_noise:
        clean[(half == 2) & ~OF_FIRST] = 0
    images = clean + torch.randn(clean.shape, generator=generator)
    run = build_context(write_particle_files(folder / "input", images, subset=half), folder, n_classes=2)
    rotation = torch.cat((first_seen, second_believed))
    control = HeldOutTests(structure=NoiseControl(100, 5.0, 0.1, 5.0, 0.1))
    for number, mine in enumerate((OF_FIRST, ~OF_FIRST)):
        of_class = RunState(
            phase="halves",
            step=RECHECK_ROUND + 3,
            poses=PoseEstimates(Poses(rotation, torch.zeros(2 * N_EACH, 2))),
            qualities=ImageQualities(good=mine.float()),
            band=Band(RADIUS, split=3.0),
            agreement=Agreement().after(torch.full((int(RADIUS) + 1,), 0.9), 8.0),
            tests=control,
        )
        run.state.classes.append(of_class)
        index = mine.nonzero()[:, 0]
        volume = resized(equations_at_poses(run.of_class(number, index), index, RADIUS).solve(), run.map_size)
        of_class.maps = Maps(references=dict.fromkeys((*HALVES, "joint"), volume))
    run.state.branching, run.state.phase = {"table": []}, "class states"
    return run


def members(run: RunContext) -> list[Tensor]:
    return [already_set(of_class.qualities.good).nonzero()[:, 0] for of_class in run.state.classes]


@pytest.fixture
def astray(tmp_path: Path) -> RunContext:
    """Return a run whose second class sees images from everywhere as from one side."""
    return two_classes(tmp_path, random_rotations(N_EACH, generator=make_generator(9)), from_one_side(N_EACH, 10))


def test_a_class_of_few_views_is_named_with_their_density(astray: RunContext) -> None:
    (found,) = few_views(astray, members(astray)).items()
    assert found[0] == 1
    assert 6.0 < found[1] < 12.0
    (said,) = _one_view(astray, members(astray))
    assert "class 2 lives on few views" in said


def test_views_that_all_classes_share_raise_no_question(astray: RunContext) -> None:
    for of_class in astray.state.classes:
        of_class.poses = PoseEstimates(Poses(from_one_side(2 * N_EACH, 10), torch.zeros(2 * N_EACH, 2)))
    assert few_views(astray, members(astray)) == {}


def test_a_class_that_went_astray_begins_again_from_random_poses(astray: RunContext) -> None:
    first, qualities = astray.state.classes[0], astray.state.classes[1].qualities
    take_step(astray)
    assert (astray.state.phase, astray.state.step) == ("class halves", 0)
    found = astray.state.classes[1]
    assert few_views(astray, members(astray)) == {}
    volume, truth = found.maps.references["joint"], blobs_of(77).volume(SMALL_BOX)
    assert correlation_after_alignment(resized(volume, SMALL_BOX), truth, PIXEL_SIZE) > 0.8
    assert (found.step, found.agreement.rounds_at_rest) == (0, 0)
    assert found.qualities is qualities  # its images are its own until the rounds ask again
    assert astray.state.classes[0] is first
    assert first.step == RECHECK_ROUND + 1  # compared with views from everywhere before


def test_a_class_is_asked_once_until_classes_are_divided(astray: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_starts, "LIKELIER", 1e9)
    before = astray.state.classes[1]
    assert not begin_again(astray)
    assert astray.state.classes[1] is before
    monkeypatch.setattr(new_starts, "LIKELIER", -1e9)
    assert not begin_again(astray)
    astray.state.branching["views asked"] = False
    assert begin_again(astray)


def test_a_class_that_is_seen_from_few_sides_stays(tmp_path: Path) -> None:
    seen = from_one_side(N_EACH, 10)
    run = two_classes(tmp_path, seen, seen)
    before = run.state.classes[1]
    assert list(few_views(run, members(run))) == [1]
    assert not begin_again(run)
    assert run.state.classes[1] is before


def test_classes_searched_in_other_bands_are_found_to_look_alike(astray: RunContext) -> None:
    volume = blobs_of(21).volume(SMALL_BOX)
    for of_class, size in zip(astray.state.classes, (SMALL_BOX, 16), strict=True):
        of_class.starts = Starts(best=resized(volume, size), radius=6.0)
    astray.state.band = Band(6.0, split=6.0)
    (said,) = _same_maps(astray)
    assert "classes 1 and 2 look alike at 10 Å" in said


def test_a_start_that_images_of_the_other_half_do_not_prefer_is_not_taken(tmp_path: Path) -> None:
    seen, believed = random_rotations(N_EACH, generator=make_generator(9)), from_one_side(N_EACH, 10)
    run = two_classes(tmp_path, seen, believed, half_is_noise=True)
    before = run.state.classes[1]
    assert not begin_again(run)
    assert run.state.classes[1] is before


@pytest.mark.parametrize("why", ["soft", "few"])
def test_classes_that_cannot_tell_are_not_asked(astray: RunContext, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(new_starts, "LIKELIER", -1e9)
    if why == "soft":
        astray.state.classes[1].soft = SoftRounds(True)
    else:
        monkeypatch.setattr(new_starts, "LEAST_PARTICLES", N_EACH)
    assert not begin_again(astray)
