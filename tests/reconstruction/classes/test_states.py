"""States of one structure: what differs locally is told apart at the poses of all, in each half by itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import resmfn
from reconstruction.conftest import SMALL_BOX, build_context, small_blobs
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import InputError, StoppedError, make_generator
from resmfn.data import read_map, read_particles
from resmfn.evaluation import fourier_shell_correlation
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction import ReconstructionConfig, ReconstructionResult
from resmfn.reconstruction.classes import division
from resmfn.reconstruction.classes import state_step as phase
from resmfn.reconstruction.classes.membership import class_probabilities
from resmfn.reconstruction.classes.rounds import class_joint_step
from resmfn.reconstruction.classes.states import CONTRAST_VARIANCE, HalfStates, divided, of_any_contrast
from resmfn.reconstruction.maps.map_grid import resized
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases.halves import JOINT_ROUNDS
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results.class_warnings import _mixed
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.context import HALVES, RunContext
from resmfn.reconstruction.run.held_out import HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import ImageQualities, SoftRounds
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

N = 400
LOST = 6
"""Blobs of 30 that one state lacks."""
SECOND = torch.arange(N) % 5 >= 3
"""Two images of five show it."""


def state_files(folder: Path, lost: int, noise: float = 1.0, contrast: float = 0.0) -> Path:
    """Return images of a molecule, two of five without some of its blobs, at known poses; half sets mix both.

    Contrasts are uniform, as far from 1 as ``contrast`` says.
    """
    generator = make_generator(31)
    rotation = random_rotations(N, generator=generator)
    whole = small_blobs()
    part = replace(whole, centers=whole.centers[lost:], widths=whole.widths[lost:], amplitudes=whole.amplitudes[lost:])
    clean = torch.where(SECOND[:, None, None], part.project(rotation, SMALL_BOX), whole.project(rotation, SMALL_BOX))
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    if contrast:
        noisy += contrast * (2 * torch.rand(N, 1, 1, generator=generator) - 1) * clean
    half = torch.arange(N) // 5 % 2 + 1
    return write_particle_files(folder, noisy, poses=Poses(rotation, torch.zeros(N, 2)), subset=half)


@pytest.fixture(scope="module")
def two_states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return state_files(tmp_path_factory.mktemp("states"), LOST)


@pytest.fixture(scope="module")
def one_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return state_files(tmp_path_factory.mktemp("one"), 0)


TURN = exp_so3(torch.tensor([0.4, 1.9, -0.8]))
"""120 degrees about no axis of the box."""
OFF = torch.tensor([1.5, -1.0, 0.5])
"""Å, from the center."""


def turned_blobs() -> GaussianBlobs:
    """Return the molecule of the small runs, turned about an axis beside the center."""
    one = small_blobs()
    return replace(one, centers=one.centers @ TURN.T + OFF / PIXEL_SIZE)


def turned_files(folder: Path) -> tuple[Path, Poses]:
    """Return images of one structure, two of five of it turned while their poses are not; and the right poses."""
    generator = make_generator(37)
    rotation = random_rotations(N, generator=generator)
    one, other = (blobs.project(rotation, SMALL_BOX) for blobs in (small_blobs(), turned_blobs()))
    clean = torch.where(SECOND[:, None, None], other, one)
    noisy = clean + torch.randn(clean.shape, generator=generator)
    half = torch.arange(N) // 5 % 2 + 1
    path = write_particle_files(folder, noisy, poses=Poses(rotation, torch.zeros(N, 2)), subset=half)
    right = torch.where(SECOND[:, None, None], rotation @ TURN, rotation)
    return path, Poses(right, torch.where(SECOND[:, None], -(rotation @ OFF)[:, :2], torch.zeros(N, 2)))


def blend() -> Tensor:
    """Return the map that all these images make at the wrong poses: three parts of one to two of the other."""
    one, other = small_blobs(), turned_blobs()
    return 0.6 * one.volume(SMALL_BOX) + 0.4 * other.volume(SMALL_BOX)


def at_poses(particles: Path, folder: Path, radius: float = 7.0, **settings: object) -> RunContext:
    """Return a run whose halves have agreed, at the poses of the input."""
    run = build_context(particles, folder, poses="from-input", n_classes=2, local_states=True, **settings)
    enter_first_phase(run)
    blobs = small_blobs().volume(SMALL_BOX)
    run.state.maps = replace(run.state.maps, references=dict.fromkeys((*HALVES, "joint"), blobs))
    run.state.agreement = run.state.agreement.after(torch.full((int(radius) + 1,), 0.9), 8.0)
    run.state.band = replace(run.state.band, radius=radius, split=3.0)
    return run


def agreed(found: Tensor, expected: Tensor) -> float:
    """Return the share of images (n,) in the state that is expected, whichever of the two is called the first."""
    share = float((found == expected).float().mean())
    return max(share, 1 - share)


def divide(run: RunContext, name: str, n_states: int = 2) -> HalfStates:
    return divided(run, run.half(name), run.state.band.radius, n_states, generator=make_generator(3))


def test_images_come_apart_by_what_one_state_lacks(tmp_path: Path) -> None:
    run = at_poses(state_files(tmp_path / "noisy", LOST, noise=1.5), tmp_path)
    for name, index in zip(HALVES, run.half_index, strict=True):
        assert agreed(divide(run, name).probability.argmax(dim=1) == 1, SECOND[index]) > 0.83


def test_each_half_is_asked_of_the_other(two_states: Path, tmp_path: Path) -> None:
    run = at_poses(two_states, tmp_path)
    found = division.divide(run, 2, 5.0)
    asked = zip(found.halves, reversed(HALVES), strict=True)
    gains = [division.mixed(states.log_likelihoods(run, run.half(name))) for states, name in asked]
    assert found.comparison.gain == pytest.approx(float(torch.cat(gains).mean()), rel=1e-5)


def test_differences_cancel_and_probabilities_are_shared_out(two_states: Path, tmp_path: Path) -> None:
    run = at_poses(two_states, tmp_path)
    states = divide(run, "half1", 3)
    mean = torch.einsum("k,kxyz->xyz", states.share, states.differences)
    assert float(mean.norm()) < 1e-4 * float(states.differences.norm())
    assert float(states.share.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(states.probability.sum(dim=1), torch.ones(len(states.probability)))
    turned = states.in_order([2, 0, 1])
    posed = run.half("half2")
    there, here = turned.log_likelihoods(run, posed), states.log_likelihoods(run, posed)
    torch.testing.assert_close(there, here[:, [2, 0, 1]])
    assert turned.share.tolist() == states.share[[2, 0, 1]].tolist()
    torch.testing.assert_close(turned.probability, states.probability[:, [2, 0, 1]])


def test_states_do_not_differ_by_contrast(two_states: Path, tmp_path: Path) -> None:
    """Images at wrong poses fit a fainter map better: such a state is none, however well the halves agree on it."""
    states = divide(at_poses(two_states, tmp_path), "half1")
    along = torch.einsum("kxyz,xyz->k", states.differences, states.common)
    norms = states.differences.flatten(1).norm(dim=1) * states.common.norm()
    assert float((along / norms).abs().max()) < 1e-3


def test_images_of_other_contrast_are_no_state(tmp_path: Path) -> None:
    run = at_poses(state_files(tmp_path / "one", 0, contrast=0.5), tmp_path)
    assert division.divide(run, 2, run.state.band.radius).comparison.gain < division.LEAST_GAIN


def test_states_are_told_apart_whatever_the_contrast_of_images(tmp_path: Path) -> None:
    run = at_poses(state_files(tmp_path / "two", LOST, contrast=0.5), tmp_path)
    for name, index in zip(HALVES, run.half_index, strict=True):
        assert agreed(divide(run, name).probability.argmax(dim=1) == 1, SECOND[index]) > 0.95


def test_the_contrast_of_an_image_is_integrated_out() -> None:
    generator = make_generator(7)
    overlap = 5 * torch.randn(6, generator=generator, dtype=torch.float64)
    power = 10 * torch.rand(6, generator=generator, dtype=torch.float64)
    contrast = torch.linspace(-9, 11, 20001, dtype=torch.float64)
    prior = torch.distributions.Normal(1.0, CONTRAST_VARIANCE**0.5).log_prob(contrast)
    exponent = 2 * contrast * overlap[:, None] - contrast.square() * power[:, None] + prior
    torch.testing.assert_close(of_any_contrast(overlap, power), torch.trapezoid(exponent.exp(), contrast).log())


def test_a_state_without_a_difference_is_as_likely_as_the_common_map(two_states: Path, tmp_path: Path) -> None:
    run = at_poses(two_states, tmp_path)
    states = divide(run, "half1")
    same = replace(states, differences=torch.zeros_like(states.differences))
    found = same.log_likelihoods(run, run.half("half2"))
    torch.testing.assert_close(found, torch.zeros_like(found))


def test_both_halves_find_the_same_difference_under_the_same_number(two_states: Path, tmp_path: Path) -> None:
    run = at_poses(two_states, tmp_path)
    phase.state_step(run)
    first, second = run.state.classes
    assert len(run.state.classes) == 2
    for state in (first, second):
        one, other = (state.maps.references[name] - run.state.maps.references[name] for name in HALVES)
        assert float(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0)) > division.LEAST_AGREEMENT
    shown = torch.stack([state.qualities.good for state in (first, second)]).argmax(dim=0) == 1
    assert float((shown == SECOND).float().mean()) > 0.8  # the larger state is the first
    tried, last = run.state.branching["table"][-2:]
    assert tried["gain"] > 4 * tried["error"]
    assert (tried["classes"], last["classes"]) == (1, 2)
    assert last["log_likelihood"] == pytest.approx(tried["log_likelihood"] + tried["gain"])


def test_one_state_stays_one(one_state: Path, tmp_path: Path) -> None:
    run = at_poses(one_state, tmp_path)
    phase.state_step(run)
    (state,) = run.state.classes
    assert state.maps.references["half1"] is run.state.maps.references["half1"]
    assert bool((state.qualities.good == 1).all())
    assert [row["classes"] for row in run.state.branching["table"]] == [1] * len(phase.SHARES_OF_BAND)


def test_differences_that_the_halves_do_not_share_are_not_believed(two_states: Path, tmp_path: Path) -> None:
    run = at_poses(two_states, tmp_path)
    found = division.divide(run, 2, 5.0)
    assert found.is_believed
    assert not replace(found, agreement=0.1).is_believed
    assert not replace(found, comparison=replace(found.comparison, gain=0.09, error=0.0)).is_believed
    assert not replace(found, comparison=replace(found.comparison, error=found.comparison.gain)).is_believed


def test_a_state_that_is_there_twice_is_not_needed(two_states: Path, tmp_path: Path) -> None:
    found = division.divide(at_poses(two_states, tmp_path), 2, 5.0)
    assert found.are_needed
    without = replace(found.needs[1], gain=0.01, error=0.0)
    assert not replace(found, needs=(found.needs[0], without)).is_believed
    generator = make_generator(1)
    likelihoods = torch.randn(50, 2, generator=generator) * 4
    twice = torch.cat((likelihoods, likelihoods[:, :1]), dim=1)
    torch.testing.assert_close(division.mixed(twice), division.mixed(likelihoods), atol=1e-3, rtol=0)
    assert float((division.mixed(twice) - division.mixed(likelihoods[:, 1:])).mean()) > 0.5


# --- classes that hold two structures --------------------------------------------------------------


def one_class(particles: Path, folder: Path, n_classes: int) -> RunContext:
    """Return a run whose only class has had its rounds."""
    run = at_poses(particles, folder)
    run.config = replace(run.config, n_classes=n_classes, local_states=False, poses="unknown")
    control = NoiseControl(100, 5.0, 0.1, 5.0, 0.1)
    good = ImageQualities(good=torch.ones(N))
    run.state.classes = [replace(run.state, phase="halves", tests=HeldOutTests(structure=control), qualities=good)]
    run.state.branching, run.state.phase = {"table": []}, "class states"
    return run


def test_a_class_that_holds_two_structures_is_divided_and_goes_back_to_the_rounds(
    two_states: Path, tmp_path: Path
) -> None:
    run = one_class(two_states, tmp_path, 3)
    take_step(run)
    assert (run.state.phase, len(run.state.classes)) == ("class halves", 2)
    assert not run.state.branching["views asked"]  # of both it is asked whether they went astray
    shown = class_probabilities(run).argmax(dim=0) == 1
    assert float((shown == SECOND).float().mean()) > 0.8  # the larger class is the first
    torch.testing.assert_close(class_probabilities(run).sum(dim=0), torch.ones(N))
    run.state.phase = "class states"
    take_step(run)
    assert (run.state.phase, len(run.state.classes)) == ("class validate", 2)
    assert run.state.branching["mixed"] == []


@pytest.fixture(scope="module")
def turned_half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Poses]:
    return turned_files(tmp_path_factory.mktemp("turned"))


def are_turned(run: RunContext, before: Tensor, right: Poses) -> None:
    """See all images at one pose, which is that of the larger part."""
    found = run.state.poses.best
    assert found is not None
    assert float((geodesic_degrees(found.rotation, right.rotation) < 5).float().mean()) > 0.95
    assert float((found.shift - right.shift).norm(dim=1).median()) < 0.3
    truth = small_blobs().volume(SMALL_BOX)
    for name in HALVES:  # nearer the map of the larger part, in the coarse band in which images were divided
        assert float((run.state.maps.references[name] - truth).norm()) < 0.97 * float((before - truth).norm())


def test_images_at_another_side_of_one_structure_are_turned_and_its_class_is_not_divided(
    turned_half: tuple[Path, Poses], tmp_path: Path
) -> None:
    particles, right = turned_half
    run = one_class(particles, tmp_path, 3)
    (of_class,) = run.state.classes
    both = blend()
    of_class.maps = of_class.maps.with_references(dict.fromkeys(HALVES, both))
    take_step(run)
    assert (run.state.phase, run.state.step, len(run.state.classes)) == ("class halves", phase.RECHECK_ROUND + 1, 1)
    are_turned(run.of_class(0), both, right)
    take_step(run)  # a round at these poses
    run.state.phase = "class states"
    take_step(run)
    assert run.state.phase == "class validate"
    assert (len(run.state.classes), run.state.branching["mixed"]) == (1, [])


def test_images_are_turned_once(turned_half: tuple[Path, Poses], tmp_path: Path) -> None:
    run = one_class(turned_half[0], tmp_path, 3)
    run.state.branching["turns asked"] = True
    take_step(run)
    assert len(run.state.classes) == 2
    assert not run.state.branching["turns asked"]  # of both it is asked again


def test_one_structure_at_two_poses_is_no_two_states(turned_half: tuple[Path, Poses], tmp_path: Path) -> None:
    particles, right = turned_half
    run = at_poses(particles, tmp_path)
    both = blend()
    run.state.maps = run.state.maps.with_references(dict.fromkeys(HALVES, both))
    run.state.phase = "states"
    take_step(run)
    assert (run.state.phase, run.state.step, run.state.classes) == ("halves", phase.RECHECK_ROUND + 1, [])
    are_turned(run, both, right)
    take_step(run)
    run.state.phase = "states"
    take_step(run)
    assert (run.state.phase, len(run.state.classes)) == ("class halves", 1)


def test_two_structures_are_not_turned(two_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = at_poses(two_states, tmp_path)
    found = division.divide(run, 2, 5.0)
    assert division.turned(run, found) is None
    # Nor where a turn is as good: a symmetric molecule's states are most alike at any of its copies.
    monkeypatch.setattr(division, "TURNED", 0.0)
    assert division.turned(run, found) is None


def test_a_class_of_one_structure_goes_on_as_it_is(one_state: Path, tmp_path: Path) -> None:
    run = one_class(one_state, tmp_path, 3)
    (before,) = run.state.classes
    take_step(run)
    assert run.state.phase == "class validate"
    assert run.state.classes == [before]
    assert run.state.branching["mixed"] == []
    assert [row["maps"] for row in run.state.branching["table"]] == [2]


@pytest.mark.parametrize(("agreement", "bands"), [(0.9, 2), (0.5, 1)])
def test_a_finer_band_is_asked_where_halves_agree_and_images_gain_too_little(
    two_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agreement: float, bands: int
) -> None:
    run = one_class(two_states, tmp_path, 3)
    found = division.divide(at_poses(two_states, tmp_path / "known"), 2, 5.0)
    too_little = replace(found.comparison, gain=0.9 * division.LEAST_GAIN, error=0.01)
    asked = list[float]()

    def divide(_run: RunContext, _n_states: int, radius: float) -> division.Division:
        asked.append(radius)
        return replace(found, comparison=too_little, agreement=agreement)

    monkeypatch.setattr(phase, "divide", divide)
    take_step(run)
    assert len(asked) == bands
    assert len(run.state.classes) == 1


def test_a_class_is_not_named_for_what_has_no_detail(
    two_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Junk among the images differs in coarse shells alone, where both halves find it."""
    run = one_class(two_states, tmp_path, 3)
    found = replace(division.divide(at_poses(two_states, tmp_path / "known"), 2, 5.0), agreement=0.8)
    finer = replace(found, comparison=replace(found.comparison, gain=0.0), agreement=0.2)
    answers = iter((found, finer))
    monkeypatch.setattr(phase, "divide", lambda *_asked: next(answers))
    take_step(run)
    assert (run.state.phase, run.state.branching["mixed"]) == ("class validate", [])


def test_a_class_that_may_not_be_divided_is_named(two_states: Path, tmp_path: Path) -> None:
    run = one_class(two_states, tmp_path, 1)
    take_step(run)
    assert (run.state.phase, len(run.state.classes)) == ("class validate", 1)
    assert run.state.branching["mixed"] == [0]
    (said,) = _mixed(run)
    assert "class 1 may hold more than one structure" in said


@pytest.mark.parametrize("why", ["noise", "soft", "few"])
def test_classes_that_cannot_tell_are_not_divided(two_states: Path, tmp_path: Path, why: str) -> None:
    run = one_class(two_states, tmp_path, 3)
    (of_class,) = run.state.classes
    if why == "noise":
        of_class.tests = HeldOutTests(structure=NoiseControl(100, 0.0, 0.1, 5.0, 0.1))
    if why == "soft":
        of_class.soft = SoftRounds(True)
    if why == "few":
        of_class.qualities = ImageQualities(good=(torch.arange(N) < 90).float())
    take_step(run)
    assert (run.state.phase, len(run.state.classes)) == ("class validate", 1)
    assert run.state.branching["table"] == []


def test_a_class_is_not_divided_where_one_of_two_would_have_too_few_images(
    two_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = one_class(two_states, tmp_path, 3)
    monkeypatch.setattr(phase, "LEAST_PARTICLES", 190)  # there are 160 of the second
    take_step(run)
    assert (run.state.phase, run.state.branching["mixed"]) == ("class validate", [])


@pytest.mark.parametrize(("agreement", "named"), [(0.6, []), (0.8, [0])])
def test_a_class_is_not_divided_by_what_its_halves_hardly_share(
    two_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agreement: float, named: list[int]
) -> None:
    """What would do for states that somebody asked for."""
    monkeypatch.setattr(phase, "divide", lambda *asked: replace(division.divide(*asked), agreement=agreement))
    run = one_class(two_states, tmp_path, 3)
    take_step(run)
    assert (run.state.phase, len(run.state.classes)) == ("class validate", 1)
    assert run.state.branching["mixed"] == named
    assert all(row["gain"] > division.LEAST_GAIN for row in run.state.branching["table"])


def test_the_networks_of_all_states_hold_the_finest_band(two_states: Path, tmp_path: Path) -> None:
    """Where the box grows, a network has the size of a band: not of that of the first state, which is coarser."""
    run = at_poses(two_states, tmp_path, radius=8.0, hidden_dim=None)
    run.boxes = BoxPlan(SMALL_BOX, 9, 10, SMALL_BOX)
    run.state.qualities = ImageQualities(good=torch.ones(N))
    coarse, fine = (
        replace(run.state, phase="joint", step=JOINT_ROUNDS - 1, band=replace(run.state.band, radius=radius))
        for radius in (4.0, 8.0)
    )
    run.state.classes = [coarse, fine]
    assert class_joint_step(run)
    network = run.of_class(1).network("joint")
    assert network.network.half_width(network.scale_for(8.0)) >= 8.0
    with torch.no_grad():
        found = network.decode(run.full, network.scale_for(8.0))
    truth = resized(small_blobs().volume(SMALL_BOX), run.map_size)
    curve = fourier_shell_correlation(found, truth, 1.0).correlation
    assert float(curve[2:8].min()) > 0.5


# --- whole runs ------------------------------------------------------------------------------------


def settings(particles: Path, out: Path, **changed: object) -> ReconstructionConfig:
    config = ReconstructionConfig(
        particles=particles,
        out=out,
        n_classes=2,
        local_states=True,
        poses="from-input",
        shift_range=0.0,
        hidden_dim=24,
        mask_diameter=0.84 * SMALL_BOX * PIXEL_SIZE,
        network_steps=20,
    )
    return replace(config, **changed)


@pytest.fixture(scope="module")
def finished(two_states: Path, tmp_path_factory: pytest.TempPathFactory) -> ReconstructionResult:
    return resmfn.reconstruct(settings(two_states, tmp_path_factory.mktemp("run") / "run"))


def test_a_run_leaves_a_folder_of_each_state(finished: ReconstructionResult) -> None:
    assert finished.summary["n_classes"] == 2
    found = read_particles(finished.run / "particles.star", with_images=False).metadata.numbers("rlnClassNumber")
    assert agreed(torch.from_numpy(found == 2), SECOND) > 0.85
    assert not any("look alike" in line for line in finished.summary["warnings"])
    assert "2 states" in (finished.run / "run.log").read_text()
    page = resmfn.report(finished.run).read_text()
    assert "class2/report.html" in page
    assert "of 1, one as 2: +" in page and "what the halves found correlates 0." in page


def test_networks_of_states_share_their_coarse_scales_and_differ_in_the_finest(finished: ReconstructionResult) -> None:
    one, other = (read_map(finished.run / f"class{k}" / "map.mrc").data for k in (1, 2))
    assert not torch.equal(one, other)
    scales = [sorted(path.name for path in (finished.run / f"class{k}").glob("map_scale*.mrc")) for k in (1, 2)]
    assert scales[0] == scales[1] and len(scales[0]) >= 2
    for name in scales[0][:-1]:
        one, other = (read_map(finished.run / f"class{k}" / name).data for k in (1, 2))
        assert torch.equal(one, other), name


def test_a_stopped_run_goes_on_to_the_same_states(
    finished: ReconstructionResult, two_states: Path, tmp_path: Path
) -> None:
    out, resume, stopped = tmp_path / "run", False, 0
    while True:
        stops = iter([False] * 3 + [True] * 100)
        try:
            resmfn.reconstruct(settings(two_states, out, resume=resume), stop=lambda: next(stops))  # noqa: B023
            break
        except StoppedError:
            resume, stopped = True, stopped + 1
    assert stopped > 2
    for name in ("particles.star", "class1/map.mrc", "class2/half1_unfil.mrc"):
        assert (out / name).read_bytes() == (finished.run / name).read_bytes(), name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_classes": 1}, "--local-states divides a structure and needs --n-classes 2 or more, or auto"),
        ({"poses": "fixed"}, "--local-states refines poses within each state; give --poses from-input, not fixed"),
    ],
)
def test_what_states_need_is_said(two_states: Path, tmp_path: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(two_states, tmp_path / "run", **changed)
