"""The exhaustive pass against every pose tried one by one in double precision."""

import math
from collections.abc import Callable

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, Scene, make_scene, relative_error
from resmfn.core import make_generator
from resmfn.physics import phase_shift
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses import grid_posterior as module
from resmfn.reconstruction.poses.grid_posterior import GridPosterior, PoseGrid, grid_posterior
from resmfn.rotations import random_rotations, super_fibonacci

BOX = 16
N_PIXELS = 40
OFFSETS = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, -4.0], [2.0, 5.0], [-6.0, 1.0]])
CENTER = torch.tensor([[0.0, 0.0], [1.5, -2.0], [-3.0, 0.5], [0.0, 4.0], [2.0, 2.0], [0.3, 0.1]])


def tiny_case(n_rotations: int = 30) -> tuple[Scene, torch.Tensor, torch.Tensor]:
    """Return six noisy images, some rotations, and slices of a map that the images are of at none of these."""
    scene = make_scene(6, box_size=BOX, amplitude=0.25, noise=1.0, shift=3.0)
    rotations = random_rotations(n_rotations, generator=make_generator(8))
    slices = scene.blobs.transform(rotations, scene.observations.pixels[:N_PIXELS], BOX) / BOX
    return scene, rotations, slices


def brute_force(
    scene: Scene, slices: torch.Tensor, offsets: torch.Tensor, center: torch.Tensor, spread: float | None, heat: float
) -> dict[str, torch.Tensor]:
    """Try every pose of every image by itself: no products of matrices, no algebra, float64."""
    values, ctf = (part.to(torch.complex128) for part in scene.observations.batch(scene.index, N_PIXELS))
    pixels, slices = scene.observations.pixels[:N_PIXELS], slices.to(torch.complex128)
    n, n_rotations = len(values), len(slices)
    sums = torch.zeros(n_rotations, N_PIXELS, dtype=torch.complex128)
    weights = torch.zeros(n_rotations, N_PIXELS, dtype=torch.float64)
    found: dict[str, list[torch.Tensor]] = {"evidence": [], "shift": [], "largest": [], "posterior": []}
    for i in range(n):
        shifts = center[i].double() + offsets.double()
        moved = [phase_shift(pixels, shift[None], PIXEL_SIZE, BOX)[0] for shift in shifts]
        prior = torch.zeros(len(shifts), dtype=torch.float64)
        if spread is not None:
            prior = -shifts.square().sum(dim=1) / (2 * spread**2)
        prior = (prior.exp() / prior.exp().sum()).log()
        empty = values[i].abs().square().sum()
        score = torch.stack(
            [
                torch.stack([empty - (values[i] - ctf[i] * factor * s).abs().square().sum() + prior[t] for s in slices])
                for t, factor in enumerate(moved)
            ]
        )  # (T, G)
        found["evidence"].append(torch.logsumexp(score.flatten(), 0) - math.log(n_rotations))
        posterior = torch.softmax(score.flatten() / heat, 0).view_as(score)
        found["largest"].append(posterior.max())
        found["shift"].append((posterior.sum(dim=1)[:, None] * shifts).sum(dim=0))
        found["posterior"].append(posterior)
        for t, factor in enumerate(moved):
            sums += posterior[t][:, None] * (ctf[i] * values[i] * factor.conj())
            weights += posterior[t][:, None] * ctf[i].real.square()
    return {"values": sums, "weights": weights} | {name: torch.stack(list_) for name, list_ in found.items()}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("spread", [None, 2.5])
@pytest.mark.parametrize("centered", [True, False])
def test_it_is_a_softmax_over_all_poses(temperature: float, spread: float | None, centered: bool) -> None:
    scene, rotations, slices = tiny_case()
    center = torch.zeros(6, 2) if centered else CENTER
    found = grid_posterior(
        scene.observations,
        scene.index,
        slices,
        PoseGrid(rotations, OFFSETS, spread),
        center,
        temperature=temperature,
        n_top=4,
    )
    expected = brute_force(scene, slices, OFFSETS, center, spread, temperature)
    assert relative_error(found.values, expected["values"]) < 1e-4
    assert relative_error(found.weights, expected["weights"]) < 1e-4
    torch.testing.assert_close(found.log_evidence.double(), expected["evidence"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.shift.double(), expected["shift"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.max_probability.double(), expected["largest"], rtol=1e-3, atol=1e-4)
    best = expected["posterior"].flatten(1).topk(4, dim=1).indices
    assert torch.equal(found.top_rotation, best % len(rotations))
    shifts = center[:, None] + OFFSETS
    torch.testing.assert_close(found.top_shift, shifts[torch.arange(6)[:, None], best // len(rotations)])


def test_the_case_is_neither_certain_nor_hopeless() -> None:
    """The comparison above sees nothing if one pose has all the weight, or all have the same."""
    scene, _, slices = tiny_case()
    largest = brute_force(scene, slices, OFFSETS, CENTER, None, 1.0)["largest"]
    assert 0.02 < float(largest.min()) < float(largest.median()) < 0.98


def run(scene: Scene, rotations: torch.Tensor, slices: torch.Tensor, **options: object) -> GridPosterior:
    return grid_posterior(scene.observations, scene.index, slices, PoseGrid(rotations, OFFSETS, 2.5), CENTER, **options)


def test_chunks_change_nothing(monkeypatch) -> None:
    case = tiny_case()
    whole = run(*case, n_top=3)
    monkeypatch.setattr(module, "_CPU_BUDGET", 2 * 30 * 5)  # two images at a time
    parts = run(*case, n_top=3)
    for name in ("values", "weights", "log_evidence", "shift", "max_probability", "top_rotation", "top_shift"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_only_the_images_that_are_asked_for_count() -> None:
    scene, rotations, slices = tiny_case()
    some = torch.tensor([4, 1])
    found = grid_posterior(scene.observations, some, slices, PoseGrid(rotations, OFFSETS, 2.5), CENTER[some])
    everyone = run(scene, rotations, slices)
    torch.testing.assert_close(found.log_evidence, everyone.log_evidence[some])
    torch.testing.assert_close(found.shift, everyone.shift[some], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_every_image_is_shared_out_once(temperature: float) -> None:
    scene, rotations, slices = tiny_case()
    found = run(scene, rotations, slices, temperature=temperature)
    _, ctf = scene.observations.batch(scene.index, N_PIXELS)
    torch.testing.assert_close(found.weights.sum(dim=0), ctf.square().sum(dim=0), rtol=1e-4, atol=1e-5)


def test_heat_makes_all_poses_alike_and_cold_picks_one() -> None:
    case = tiny_case()
    hot, cold, warm = (run(*case, temperature=heat) for heat in (1e7, 1e-3, 1.0))
    n_poses = 30 * len(OFFSETS)
    torch.testing.assert_close(hot.max_probability, torch.full((6,), 1 / n_poses), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(hot.weights, hot.weights.mean(dim=0).expand(30, -1), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(hot.shift, CENTER + OFFSETS.mean(dim=0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(cold.max_probability, torch.ones(6))
    torch.testing.assert_close(cold.shift, cold.top_shift[:, 0])
    assert bool((hot.max_probability < warm.max_probability).all())
    # What a pass says of the map is the likelihood itself, however soft the assignment is.
    torch.testing.assert_close(hot.log_evidence, warm.log_evidence, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(cold.log_evidence, warm.log_evidence, rtol=1e-4, atol=1e-3)
    assert torch.equal(hot.top_rotation, cold.top_rotation)


def clear_case(shift: Callable[[torch.Tensor], torch.Tensor]) -> tuple[GridPosterior, torch.Tensor]:
    """Return the pass over clear images that stand at grid points, and the shifts that they were given."""
    rotations = super_fibonacci(60)
    scene = make_scene(20, box_size=BOX, amplitude=3.0, noise=1.0)
    given = shift(torch.randint(len(OFFSETS), (20,), generator=make_generator(9)))
    pixels = scene.observations.pixels
    _, ctf = scene.observations.batch(scene.index, len(pixels))
    slices = scene.blobs.transform(rotations, pixels, BOX) / BOX
    # Written out: exp(+2 pi i k . o / (N pixel)) moves the content to MINUS o.
    angle = 2 * math.pi * (pixels.float() @ given.T).T / (BOX * PIXEL_SIZE)
    values = ctf * slices[10:30] * torch.complex(angle.cos(), angle.sin())
    clear = Observations(
        values, ctf, pixels, box_size=BOX, pixel_size=PIXEL_SIZE, noise_level=scene.observations.noise_level
    )
    found = grid_posterior(clear, scene.index, slices, PoseGrid(rotations, OFFSETS), torch.zeros(20, 2))
    assert torch.equal(found.top_rotation[:, 0], torch.arange(10, 30))
    return found, given


def test_content_moved_by_minus_the_shift_is_found_at_that_shift() -> None:
    found, given = clear_case(lambda which: OFFSETS[which])
    assert torch.equal(found.top_shift[:, 0], given)
    torch.testing.assert_close(found.shift, given, rtol=1e-3, atol=1e-3)
    assert bool((found.max_probability > 0.99).all())


def test_a_prior_pulls_towards_no_shift() -> None:
    scene, rotations, slices = tiny_case()
    spread = [
        grid_posterior(scene.observations, scene.index, slices, PoseGrid(rotations, OFFSETS, s), torch.zeros(6, 2))
        for s in (None, 3.0, 0.1)
    ]
    norms = [float(found.shift.norm()) for found in spread]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 1e-3


def test_noise_alone_tells_no_pose() -> None:
    """Slices of nothing: every pose is as likely as any other, and the evidence is that of pure noise."""
    scene, rotations, slices = tiny_case()
    found = grid_posterior(scene.observations, scene.index, 0 * slices, PoseGrid(rotations, OFFSETS), torch.zeros(6, 2))
    torch.testing.assert_close(found.log_evidence, torch.zeros(6), rtol=0.0, atol=1e-4)
    torch.testing.assert_close(found.max_probability, torch.full((6,), 1 / 150), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_several_maps_are_one_more_unknown(temperature: float) -> None:
    """Slices of all maps together, each at its share, are what every map alone says, mixed."""
    scene, rotations, slices = tiny_case()
    second = 0.7 * slices.flip(0)
    share = torch.tensor([0.3, 0.7])

    def found(slices: torch.Tensor, log_share: torch.Tensor | None = None) -> GridPosterior:
        grid = PoseGrid(rotations, OFFSETS, 2.5, log_share=log_share)
        return grid_posterior(scene.observations, scene.index, slices, grid, CENTER, temperature=temperature)

    both = found(torch.cat((slices, second)), share.log())
    alone = torch.stack((found(slices).log_evidence, found(second).log_evidence), dim=1)
    torch.testing.assert_close(both.evidence_of_map, alone, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(both.log_evidence, torch.logsumexp(alone + share.log(), dim=1), atol=1e-3, rtol=1e-4)
    assert both.values.shape == (60, N_PIXELS)
    if temperature == 1:  # every image counts once, in the maps that it shows
        of_map = torch.softmax(alone + share.log(), dim=1)
        ctf2 = scene.observations.batch(scene.index, N_PIXELS)[1].square()
        torch.testing.assert_close(both.weights[:30].sum(dim=0), of_map[:, 0] @ ctf2, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(both.weights[30:].sum(dim=0), of_map[:, 1] @ ctf2, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("with_entropy", [False, True])
def test_scores_hundreds_of_nat_apart_are_weighted_as_in_double_precision(
    temperature: float, with_entropy: bool
) -> None:
    """Most weights underflow; what is left of them is as exact as single precision."""
    scores = 60 * torch.randn(5, 3 * 400, generator=make_generator(11)) - 300
    highest = scores.amax(dim=1, keepdim=True)
    exact = scores.double()
    maps = module.SeveralMaps(torch.tensor([0.5, 0.3, 0.2]).log(), 3 * 400)
    share, evidence, entropy, of_map = module.soften(
        scores.clone(), temperature, highest, maps, with_entropy=with_entropy
    )
    expected = torch.softmax(exact / temperature, dim=1)
    torch.testing.assert_close((share / share.sum(dim=1, keepdim=True)).double(), expected, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(evidence.double(), exact.logsumexp(dim=1), rtol=0, atol=1e-3)
    by_map = exact.view(5, 3, 400).logsumexp(dim=2) - torch.tensor([0.5, 0.3, 0.2]).log()
    near = by_map > by_map.amax(dim=1, keepdim=True) - 40
    assert 5 < int(near.sum()) < 15
    torch.testing.assert_close(of_map.double()[near], by_map[near], rtol=0, atol=1e-3)
    assert bool((of_map[~near] < of_map.amax(dim=1, keepdim=True).expand_as(of_map)[~near] - 39).all())
    if with_entropy:
        torch.testing.assert_close(entropy.double(), torch.special.entr(expected).sum(dim=1), rtol=1e-3, atol=1e-3)
