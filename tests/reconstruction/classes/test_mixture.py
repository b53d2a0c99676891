"""Several maps at once: what is mixed comes apart, what is one stays one, and what is no particle does not count."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reconstruction.scenes import Scene, make_scene
from resmfn.core import make_generator
from resmfn.fourier import radius_grid, resize_map
from resmfn.reconstruction.classes import branching, competition
from resmfn.reconstruction.classes.branching import (
    SURELY_NEEDED,
    begun_again,
    branched,
    first_class,
    uncounted_classes,
    with_branch,
    without_doubles,
    without_needless,
)
from resmfn.reconstruction.classes.competition import Branches, LeftOut, asked_in_band, need_of_class, with_rivals
from resmfn.reconstruction.classes.mixture import Mixture, random_mixture, run_mixture
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.phases.annealing import START_STAGES, SearchStage, SearchTask, map_at_poses, stage_radius
from resmfn.reconstruction.phases.control import random_map
from resmfn.reconstruction.poses.search_space import SearchSpace, extent_of_map
from resmfn.rotations import exp_so3

SPACE = SearchSpace(mask_radius=9.0, shift_range=0.0)
QUICK = (SearchStage(3.0, 400, 8.0, 0.7, 2.0, (5, 8)), SearchStage(4.0, 800, 3.0, 0.6, 1.0, (4, 8)))
"""Stages that tell blobs apart in seconds."""


def quiet(*_: object) -> None:
    pass


def mixed(n: int, *seeds: int, noise: float = 1.0, amplitude: float = 0.5) -> tuple[Observations, torch.Tensor]:
    """Return images of several sets of blobs, and which each shows."""
    scenes = [make_scene(n, amplitude=amplitude, noise=noise, ctf=False, seed=seed, blob_seed=seed) for seed in seeds]
    of_image = torch.arange(len(scenes)).repeat_interleave(n)
    return joined(scenes), of_image


def joined(scenes: list[Scene]) -> Observations:
    parts = [scene.observations for scene in scenes]
    first = parts[0]
    return Observations(
        torch.cat([part._values for part in parts]),
        torch.cat([part._ctf for part in parts]),
        first.pixels,
        box_size=first.box_size,
        pixel_size=first.pixel_size,
        noise_level=torch.cat([part.noise_level for part in parts]),
    )


def tasks_of(observations: Observations) -> LeftOut:
    """Leave every fifth image out."""
    everyone = torch.arange(len(observations))
    left_out = everyone % 5 == 0
    return LeftOut(
        SearchTask(observations, everyone[~left_out], SPACE), SearchTask(observations, everyone[left_out], SPACE)
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branching, "START_STAGES", QUICK)
    monkeypatch.setattr(competition, "START_STAGES", QUICK)


def test_two_structures_come_apart_and_neither_is_divided(quick: None) -> None:
    observations, of_image = mixed(250, 11, 29)
    tasks, generator = tasks_of(observations), make_generator(0)
    one = first_class(tasks, generator=generator, progress=quiet)
    found = branched(tasks, one, 0, 2, generator=generator, progress=quiet)
    assert found is not None
    two, comparison = found
    assert comparison.is_better
    both = with_branch(tasks, one, 0, two, generator=generator, progress=quiet)
    kept, given_up = without_needless(tasks, both, 9, generator=generator, progress=quiet)
    assert (kept.n_classes, given_up) == (2, [])
    fewer, given_up = without_needless(tasks, both, 1, generator=generator, progress=quiet)
    assert (fewer.n_classes, len(given_up)) == (1, 1)  # no more than are allowed, needed or not
    true = of_image[tasks.made_from.index]
    agreed = (kept.maps.posterior.argmax(dim=1) == true).float().mean()
    assert max(float(agreed), 1 - float(agreed)) > 0.97
    for number in range(2):
        again = branched(tasks, kept, number, 2, generator=generator, progress=quiet)
        assert again is None or not again[1].is_better


def test_a_class_that_is_there_twice_is_given_up(quick: None) -> None:
    observations, _ = mixed(300, 11)
    tasks, generator = tasks_of(observations), make_generator(1)
    one = first_class(tasks, generator=generator, progress=quiet)
    same = one.maps.only([0, 0])
    twice = with_branch(tasks, one, 0, same, generator=generator, progress=quiet)
    assert twice.n_classes == 2
    kept, given_up = without_needless(tasks, twice, 9, generator=generator, progress=quiet)
    assert kept.n_classes == 1
    assert len(given_up) == 1


def maps_of(tasks: LeftOut, rotation: Tensor, *parts: Tensor) -> Branches:
    """Return a class of each of some parts (bool, of all images) of the images, at their true rotations."""
    made_from = tasks.made_from
    chosen = [made_from.index[part[made_from.index]] for part in parts]
    radius = stage_radius(QUICK[-1], made_from.observations, SPACE)
    volumes, priors = zip(
        *(map_at_poses(replace(made_from, index=index), rotation[index], radius) for index in chosen), strict=True
    )
    share, nobody = torch.full((len(parts),), 1 / len(parts)), torch.zeros(0)
    maps = Mixture(torch.stack(volumes), torch.stack(priors), share, radius, nobody, None, nobody, nobody)
    generator = make_generator(4)
    return Branches(*(asked_in_band(task, maps, generator=generator) for task in (made_from, tasks.left_out)))


def test_two_maps_that_share_out_the_views_of_one_molecule_are_one_class(quick: None) -> None:
    """Each is needed for its own views, yet one map of all images is as good. Two molecules stay two."""
    scene = make_scene(800, amplitude=1.0, noise=1.0, ctf=False, seed=11, blob_seed=11)
    tasks, polar = tasks_of(scene.observations), scene.rotation[:, 2, 2].abs() > 0.5
    twice = maps_of(tasks, scene.rotation, polar, ~polar)
    assert min(need_of_class(twice, number) for number in (0, 1)) > SURELY_NEEDED
    left, given_up, those = without_doubles(tasks, twice, [0, 1], generator=make_generator(2), progress=quiet)
    assert (left.n_classes, len(given_up), those) == (1, 1, [0])
    kept, given_up, _ = without_doubles(tasks, twice, [0], generator=make_generator(2), progress=quiet)
    assert (kept.n_classes, given_up) == (2, [])  # the other does not count

    other = make_scene(800, amplitude=1.0, noise=1.0, ctf=False, seed=12, blob_seed=29)
    tasks, rotation = tasks_of(joined([scene, other])), torch.cat((scene.rotation, other.rotation))
    is_other = torch.arange(1600) >= 800
    two = maps_of(tasks, rotation, ~is_other, is_other)
    kept, given_up, those = without_doubles(tasks, two, [0, 1], generator=make_generator(2), progress=quiet)
    assert (kept.n_classes, given_up, those) == (2, [], [])


def test_finer_rotations_do_not_make_two_classes_of_one_molecule(quick: None) -> None:
    """Two maps that are turned against each other ask for twice as many rotations: that alone is likelier by 3 nat."""
    scene = make_scene(1600, amplitude=0.7, noise=1.0, ctf=False, seed=11, blob_seed=11)
    tasks, even = tasks_of(scene.observations), torch.arange(1600) % 2 == 0
    turned = scene.rotation @ exp_so3(torch.tensor([0.11, 0.08, -0.1]))
    twice = maps_of(tasks, torch.where(even[:, None, None], scene.rotation, turned), even, ~even)
    left, given_up, those = without_doubles(tasks, twice, [0, 1], generator=make_generator(2), progress=quiet)
    assert (left.n_classes, len(given_up), those) == (1, 1, [0])


def test_a_large_molecule_is_not_divided_for_its_rotations(quick: None) -> None:
    """Two maps are likelier than one at the same rotations, by 2.8 +- 0.5 nat; at as many slices they are not."""
    scene = make_scene(1600, amplitude=0.7, noise=1.0, ctf=False, seed=29, blob_seed=29)
    tasks, generator = tasks_of(scene.observations), make_generator(0)
    one = first_class(tasks, generator=generator, progress=quiet)
    found = branched(tasks, one, 0, 2, generator=generator, progress=quiet)
    assert found is not None
    assert found[1].gain < 0


def asked_alone(evidence: Tensor, rival: Tensor) -> Branches:
    """Return classes of which only the evidence (n, K) and that of no particle (n,) are known."""
    n, k = evidence.shape
    maps = torch.zeros(k, 4, 4, 4)
    known = Mixture(maps, torch.zeros(k, 3), torch.full((k,), 1 / k), 2.0, torch.zeros(n, 2), None, evidence, rival)
    return Branches(known, known)


def test_a_class_of_junk_is_one_of_junk_though_a_third_of_its_images_show_a_species() -> None:
    """Most images of class 2 are as likely a stray field; the others lose 20 nat, so that the mean loss is 6."""
    species = torch.tensor([[30.0, 0.0]]).expand(100, 2)
    junk = torch.tensor([[0.0, 10.0]]).expand(70, 2)
    part = torch.tensor([[0.0, 20.0]]).expand(30, 2)
    found = asked_alone(torch.cat((species, junk, part)), torch.tensor([0.0] * 100 + [10.0] * 70 + [0.0] * 30))
    assert need_of_class(found, 1) > SURELY_NEEDED
    assert uncounted_classes(found) == [1]


def test_a_class_of_junk_is_found_and_given_up(quick: None) -> None:
    """Shapeless fields of many strengths make a map of their own, which their images need; beside a stray field not."""
    observations, of_image = mixed(200, 11, 29)
    generator = make_generator(6)
    junk = (of_image == 1).nonzero()[:, 0]
    radius = observations.pixels.float().norm(dim=1)
    spread = torch.exp(0.8 * torch.randn(len(junk), 1, generator=generator)) * 6 * torch.exp(-radius / 2)
    field = torch.randn(observations._values[junk].shape, generator=generator, dtype=torch.complex64)
    noise = torch.randn(field.shape, generator=generator, dtype=torch.complex64)
    observations._values[junk] = spread * field + noise
    tasks = tasks_of(observations)
    true = of_image[tasks.made_from.index]
    alone = [replace(tasks.made_from, index=tasks.made_from.index[true == number]) for number in (0, 1)]
    one, other = (first_class(LeftOut(mine, tasks.left_out), generator=generator, progress=quiet) for mine in alone)
    found = with_branch(
        tasks,
        one,
        0,
        replace(one.maps.only([0, 0]), volumes=torch.cat((one.maps.volumes, other.maps.volumes))),
        generator=generator,
        progress=quiet,
    )
    assert found.n_classes == 2
    number = int(torch.bincount(found.asked.posterior.argmax(dim=1)[of_image[tasks.left_out.index] == 1]).argmax())
    assert uncounted_classes(with_rivals(tasks, found)) == [number]
    kept, given_up = without_needless(tasks, found, 9, generator=generator, progress=quiet)
    assert (kept.n_classes, given_up) == (2, [])  # by the maps alone it is needed
    kept, given_up = without_needless(tasks, with_rivals(tasks, found), 9, generator=generator, progress=quiet)
    assert (kept.n_classes, given_up) == (1, [number])


def test_a_class_whose_start_failed_begins_again_and_the_others_stay(quick: None) -> None:
    observations, of_image = mixed(200, 11, 29)
    tasks, generator = tasks_of(observations), make_generator(9)
    true = of_image[tasks.made_from.index]
    alone = [replace(tasks.made_from, index=tasks.made_from.index[true == number]) for number in (0, 1)]
    one, other = (first_class(LeftOut(mine, tasks.left_out), generator=generator, progress=quiet) for mine in alone)
    failed = resize_map(
        random_map(other.maps.volumes[0], torch.ones(()), generator=generator), one.maps.volumes.shape[-1]
    )
    volumes = torch.cat((one.maps.volumes, failed[None]))
    maps = replace(
        one.maps.only([0, 0]), volumes=volumes, evidence=torch.where(true[:, None] == torch.arange(2), 50.0, 0.0)
    )
    left_out = of_image[tasks.left_out.index]
    asked = replace(
        maps,
        shift=torch.zeros(len(left_out), 2),
        evidence=torch.where(left_out[:, None] == torch.arange(2), 50.0, 0.0),
        rival=torch.full((len(left_out),), -torch.inf),
    )
    again = begun_again(tasks, Branches(maps, asked), generator=generator, progress=quiet)
    found = again.asked.posterior.argmax(dim=1)
    assert float((found == left_out).float().mean()) > 0.97
    assert begun_again(tasks, again, generator=generator, progress=quiet).n_classes == 2


def test_the_extent_of_a_map_holds_its_density_and_noise_fills_the_mask() -> None:
    observations, _ = mixed(2, 11)
    task = SearchTask(observations, torch.arange(2), SPACE)
    distance = radius_grid(observations.box_size, 3)
    for radius in (3.0, 5.0, 7.0):
        found = extent_of_map((distance <= radius).float(), task.space, task.observations.box_size)
        assert radius <= found <= radius + 2
    assert (
        extent_of_map(-(distance <= 3.0).float() + 1e-3 * (distance <= 5), task.space, task.observations.box_size) > 4
    )  # holes are no density
    noise = torch.randn(distance.shape, generator=make_generator(7))
    assert extent_of_map(noise, task.space, task.observations.box_size) == SPACE.mask_radius


def test_small_maps_compete_with_fewer_rotations_than_large_ones_in_the_same_band() -> None:
    observations, _ = mixed(2, 11)
    task = SearchTask(observations, torch.arange(2), SPACE)
    distance, radius = radius_grid(observations.box_size, 3), 7.0
    maps = random_mixture(task, 1, QUICK[0], generator=make_generator(8))
    small, large = (
        competition.competition(task, replace(maps, volumes=(distance <= r).float()[None]), radius) for r in (3.0, 8.0)
    )
    assert small.n_rotations < large.n_rotations
    assert stage_radius(small, observations, SPACE) == pytest.approx(radius)
    assert stage_radius(large, observations, SPACE) == pytest.approx(radius)
    assert competition.competition(task, maps, 0.0).cycles == START_STAGES[-1].cycles  # never coarser than a start


def test_images_that_show_nothing_do_not_count(quick: None) -> None:
    observations, _ = mixed(300, 11)
    generator = make_generator(2)
    noise = torch.randn(observations._values[:60].shape, generator=generator, dtype=torch.complex64)
    observations._values[:60] = noise
    tasks = tasks_of(observations)
    maps = first_class(tasks, generator=generator, progress=quiet).maps
    assert bool((maps.good == 1).all())  # nobody is asked before all classes are there
    maps = run_mixture(tasks.made_from, QUICK[-1], maps, generator=generator, progress=quiet, with_rivals=True)
    good, index = maps.good, tasks.made_from.index
    assert float((good[index < 60] < 0.5).float().mean()) > 0.9
    assert float((good[index >= 60] > 0.5).float().mean()) > 0.97


def test_one_class_is_one_map() -> None:
    """With one class, shares and posterior are 1, and the likelihood is that map's."""
    observations, _ = mixed(60, 11)
    task, generator = SearchTask(observations, torch.arange(60), SPACE), make_generator(3)
    maps = random_mixture(task, 1, QUICK[0], generator=generator)
    maps = run_mixture(task, QUICK[0], maps, generator=generator, progress=quiet)
    torch.testing.assert_close(maps.posterior, torch.ones(60, 1))
    torch.testing.assert_close(maps.log_evidence, maps.evidence[:, 0])
    assert bool((maps.good == 1).all())  # a hot stage asks nobody


def test_a_mixture_of_some_maps_keeps_their_proportions() -> None:
    maps = Mixture(
        torch.randn(3, 4, 4, 4, generator=make_generator(4)),
        torch.ones(3, 2),
        torch.tensor([0.5, 0.3, 0.2]),
        3.0,
        torch.zeros(2, 2),
        None,
        torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
        torch.full((2,), -torch.inf),
    )
    some = maps.only([2, 0])
    torch.testing.assert_close(some.share, torch.tensor([2 / 7, 5 / 7]))
    torch.testing.assert_close(some.posterior[1], some.share)
    assert torch.equal(some.evidence[0], torch.tensor([3.0, 1.0]))
    assert torch.equal(some.volumes[1], maps.volumes[0])
    assert START_STAGES[-1].coolest == 1.0  # classes are compared by maps that ended cold
