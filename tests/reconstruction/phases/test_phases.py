"""Phases on small data: networks take over what the search found, and nothing is found in noise."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from reconstruction.conftest import SMALL_BOX, small_blobs
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import make_generator
from resmfn.data import read_map, write_map
from resmfn.evaluation import align_poses
from resmfn.fourier import fftn_centered, low_pass, radius_grid, resize_map, shell_average
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases import halves, rounds, starts
from resmfn.reconstruction.phases.annealing import SearchResult, SearchStage, SearchTask
from resmfn.reconstruction.run.held_out import HeldOutTests, NoiseControl
from resmfn.reconstruction.run.records import Agreement, Band

# --- where a run begins, and how it goes on ----------------------------------------------------------


def test_a_search_comes_first_where_poses_are_unknown(context) -> None:
    run = context()
    enter_first_phase(run)
    assert run.state.phase == "search"


@pytest.mark.parametrize("poses", ["fixed", "from-input"])
def test_poses_of_the_input_need_no_search(context, poses) -> None:
    run = context(poses=poses)
    enter_first_phase(run)
    assert run.state.phase == "control"
    assert torch.equal(run.poses().rotation, run.particles.rotations)
    assert torch.equal(run.poses().shift, torch.zeros(160, 2))
    assert bool((run.state.poses.max_probability == 1).all())


def test_a_reference_comes_in_the_images_grey_scale_and_no_finer_than_it_is_believed(context, tmp_path) -> None:
    volume = small_blobs().volume(SMALL_BOX)
    write_map(tmp_path / "reference.mrc", 1e4 * volume, PIXEL_SIZE)
    run = context(reference=tmp_path / "reference.mrc", ini_high=12.0)
    enter_first_phase(run)
    assert (run.state.phase, run.state.starts.radius) == ("control", pytest.approx(5.0))
    # The images are divided by their noise of 1.5; the molecule lies within the sphere.
    truth = low_pass(volume, 5.0, 0.0) / 1.5
    found = low_pass(resize_map(run.state.starts.best, SMALL_BOX), 5.0, 0.0)
    assert float((found * truth).sum() / truth.square().sum()) == pytest.approx(1.0, abs=0.15)
    power = shell_average(fftn_centered(run.state.starts.best).abs().square(), run.state.starts.best.shape[-1])
    assert len(power) > 6
    assert float(power[6:].max()) < 0.1 * float(power[4])


def test_the_likeliest_start_goes_on(context, monkeypatch) -> None:
    evidence = [10.0, 12.0, 11.0]

    def start(task: object, *, start: int, **_: object) -> SearchResult:
        volume = torch.full((4, 4, 4), float(start))
        result = SearchResult.from_map(volume, 2.0 + start, torch.zeros(1, 2))
        return dataclasses.replace(result, log_evidence=evidence[start])

    monkeypatch.setattr(starts, "random_start", start)
    run = context(n_starts=3)
    for _ in evidence:
        assert run.state.phase == "search"
        take_step(run)
    assert run.state.phase == "control"
    assert run.state.starts.log_likelihoods == tuple(evidence)
    assert float(run.state.starts.best.mean()) == 1.0
    assert run.state.starts.radius == 3.0


@pytest.mark.parametrize(("radius", "n_made"), [(2.0, 6), (20.0, 3)])
def test_starts_are_made_again_within_a_particle_that_is_much_smaller_than_the_mask(
    context, monkeypatch, radius, n_made
) -> None:
    sizes = []

    def start(task: SearchTask, **_: object) -> SearchResult:
        sizes.append(task.space.mask_radius)
        volume = (radius_grid(16, 3) <= radius).float()
        return dataclasses.replace(SearchResult.from_map(volume, 2.0, torch.zeros(1, 2)), log_evidence=100 - len(sizes))

    monkeypatch.setattr(starts, "random_start", start)
    run = context(n_starts=3)
    while run.state.phase == "search":
        take_step(run)
    assert len(sizes) == n_made
    assert sizes[:3] == [run.mask_radius] * 3
    # A sphere of 2 of 16 voxels, one voxel more for the grid, and a fifth beyond.
    assert sizes[3:] == pytest.approx([1.2 * 3 * SMALL_BOX / 16] * (n_made - 3))
    assert run.space.mask_radius == sizes[-1]
    assert run.state.starts.log_likelihoods == tuple(100.0 - n for n in range(n_made - 2, n_made + 1))


@pytest.mark.parametrize(
    ("gain", "radius", "n_images"),
    [
        (1.0, 20.0, [50] * 3 + [120] * 3),
        (20.0, 20.0, [50] * 3),
        (1.0, 2.0, [50] * 3 + [120] * 6),
    ],
)
def test_starts_of_weak_images_are_made_again_with_more_of_them(context, monkeypatch, gain, radius, n_images) -> None:
    used: list[torch.Tensor] = []
    heat: list[float] = []

    def start(task: SearchTask, *, stages: Sequence[SearchStage], **_: object) -> SearchResult:
        used.append(task.index)
        heat.append(stages[0].temperature)
        volume = (radius_grid(16, 3) <= radius).float()
        return dataclasses.replace(SearchResult.from_map(volume, 2.0, torch.zeros(1, 2)), log_evidence=gain)

    monkeypatch.setattr(starts, "random_start", start)
    monkeypatch.setattr(starts, "N_SEARCH", 50)
    monkeypatch.setattr(starts, "MOST_IN_WEAK_STARTS", 130)
    monkeypatch.setattr(starts, "N_HELD_OUT", 40)
    run = context(n_starts=3)
    while run.state.phase == "search":
        take_step(run)
    assert [len(index) for index in used] == n_images
    assert [temperature > 1 for temperature in heat] == [n == 50 for n in n_images]  # the weak are not annealed
    assert run.state.starts.log_likelihoods == (gain,) * 3
    assert torch.equal(starts.search_index(run), used[-1])  # those that the control may not use


def test_the_search_takes_a_sample_of_many_images_always_the_same(context, monkeypatch) -> None:
    monkeypatch.setattr(starts, "N_SEARCH", 50)
    index = starts.search_index(context())
    assert len(index) == 50 == len(index.unique())
    assert torch.equal(index, starts.search_index(context()))
    assert not torch.equal(index, starts.search_index(context(seed=1)))
    monkeypatch.setattr(starts, "N_SEARCH", 160)
    assert torch.equal(starts.search_index(context()), torch.arange(160))


def test_halves_end_when_poses_rest_at_the_radius_that_they_have(context) -> None:
    run = context()
    radius_max = run.observations.radius_max
    run.state.band = Band(radius_max)
    run.state.agreement = Agreement(torch.ones(int(radius_max) + 1))

    def rounds_until_done(turn: float) -> int:
        run.state.step, run.state.agreement = 0, run.state.agreement.resting(False)
        while True:
            run.state.step += 1
            if halves._halves_are_done(run, turn):
                return run.state.step

    assert rounds_until_done(5.0) == halves.MOST_ROUNDS
    assert rounds_until_done(0.0) < halves.MOST_ROUNDS
    run.state.band = Band(0.7 * radius_max)  # there is more to come
    run.state.agreement = Agreement(torch.ones(int(run.state.band.radius) + 1))
    assert rounds_until_done(0.0) == halves.MOST_ROUNDS


def test_halves_do_not_end_before_every_image_was_compared_with_all_views_again(context) -> None:
    run = context()
    run.state.band = Band(run.observations.radius_max)
    run.state.agreement = Agreement(torch.ones(int(run.state.band.radius) + 1))
    for done in range(1, rounds.RECHECK_ROUND + 1):  # the round of that number comes after as many
        run.state.step = done
        assert not halves._halves_are_done(run, 0.0)


def test_known_poses_need_few_rounds_at_all_frequencies(context) -> None:
    run = context(poses="fixed")
    run.state.band = Band(3.0)
    assert halves.round_radius(run) == run.observations.radius_max
    run.state.step = halves.FIXED_ROUNDS - 1
    assert not halves._halves_are_done(run, 0.0)
    run.state.step = halves.FIXED_ROUNDS
    assert halves._halves_are_done(run, 0.0)


def test_what_maps_leave_unexplained_is_noise_where_they_explain_anything(context) -> None:
    run = context()
    run.state.band = Band(4.0)
    before = run.observations.noise_power.clone()
    residual = torch.tensor([[0.0, 1.2, 0.9, 1.1, 9.0, 9.0, 9.0]])
    halves.update_noise(run, residual)
    factor = (run.observations.noise_power / before)[0]
    torch.testing.assert_close(factor[:5], torch.tensor([1.0, 1.2, 0.9, 1.1, 2.0]))  # no more than twice at once
    torch.testing.assert_close(factor[5:], torch.ones(len(factor) - 5))
    assert torch.equal(run.state.qualities.noise_power, run.observations.noise_power)


# --- networks and noise ------------------------------------------------------------------------------


def test_both_halves_begin_from_the_map_of_all(context) -> None:
    run = context(n_starts=1)
    for phase in ("search", "control", "focus"):
        assert run.state.phase == phase
        take_step(run)
    assert align_poses(run.poses().rotation, run.particles.rotations).summary().median < 30  # the search did its part
    assert torch.equal(run.state.maps.references["half1"], run.state.maps.references["half2"])
    assert not run.state.maps.networks


@pytest.mark.parametrize(
    ("gain", "resolution", "words"),
    [
        (5.0, 7.5, "half maps agree to 7.50 Å"),
        (5.0, math.inf, "half maps do not agree"),
        (0.0, 7.5, "no structure found"),
    ],
)
def test_rounds_say_a_resolution_only_of_half_maps_that_show_a_structure(context, gain, resolution, words) -> None:
    run, heard = context(), []
    run.listener = heard.append
    run.state.tests = HeldOutTests(NoiseControl(100, gain, 0.1, gain, 0.1))
    run.state.band = Band(4.0, split=2.0)
    run.state.agreement = Agreement().after(torch.ones(5), resolution)
    rounds.tell_round(run, "halves", 0.5, [rounds.UNMOVED])
    assert words in heard[0].message
    assert ("resolution" in heard[0].values) == ("agree to" in words)


def refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


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
    assert str(result.summary["verdict"]).startswith("no structure found")
    written = json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=refuse)
    assert written["verdict"] == result.summary["verdict"]
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line, parse_constant=refuse)
        assert values["stage"] == "focus" or "resolution" not in values  # focus says to which band it went
    assert "half maps agree" not in (tmp_path / "run" / "run.log").read_text()
    # Filtered to what little the halves agree on: far less than the map holds.
    power = {}
    for name in ("map", "map_filtered"):
        volume = read_map(tmp_path / "run" / f"{name}.mrc").data
        power[name] = shell_average(fftn_centered(volume).abs().square(), box_size)
    assert bool((power["map_filtered"][7:9] < 1e-6 * power["map"][7:9]).all())
