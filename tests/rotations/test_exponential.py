"""The exponential map: values against scipy, gradients at 0 and near pi."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from resmfn.rotations import exp_so3, log_so3, random_rotations

ANGLES = [0.0, 1e-9, 1e-4, 0.05, 0.0999, 0.1001, 1.0, 3.0, math.pi - 1e-6, math.pi]
axes = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: math.hypot(*v) > 0.1)


def vector(axis: tuple[float, ...], angle: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return angle * torch.nn.functional.normalize(torch.tensor([axis], dtype=dtype), dim=-1)


@given(axis=axes, angle=st.floats(0, 7) | st.sampled_from(ANGLES))
def test_exp_agrees_with_scipy(axis: tuple[float, ...], angle: float) -> None:
    rotvec = vector(axis, angle)
    expected = Rotation.from_rotvec(rotvec[0].numpy()).as_matrix()
    np.testing.assert_allclose(exp_so3(rotvec)[0].numpy(), expected, atol=2e-15)


def test_exp_turns_counter_clockwise() -> None:
    quarter_about_z = exp_so3(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    torch.testing.assert_close(quarter_about_z @ x, y)


@given(axis=axes, angle=st.floats(0, math.pi - 1e-3) | st.sampled_from(ANGLES[:-2]))
def test_log_undoes_exp(axis: tuple[float, ...], angle: float) -> None:
    rotvec = vector(axis, angle)
    torch.testing.assert_close(log_so3(exp_so3(rotvec)), rotvec, rtol=1e-12, atol=1e-14)


@given(axis=axes, angle=st.sampled_from(ANGLES))
def test_exp_undoes_log_up_to_and_at_half_a_turn(axis: tuple[float, ...], angle: float) -> None:
    matrix = exp_so3(vector(axis, angle))
    assert log_so3(matrix).norm() <= math.pi + 1e-12
    torch.testing.assert_close(exp_so3(log_so3(matrix)), matrix, rtol=0, atol=1e-14)


@pytest.mark.parametrize("angle", ANGLES)
def test_gradients_of_exp_and_log(angle: float) -> None:
    rotvec = vector((0.3, -0.5, 0.8), angle).requires_grad_()
    assert gradcheck(exp_so3, (rotvec,))
    if angle < math.pi - 1e-3:
        assert gradcheck(lambda v: log_so3(exp_so3(v)), (rotvec,))
        assert gradcheck(log_so3, (exp_so3(rotvec.detach()).requires_grad_(),))


def test_the_gradient_at_zero_is_the_generators_of_rotation() -> None:
    jacobian = torch.autograd.functional.jacobian(exp_so3, torch.zeros(3, dtype=torch.float64))
    about_z = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(jacobian[..., 2], about_z)


def test_single_precision_is_orthogonal_and_finite_everywhere(generator: torch.Generator) -> None:
    lengths = torch.logspace(-8, 0.49, 400)[:, None]
    rotvec = (lengths * random_rotations(400, generator=generator)[:, 0]).requires_grad_()
    matrix = exp_so3(rotvec)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).expand(400, 3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(log_so3(matrix), rotvec, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(log_so3(matrix).sum(), rotvec)
    assert bool(gradient.isfinite().all())
