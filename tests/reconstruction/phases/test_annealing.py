"""The annealed search: its grids, its priors, its seeds, and what a step does from a good and from no map."""

import dataclasses
import math

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, Scene, make_scene
from resmfn.core import make_generator
from resmfn.evaluation import align_poses
from resmfn.fourier import low_pass, resize_map, soft_sphere
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.maps.priors import power_prior
from resmfn.reconstruction.phases import annealing as module
from resmfn.reconstruction.phases.annealing import (
    SearchResult,
    SearchStage,
    SearchTask,
    centered,
    random_start,
    run_stage,
    sharpened,
    stage_radius,
)
from resmfn.reconstruction.poses import search_space
from resmfn.reconstruction.poses.search_space import SearchSpace, fine_offsets, first_offsets, neighbor_offsets
from resmfn.rotations import geodesic_degrees

BOX = 24
STAGE = SearchStage(5.0, 1500, 1.0, 1.0, 1.0, (1, 1))


def space(shift_range: float = 0.0) -> SearchSpace:
    return SearchSpace(mask_radius=9.0, shift_range=shift_range)


def quiet(*_: object) -> None:
    pass


def task_of(scene: Scene, shift_range: float = 0.0) -> SearchTask:
    return SearchTask(scene.observations, scene.index, space(shift_range))


# --- grids and priors --------------------------------------------------------------------------------


def test_a_radius_counts_cycles_over_the_mask() -> None:
    observations = make_scene(2).observations
    assert stage_radius(STAGE, observations, space()) == pytest.approx(5.0 * BOX / 18)
    fine = dataclasses.replace(STAGE, cycles=500.0)
    assert stage_radius(fine, observations, space()) == observations.radius_max


def test_first_offsets_fill_the_range_and_neighbors_are_one_step_away() -> None:
    observations = make_scene(2).observations
    offsets = first_offsets(observations, 6.0, space(10.0))
    step = search_space.STEP_SHARE * BOX * PIXEL_SIZE / 6.0
    assert float(offsets.norm(dim=1).max()) <= 10.0 + 1e-4
    assert bool((offsets == 0).all(dim=1).any())
    assert len(offsets) == pytest.approx(math.pi * (10.0 / step) ** 2, rel=0.25)
    assert len(offsets.unique(dim=0)) == len(offsets)
    torch.testing.assert_close(offsets.mean(dim=0), torch.zeros(2), rtol=0.0, atol=1e-4)
    near = neighbor_offsets(observations, 6.0, space(10.0))
    assert len(near) in (5, 9)
    assert float(near.abs().max()) == pytest.approx(step, rel=1e-5)
    assert {tuple(point) for point in (near / step).round().int().tolist()} >= {
        (0, 0),
        (1, 0),
        (-1, 0),
        (0, 1),
        (0, -1),
    }
    for of_centered in (first_offsets, neighbor_offsets, fine_offsets):
        assert torch.equal(of_centered(observations, 6.0, space(0.0)), torch.zeros(1, 2))


@pytest.mark.parametrize("size", [12, 24])
def test_the_sphere_scales_with_the_grid(size: int) -> None:
    sphere = sphere_on(MapGrid(BOX, size), space().mask_radius, torch.device("cpu"))
    assert sphere.shape == (size,) * 3
    volume = float(sphere.sum()) / size**3 * BOX**3
    assert volume == pytest.approx(4 / 3 * math.pi * 9.7**3, rel=0.15)


def test_the_power_prior_of_white_noise_in_a_mask_is_its_precision() -> None:
    """Voxels of standard deviation s inside the mask: the penalty is 1 / (2 s^2) in every shell."""
    mask = soft_sphere(BOX, 8.0, 2.0)
    volume = mask * 3.0 * torch.randn(BOX, BOX, BOX, generator=make_generator(2))
    prior = power_prior(volume, mask, 11)
    assert prior.shape == (11,)
    torch.testing.assert_close(prior[3:], torch.full((8,), 1 / (2 * 9.0)), rtol=0.25, atol=0.0)
    torch.testing.assert_close(prior[3:].mean(), torch.tensor(1 / 18), rtol=0.08, atol=0.0)


def test_a_stronger_map_has_a_weaker_prior_shell_by_shell() -> None:
    mask, volume = soft_sphere(BOX, 9.0, 2.0), make_scene(1).volume
    prior = power_prior(volume, mask, 9)
    torch.testing.assert_close(power_prior(3 * volume, mask, 9), prior / 9)
    boosted = volume + 2 * low_pass(volume, 3.0, 0.0)
    changed = power_prior(boosted, mask, 9)
    assert bool((changed[:3] < 0.2 * prior[:3]).all())
    torch.testing.assert_close(changed[5:], prior[5:], rtol=1e-3, atol=0.0)


def test_empty_shells_have_a_finite_prior() -> None:
    mask, volume = soft_sphere(BOX, 9.0, 2.0), low_pass(make_scene(1).volume, 3.0, 0.0)
    assert bool(power_prior(volume, mask, 12).isfinite().all())


# --- a stage -----------------------------------------------------------------------------------------


def start_from(scene: Scene, radius: float = 6.0, shift: torch.Tensor | None = None) -> SearchResult:
    volume = resize_map(low_pass(scene.volume, radius, 1.0), 16)
    still = torch.zeros(len(scene.index), 2)
    return SearchResult.from_map(volume, radius, still if shift is None else shift)


def test_one_step_from_the_true_map_finds_every_pose_to_the_spacing_of_the_grid() -> None:
    scene = make_scene(60, amplitude=2.0, noise=1.0)
    result = run_stage(task_of(scene), STAGE, start_from(scene), generator=make_generator(1), progress=quiet, n_top=3)
    found = result.rotations[result.posterior.top_rotation[:, 0]]
    spacing = math.degrees((8 * math.pi**2 / STAGE.n_rotations * 3 / (4 * math.pi)) ** (1 / 3))
    errors = geodesic_degrees(found, scene.rotation)
    assert float(errors.median()) < spacing
    assert float((errors < 2 * spacing).float().mean()) > 0.9
    assert torch.equal(result.shift, torch.zeros(60, 2))
    assert result.radius == stage_radius(STAGE, scene.observations, space())
    assert result.posterior.top_rotation.shape == (60, 3)


def test_images_are_centered_over_the_whole_range() -> None:
    scene = make_scene(60, amplitude=2.0, noise=1.0, shift=4.0)
    task = task_of(scene, 12.0)
    start = centered(task, STAGE, start_from(scene), generator=make_generator(1))
    assert torch.equal(start.volume, start_from(scene).volume)
    result = run_stage(task, STAGE, start, generator=make_generator(1), progress=quiet)
    inside = scene.shift.norm(dim=1) < 11
    error = (result.shift - scene.shift).norm(dim=1)[inside]
    assert float(error.median()) < 1.0
    known = dataclasses.replace(start_from(scene, shift=result.shift), shift_width=result.shift_width)
    again = run_stage(task, STAGE, known, generator=make_generator(2), progress=quiet)
    assert float((again.shift - scene.shift).norm(dim=1)[inside].median()) < 1.2


def test_a_stage_stops_between_its_fewest_and_its_most_steps() -> None:
    scene = make_scene(30, amplitude=2.0, noise=1.0)
    told: list[float] = []
    settles = dataclasses.replace(STAGE, n_rotations=300, n_steps=(3, 9))
    run_stage(
        task_of(scene),
        settles,
        start_from(scene),
        generator=make_generator(1),
        progress=lambda _, value: told.append(value),
    )
    assert 3 <= len(told) < 9
    assert told[-1] == max(told) or told[-1] - told[-2] < module.SETTLED
    told.clear()
    anneals = dataclasses.replace(settles, temperature=8.0, cooling=0.5, n_steps=(1, 9))
    run_stage(
        task_of(scene),
        anneals,
        start_from(scene),
        generator=make_generator(1),
        progress=lambda _, value: told.append(value),
    )
    assert len(told) >= 4  # it may not stop before it has cooled


def test_a_patient_stage_waits_for_what_comes_slowly() -> None:
    """Steps that rise by less than the limit end a stage, but not one that waits, if together they rise by more."""
    rising = [0.7 * module.SETTLED * step for step in range(8)]
    at_rest = [0.9, *[1.0 + 0.2 * module.SETTLED * step for step in range(8)]]
    plain = dataclasses.replace(STAGE, n_steps=(2, 9))
    patient = plain.patiently()
    assert patient.n_steps == (2, module.PATIENT_STEPS)
    assert plain.is_over(rising)
    assert not patient.is_over(rising)
    assert patient.is_over(at_rest)
    assert not patient.is_over(at_rest[: module.PATIENCE])  # nothing is known of so many steps yet
    assert not dataclasses.replace(patient, n_steps=(20, 40)).is_over(at_rest)
    hot = dataclasses.replace(patient, temperature=8.0, cooling=0.9)
    assert [hot.is_over([1.0] * n) for n in (5, 20, 30)] == [False, False, True]


def test_sharpening_waits_with_some_of_the_images_and_ends_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(60, amplitude=2.0, noise=1.0, shift=2.0)
    stage = dataclasses.replace(STAGE, n_rotations=300, n_steps=(1, 2))
    asked: list[int] = []
    run = module.run_stage
    monkeypatch.setattr(module, "run_stage", lambda task, *a, **k: asked.append(len(task.index)) or run(task, *a, **k))

    def found(n_search: int) -> SearchResult:
        monkeypatch.setattr(module, "N_SEARCH", n_search)
        generator = make_generator(1)
        return sharpened(task_of(scene, 4.0), stage, start_from(scene), generator=generator, progress=quiet)

    of_few, of_all = found(40), found(60)
    assert asked == [40, 60, 60]
    monkeypatch.setattr(module, "N_SHARPEN", 29)  # of many more images some settle the map that all begin from
    of_more = found(20)
    assert asked[3:] == [20, 29, 60]
    for result in (of_few, of_all, of_more):
        assert result.shift.shape == (60, 2)
        likeness = torch.corrcoef(torch.stack((result.volume.flatten(), start_from(scene).volume.flatten())))
        assert float(likeness[0, 1]) > 0.8


def test_one_step_of_a_stage_is_one_and_not_annealed() -> None:
    once = dataclasses.replace(STAGE, temperature=9.0, coolest=2.0, n_steps=(5, 9)).once()
    assert (once.temperature, once.coolest, once.n_steps) == (1.0, 1.0, (1, 1))


# --- starts ------------------------------------------------------------------------------------------


@pytest.fixture
def short_stages(monkeypatch) -> None:
    monkeypatch.setattr(
        module,
        "START_STAGES",
        (SearchStage(3.4, 600, 8.0, 0.7, 2.0, (4, 6)), SearchStage(5.1, 1200, 4.0, 0.6, 1.0, (4, 8))),
    )


def test_a_start_is_its_seed_and_its_number(short_stages) -> None:
    scene = make_scene(40, amplitude=2.0, noise=1.0)
    runs = [random_start(task_of(scene), seed=s, start=n, progress=quiet) for s, n in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert torch.equal(runs[0].volume, runs[1].volume)
    assert runs[0].log_evidence == runs[1].log_evidence
    assert not torch.equal(runs[0].volume, runs[2].volume)
    assert not torch.equal(runs[0].volume, runs[3].volume)


def test_the_likeliest_of_two_short_starts_has_the_poses(short_stages) -> None:
    """From random poses, at coarse grids and few steps: most poses within twice the spacing of the grid."""
    scene = make_scene(200, amplitude=2.0, noise=1.0)
    runs = [random_start(task_of(scene), seed=4, start=n, progress=quiet) for n in range(2)]
    best = max(runs, key=lambda run: run.log_evidence)
    found = best.rotations[best.posterior.top_rotation[:, 0]]
    errors = align_poses(found, scene.rotation).summary()
    assert errors.median < 20
    assert best.log_evidence > 0
