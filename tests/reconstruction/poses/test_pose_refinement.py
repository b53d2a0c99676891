"""Gauss-Newton on poses: slopes and curvature by differences, and peaks found from afar."""

import math

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, Scene, make_scene, turned
from resmfn.core import make_generator
from resmfn.physics import phase_shift, trilinear
from resmfn.physics.compiled import CompiledLoops
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.poses import pose_refinement as module
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

DOUBLE = torch.float64
BOX = 24
RADIUS = 8.0
MAGNIFICATION = torch.tensor([[1.06, 0.05], [-0.03, 0.94]])


def model_of(scene: Scene, **options: object) -> PoseModel:
    grid = MapGrid(BOX, BOX)
    options = {"radius": RADIUS, "moves_shift": True} | options
    return PoseModel(grid, grid.transform(scene.volume), **options)


def climb_of(scene: Scene, model: PoseModel) -> module._Climb:
    n_pixels = scene.observations.n_pixels(model.radius)
    return module._Climb(scene.observations, scene.index, n_pixels, model, scene.shift)


def look(climb: module._Climb, poses: Poses) -> module._Point:
    return climb._evaluate(poses, torch.arange(len(poses)))


@pytest.fixture
def to_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps go on however little they gain."""
    monkeypatch.setattr(module, "_LEAST_GAIN", 0.0)


def moved(poses: Poses, step: torch.Tensor) -> Poses:
    """Turn by the first three numbers about the image's axes, shift by the other two."""
    return Poses(exp_so3(step[:, :3]) @ poses.rotation, poses.shift + step[:, 3:])


def off_the_peak(scene: Scene) -> Poses:
    shift = scene.shift + torch.randn(scene.shift.shape, generator=make_generator(3), dtype=scene.shift.dtype)
    return Poses(turned(scene.rotation, 4.0), shift)


def test_shifts_that_do_not_move_are_taken_out_of_the_images() -> None:
    """Rotations come out as they would of centered images, and so do likelihood and what is left."""
    shifted, centered = (make_scene(12, noise=0.3, shift=shift) for shift in (3.0, 0.0))
    model = model_of(shifted, moves_shift=False)
    start = Poses(turned(shifted.rotation, 4.0), shifted.shift)
    found = refine_poses(shifted.observations, shifted.index, start, model, 8)
    assert torch.equal(found.poses.shift, shifted.shift)
    angle = geodesic_degrees(found.poses.rotation, shifted.rotation)
    assert float(angle.median()) < 1.0
    expected = refine_poses(
        centered.observations, centered.index, Poses(start.rotation, torch.zeros_like(start.shift)), model, 8
    )
    assert float((found.residual_power - expected.residual_power).abs().mean()) < 0.1


# --- derivatives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("magnification", [None, MAGNIFICATION])
@pytest.mark.parametrize("spread", [None, 2.0])
def test_the_gradient_is_half_the_slope_of_the_log_likelihood(
    spread: float | None, magnification: torch.Tensor | None
) -> None:
    scene = make_scene(6, noise=0.3, shift=2.0, magnification=magnification, dtype=DOUBLE)
    climb, poses = climb_of(scene, model_of(scene, shift_spread=spread)), off_the_peak(scene)
    point = look(climb, poses)
    assert point.gradient.dtype == DOUBLE
    step = 1e-7
    for axis in range(5):
        change = step * torch.eye(5, dtype=DOUBLE)[axis].expand(6, 5)
        ahead, behind = (look(climb, moved(poses, sign * change)).log_likelihood for sign in (1, -1))
        slope = (ahead - behind) / (2 * step)
        torch.testing.assert_close(2 * point.gradient[:, axis], slope, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("magnification", [None, MAGNIFICATION])
@pytest.mark.parametrize("spread", [None, 2.0])
def test_the_curvature_is_that_of_the_linearized_residual(
    spread: float | None, magnification: torch.Tensor | None
) -> None:
    """J^T J with J by differences of the slices themselves; the prior adds to the shift's corner."""
    scene = make_scene(5, shift=2.0, magnification=magnification, dtype=DOUBLE)
    climb, poses = climb_of(scene, model_of(scene, shift_spread=spread)), off_the_peak(scene)
    step = 1e-7
    columns = []
    for axis in range(5):
        change = step * torch.eye(5, dtype=DOUBLE)[axis].expand(5, 5)
        ahead, behind = (climb.model_values(look(climb, moved(poses, sign * change))) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    jacobian = torch.stack(columns, dim=1)
    expected = torch.einsum("nip,njp->nij", jacobian, jacobian.conj()).real
    if spread is not None:
        expected[:, 3:, 3:] += torch.eye(2, dtype=DOUBLE) / (2 * spread**2)
    found = look(climb, poses).curvature
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("moves_shift", [False, True])
def test_compiled_loops_see_what_pytorch_sees(monkeypatch: pytest.MonkeyPatch, moves_shift: bool) -> None:
    pytest.importorskip("numba", reason="compiled loops need numba")
    scene = make_scene(9, noise=0.5, shift=2.0)
    climb, poses = climb_of(scene, model_of(scene, moves_shift=moves_shift)), off_the_peak(scene)
    some = torch.tensor([4, 0, 8])
    calls, fill = [], CompiledLoops.slope_rows
    monkeypatch.setattr(CompiledLoops, "slope_rows", lambda *given: calls.append(1) or fill(*given))
    by_loops = climb._evaluate(poses.select(some), some)
    assert calls == [1]
    monkeypatch.setattr(module, "compiled_loops", lambda *_: None)
    by_torch = climb._evaluate(poses.select(some), some)
    for name in ("centered", "log_likelihood", "gradient", "curvature"):
        expected = getattr(by_torch, name)
        found = getattr(by_loops, name)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_log_likelihood_is_that_of_the_images() -> None:
    scene = make_scene(8, noise=0.7, shift=2.0)
    fit = refine_poses(scene.observations, scene.index, scene.poses, model_of(scene), iterations=0)
    assert torch.equal(fit.poses.rotation, scene.rotation)
    n_pixels = scene.observations.n_pixels(RADIUS)
    values, _ = scene.observations.batch(scene.index, n_pixels)
    clean, _ = make_scene(8, shift=2.0).observations.batch(scene.index, n_pixels)
    residual = (values - clean).abs().square().sum(dim=1)
    expected = values.abs().square().sum(dim=1) - residual
    torch.testing.assert_close(fit.log_likelihood, expected, rtol=0.03, atol=0.0)


def test_a_prior_of_shifts_lowers_the_log_likelihood_by_its_quadratic() -> None:
    scene = make_scene(8, shift=2.0)
    flat, narrow = (
        refine_poses(scene.observations, scene.index, scene.poses, model_of(scene, shift_spread=s), iterations=0)
        for s in (None, 1.5)
    )
    expected = scene.shift.square().sum(dim=1) / (2 * 1.5**2)
    torch.testing.assert_close(flat.log_likelihood - narrow.log_likelihood, expected, rtol=1e-2, atol=1e-2)


# --- the peak ----------------------------------------------------------------------------------------


def sliced(scene: Scene) -> Observations:
    """Return the same images, clean, made by the projector that the refinement uses."""
    grid, full = MapGrid(BOX, BOX), scene.observations
    _, ctf = full.batch(scene.index, len(full.pixels))
    slices = grid.slices(grid.transform(scene.volume), scene.rotation, full.pixels)
    values = ctf * slices * phase_shift(full.pixels, scene.shift, PIXEL_SIZE, BOX)
    return Observations(values, ctf, full.pixels, box_size=BOX, pixel_size=PIXEL_SIZE, noise_level=full.noise_level)


@pytest.mark.usefixtures("to_the_peak")
@pytest.mark.parametrize("ctf", [False, True])
def test_clean_images_lead_back_to_their_poses(ctf: bool) -> None:
    """From 4 degrees and about 1 Å off."""
    scene = make_scene(40, shift=2.0, ctf=ctf)
    start = off_the_peak(scene)
    fit = refine_poses(sliced(scene), scene.index, start, model_of(scene), iterations=8)
    after = geodesic_degrees(fit.poses.rotation, scene.rotation)
    assert float(geodesic_degrees(start.rotation, scene.rotation).min()) > 3.9
    assert float(after.max()) < 0.1
    assert float((fit.poses.shift - scene.shift).norm(dim=1).max()) < 0.01


@pytest.mark.usefixtures("to_the_peak")
@pytest.mark.parametrize("magnification", [None, MAGNIFICATION])
def test_images_by_closed_form_lead_to_their_poses_but_for_the_slices_own_errors(
    magnification: torch.Tensor | None,
) -> None:
    scene = make_scene(40, shift=2.0, magnification=magnification)
    fit = refine_poses(scene.observations, scene.index, off_the_peak(scene), model_of(scene), iterations=8)
    assert float(geodesic_degrees(fit.poses.rotation, scene.rotation).median()) < 0.3
    assert float((fit.poses.shift - scene.shift).norm(dim=1).median()) < 0.05


@pytest.mark.usefixtures("to_the_peak")
def test_three_steps_are_nearly_enough() -> None:
    scene = make_scene(40, shift=2.0)
    fit = refine_poses(sliced(scene), scene.index, off_the_peak(scene), model_of(scene), iterations=3)
    assert float(geodesic_degrees(fit.poses.rotation, scene.rotation).median()) < 0.1


def test_images_at_their_peaks_rest_and_the_others_climb_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left to gain is little beside what noise alone does, 0.5 nat for each unknown."""
    scene = make_scene(40, noise=1.0, shift=2.0)
    model, start = model_of(scene), off_the_peak(scene)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_LEAST_GAIN", 0.0)
        peak = refine_poses(scene.observations, scene.index, start, model, iterations=20)
    half = torch.arange(40) < 20
    mixed = Poses(
        torch.where(half[:, None, None], peak.poses.rotation, start.rotation),
        torch.where(half[:, None], peak.poses.shift, start.shift),
    )
    looked: list[int] = []
    evaluate = module._Climb._evaluate
    monkeypatch.setattr(
        module._Climb,
        "_evaluate",
        lambda self, poses, images: looked.append(len(images)) or evaluate(self, poses, images),
    )
    fit = refine_poses(scene.observations, scene.index, mixed, model, iterations=8)
    assert looked[0] == 40
    assert 20 <= looked[1] <= 26  # slices have kinks: a few peaks look like slopes
    assert sum(looked) < 200  # nine looks at each would be 360
    at_rest = (fit.poses.rotation == mixed.rotation).all(dim=2).all(dim=1) & half
    assert int(at_rest.sum()) >= 14
    assert not bool((fit.poses.rotation == start.rotation).all(dim=2).all(dim=1).any())
    torch.testing.assert_close(fit.log_likelihood, peak.log_likelihood, rtol=0.0, atol=0.1)


@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
def test_no_step_lowers_the_likelihood(noise: float) -> None:
    scene = make_scene(40, noise=noise, shift=2.0)
    start = Poses(turned(scene.rotation, 15.0), scene.shift + 2.0)
    model = model_of(scene, shift_spread=2.0)
    reached = [
        refine_poses(scene.observations, scene.index, start, model, iterations=n).log_likelihood for n in range(6)
    ]
    for before, after in zip(reached, reached[1:], strict=False):
        assert bool((after >= before).all())
    assert float((reached[-1] - reached[0]).mean()) > 1.0


def test_what_is_reported_belongs_to_the_poses_that_are_returned() -> None:
    scene = make_scene(20, noise=1.0, shift=2.0)
    model = model_of(scene)
    fit = refine_poses(scene.observations, scene.index, off_the_peak(scene), model, iterations=4)
    again = refine_poses(scene.observations, scene.index, fit.poses, model, iterations=0)
    torch.testing.assert_close(again.log_likelihood, fit.log_likelihood)
    torch.testing.assert_close(again.residual_power, fit.residual_power)
    assert bool((geodesic_degrees(fit.poses.rotation, fit.poses.rotation) < 0.1).all())
    identity = fit.poses.rotation @ fit.poses.rotation.mT
    torch.testing.assert_close(identity, torch.eye(3).expand(20, 3, 3), rtol=0.0, atol=1e-5)


@pytest.mark.usefixtures("to_the_peak")
def test_turning_map_and_poses_together_changes_nothing() -> None:
    """The map turned by R, and poses A R^T: the same images, and the same path to the peak."""
    scene = make_scene(20, shift=2.0)
    turn = random_rotations(1, generator=make_generator(4))[0]
    grid = MapGrid(BOX, BOX)
    volumes = (scene.volume, scene.blobs.rotated(turn).volume(BOX))
    start = off_the_peak(scene)
    starts = (start, Poses(start.rotation @ turn.T, start.shift))
    plain, turned_fit = (
        refine_poses(scene.observations, scene.index, s, PoseModel(grid, grid.transform(v), RADIUS, True), 8)
        for s, v in zip(starts, volumes, strict=True)
    )
    difference = geodesic_degrees(turned_fit.poses.rotation @ turn, plain.poses.rotation)
    assert float(difference.median()) < 0.4  # of which the slices' own errors are all
    assert float((turned_fit.poses.shift - plain.poses.shift).norm(dim=1).median()) < 0.1
    without = geodesic_degrees(turned_fit.poses.rotation, plain.poses.rotation)
    assert float(without.median()) > 20


# --- what may move, and what is summed ---------------------------------------------------------------


@pytest.mark.usefixtures("to_the_peak")
def test_shifts_stay_where_they_are_if_they_may_not_move() -> None:
    scene = make_scene(20)
    start = Poses(turned(scene.rotation, 3.0), torch.zeros(20, 2))
    fit = refine_poses(sliced(scene), scene.index, start, model_of(scene, moves_shift=False), iterations=8)
    assert torch.equal(fit.poses.shift, start.shift)
    assert float(geodesic_degrees(fit.poses.rotation, scene.rotation).median()) < 0.1


def test_the_residual_of_noise_is_its_power_and_that_of_a_perfect_fit_is_nothing() -> None:
    noisy, clean = make_scene(60, noise=1.0), make_scene(60)
    residuals = [
        refine_poses(s.observations, s.index, s.poses, model_of(s), iterations=0).residual_power for s in (noisy, clean)
    ]
    assert residuals[0].shape == (1, int(RADIUS) + 1)
    torch.testing.assert_close(residuals[0][0, 1:], torch.ones(8), rtol=0.15, atol=0.0)
    torch.testing.assert_close(residuals[0][0, 1:].mean(), torch.tensor(1.0), rtol=0.04, atol=0.0)
    assert float(residuals[1].max()) < 0.02


def test_chunks_and_repeated_images_change_nothing(monkeypatch) -> None:
    scene = make_scene(12, noise=1.0, shift=2.0)
    index = torch.tensor([3, 3, 0, 11, 7, 3])
    start = off_the_peak(scene).select(index)
    model = model_of(scene)
    whole = refine_poses(scene.observations, index, start, model)
    monkeypatch.setattr(trilinear, "CPU_POINTS", 2 * scene.observations.n_pixels(RADIUS))
    monkeypatch.setattr(module, "_LEAST_CHUNK", 3 * scene.observations.n_pixels(RADIUS))
    parts = refine_poses(scene.observations, index, start, model)
    torch.testing.assert_close(parts.poses.rotation, whole.poses.rotation, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(parts.log_likelihood, whole.log_likelihood, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(parts.residual_power, whole.residual_power, rtol=1e-3, atol=1e-4)
    alone = refine_poses(scene.observations, index[:1], start.select(torch.tensor([0])), model)
    torch.testing.assert_close(whole.poses.rotation[:1], alone.poses.rotation, rtol=1e-3, atol=1e-4)


def test_no_step_is_longer_than_it_may_be() -> None:
    """From a pose where the quadratic is a poor guide."""
    scene = make_scene(40, noise=1.0, shift=2.0)
    start = Poses(turned(scene.rotation, 60.0), scene.shift)
    fit = refine_poses(scene.observations, scene.index, start, model_of(scene), iterations=1)
    turn = geodesic_degrees(fit.poses.rotation, start.rotation)
    assert float(turn.max()) < math.degrees(module._LARGEST_ROTATION) + 0.1
    assert float((fit.poses.shift - start.shift).abs().max()) <= scene.observations.pixel_size + 1e-4
    assert float(turn.max()) > 1.0


@pytest.mark.parametrize("symmetry", ["C1", "C4", "O"])
def test_a_peak_stands_for_all_its_symmetric_copies(symmetry: str) -> None:
    """The share of all poses that fit as well is the order of the point group times that of one peak."""
    scene = make_scene(5, noise=1.0, amplitude=3.0)
    plain = MapGrid(scene.box_size, scene.box_size)
    grid = MapGrid(scene.box_size, scene.box_size, symmetry)
    shares = [
        refine_poses(
            scene.observations, scene.index, scene.poses, PoseModel(g, g.transform(scene.volume), 8.0, False), 0
        ).images.log_occam_factor
        for g in (plain, grid)
    ]
    expected = torch.full((5,), math.log(len(grid.group)))
    torch.testing.assert_close(shares[1] - shares[0], expected, rtol=1e-4, atol=1e-4)
