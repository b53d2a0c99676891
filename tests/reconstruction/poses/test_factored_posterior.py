"""Shifts apart from rotations: a bound that is below the exact evidence and near it, and poses that are found."""

import pytest
import torch

from reconstruction.poses.test_grid_posterior import BOX, N_PIXELS, tiny_case
from reconstruction.scenes import PIXEL_SIZE, make_scene
from resmfn.core import make_generator
from resmfn.physics import phase_shift
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.poses import grid_posterior as module
from resmfn.reconstruction.poses.factored_posterior import ShiftBelief, factored_posterior
from resmfn.reconstruction.poses.grid_posterior import GridPosterior, PoseGrid, grid_posterior
from resmfn.rotations import super_fibonacci

STEP, REACH, SPREAD = 0.5, 9.0, 3.0


def offsets(step: float = STEP, reach: float = REACH) -> torch.Tensor:
    axis = torch.arange(-reach, reach + step / 2, step)
    points = torch.cartesian_prod(axis, axis)
    return points[points.norm(dim=1) <= reach]


def belief(n: int = 6, *, mean: torch.Tensor | None = None, width: float = SPREAD) -> ShiftBelief:
    mean = torch.zeros(n, 2) if mean is None else mean
    return ShiftBelief(mean, torch.full((n,), width), offsets(), STEP, SPREAD)


def after(found: GridPosterior, before: ShiftBelief) -> ShiftBelief:
    return ShiftBelief(found.shift, found.shift_width, before.offsets, before.step, before.spread)


def test_with_one_certain_shift_it_is_the_exhaustive_pass_at_that_shift() -> None:
    scene, rotations, slices = tiny_case()
    given = torch.randn(6, 2, generator=make_generator(3))
    known = ShiftBelief(given, torch.full((6,), 1e-4), torch.zeros(1, 2), 1e-4, SPREAD)
    for heat in (1.0, 4.0):
        found = factored_posterior(scene.observations, scene.index, slices, known, temperature=heat)
        exact = grid_posterior(
            scene.observations, scene.index, slices, PoseGrid(rotations, torch.zeros(1, 2)), given, temperature=heat
        )
        for name in ("values", "weights", "max_probability", "top_rotation", "shift"):
            torch.testing.assert_close(getattr(found, name), getattr(exact, name), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.log_evidence + known.divergence(), exact.log_evidence, rtol=1e-3, atol=1e-3)


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    mean, width = torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([0.7, SPREAD])
    normal = torch.distributions.Normal
    of_axes = torch.distributions.kl_divergence(normal(mean, width[:, None]), normal(0.0, SPREAD))
    found = ShiftBelief(mean, width, offsets(), STEP, SPREAD).divergence()
    torch.testing.assert_close(found, of_axes.sum(dim=1))


def test_its_evidence_is_below_the_exact_one_and_comes_near() -> None:
    scene, rotations, slices = tiny_case()
    exact = grid_posterior(
        scene.observations, scene.index, slices, PoseGrid(rotations, offsets(), SPREAD), torch.zeros(6, 2)
    ).log_evidence
    known, gaps = belief(), []
    for _ in range(6):
        found = factored_posterior(scene.observations, scene.index, slices, known)
        known = after(found, known)
        gaps.append(exact - found.log_evidence)
        assert bool((gaps[-1] > -0.05).all())
    assert float(gaps[-1].mean()) < 0.6 * float(gaps[0].mean())
    assert float(gaps[-1].mean()) < 3.0


def clear_case(shift: torch.Tensor) -> tuple[Observations, torch.Tensor, torch.Tensor]:
    """Return clear images of 20 of 60 slices, moved by the content to MINUS their shifts."""
    rotations = super_fibonacci(60)
    scene = make_scene(20, box_size=BOX, amplitude=3.0, noise=1.0)
    pixels = scene.observations.pixels[:N_PIXELS]
    _, ctf = scene.observations.batch(scene.index, N_PIXELS)
    slices = scene.blobs.transform(rotations, pixels, BOX) / BOX
    values = ctf * slices[10:30] * phase_shift(pixels, shift, PIXEL_SIZE, BOX)
    level = scene.observations.noise_level
    return Observations(values, ctf, pixels, box_size=BOX, pixel_size=PIXEL_SIZE, noise_level=level), slices, rotations


def test_it_finds_shifts_and_rotations_of_clear_images() -> None:
    given = 2.5 * torch.randn(20, 2, generator=make_generator(5))
    clear, slices, _ = clear_case(given)
    # From where it is about right; where it is far off, images this clear hold on to the wrong rotation.
    known, index = belief(20, mean=given + torch.tensor([1.0, -0.5]), width=1.0), torch.arange(20)
    for _ in range(3):
        found = factored_posterior(clear, index, slices, known)
        known = after(found, known)
    right = found.top_rotation[:, 0] == torch.arange(10, 30)
    assert float(right.float().mean()) > 0.9
    assert float((found.shift - given)[right].norm(dim=1).max()) < STEP
    assert bool((found.shift_width[right] < STEP).all())


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_every_image_is_shared_out_once(temperature: float) -> None:
    scene, _, slices = tiny_case()
    found = factored_posterior(scene.observations, scene.index, slices, belief(), temperature=temperature)
    _, ctf = scene.observations.batch(scene.index, N_PIXELS)
    torch.testing.assert_close(found.weights.sum(dim=0), ctf.square().sum(dim=0), rtol=1e-4, atol=1e-5)


def test_noise_alone_tells_no_pose() -> None:
    scene, _, slices = tiny_case()
    found = factored_posterior(scene.observations, scene.index, 0 * slices, belief())
    torch.testing.assert_close(found.log_evidence, torch.zeros(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.shift, torch.zeros(6, 2), rtol=0, atol=1e-3)
    assert float(found.shift_width.max()) == pytest.approx(SPREAD, rel=0.1)
    torch.testing.assert_close(found.max_probability, torch.full((6,), 1 / 30), rtol=1e-3, atol=0.0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, _, slices = tiny_case()
    whole = factored_posterior(scene.observations, scene.index, slices, belief())
    monkeypatch.setattr(module, "_CPU_BUDGET", 2 * len(offsets()))
    parts = factored_posterior(scene.observations, scene.index, slices, belief())
    for name in ("values", "weights", "log_evidence", "shift", "shift_width", "max_probability", "top_rotation"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-4)
