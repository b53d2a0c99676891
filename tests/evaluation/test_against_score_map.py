"""Agreement with the independent scorer, which shares no code with the package."""

import importlib.util

import pytest
import torch

from resmfn.data.models import density_from_model
from resmfn.evaluation import align_maps, align_poses, apply_alignment, fourier_shell_correlation, shift_error
from resmfn.fourier import low_pass, soft_sphere
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

pytestmark = pytest.mark.shared
PIXEL, BOX = 2.0, 48


@pytest.fixture(scope="module")
def score_map(shared):
    spec = importlib.util.spec_from_file_location("score_map", shared / "tools" / "score_map.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_same_curve_and_crossings(score_map, generator):
    a = torch.randn(20, 20, 20, generator=generator, dtype=torch.float64)
    b = low_pass(a, 5, 3) + 0.1 * torch.randn(20, 20, 20, generator=generator, dtype=torch.float64)
    found = fourier_shell_correlation(a, b, PIXEL)
    expected = score_map.fsc(a.numpy(), b.numpy())
    torch.testing.assert_close(found.correlation, torch.from_numpy(expected))
    for threshold in (0.5, 0.143):
        assert found.resolution_at(threshold) == pytest.approx(score_map.crossing(expected, threshold, 20, PIXEL))


def test_the_same_resolution_hand_and_rotation_of_a_molecule(score_map, generator):
    truth = density_from_model("4ake", BOX, PIXEL).double()
    frame = random_rotations(1, generator=generator, dtype=torch.float64)[0]
    estimate = torch.from_numpy(score_map.apply(truth.numpy(), -frame.T.numpy(), [1.3, -2.2, 0.6]))
    noise = torch.randn(truth.shape, generator=generator, dtype=torch.float64) * soft_sphere(BOX, 18, 5)
    estimate += 1.5 * truth.std() * low_pass(noise, BOX / 2 - 1, 1)  # the scorer folds in what is beyond Nyquist
    found = align_maps(estimate, truth, PIXEL)
    curve = fourier_shell_correlation(apply_alignment(estimate, found), truth, PIXEL)
    both = score_map.align(estimate.numpy(), truth.numpy(), PIXEL, ngrid=1500, top=6)
    hand = max(both, key=lambda h: both[h][0])
    _, turn, shift = both[hand]
    expected = score_map.fsc(score_map.apply(estimate.numpy(), turn, shift), truth.numpy())
    assert found.hand == hand == -1
    assert geodesic_degrees(found.rotation, frame) < 0.2
    assert geodesic_degrees(found.rotation, -torch.from_numpy(turn)) < 1
    for threshold in (0.5, 0.143):
        reached = score_map.crossing(expected, threshold, BOX, PIXEL)
        assert curve.resolution_at(threshold) == pytest.approx(reached, abs=0.03)


@pytest.mark.parametrize("hand", [1, -1])
def test_the_same_pose_and_shift_errors(score_map, hand, generator):
    true, frame = (random_rotations(n, generator=generator, dtype=torch.float64) for n in (600, 1))
    wrong = exp_so3(0.06 * torch.randn(600, 3, generator=generator, dtype=torch.float64))
    wrong[:120] = random_rotations(120, generator=generator, dtype=torch.float64)
    estimated = torch.diag(torch.tensor([hand, hand, 1.0], dtype=torch.float64)) @ wrong @ true @ frame
    shift = torch.randn(2, 600, 2, generator=generator, dtype=torch.float64)
    found = align_poses(estimated, true)
    errors, rotation, other_hand = score_map.pose_error(estimated.numpy(), true.numpy())
    assert found.hand == other_hand == hand
    assert geodesic_degrees(found.rotation, hand * torch.from_numpy(rotation)) < 0.1
    torch.testing.assert_close(found.errors_deg, torch.from_numpy(errors), rtol=0, atol=0.1)
    shifts, expected = shift_error(estimated, *shift), score_map.shift_error(estimated.numpy(), *shift.numpy())
    assert (shifts.rms, shifts.median) == pytest.approx((expected["rms"], expected["median"]))
