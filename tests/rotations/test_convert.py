"""Euler angles, quaternions and matrices; RELION's convention against scipy's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from resmfn.rotations import (
    euler_from_matrix,
    matrix_from_euler,
    matrix_from_quaternion,
    quaternion_from_matrix,
    random_rotations,
)

angle = st.floats(-180, 180)
tilt = st.floats(0, 180) | st.sampled_from([0.0, 180.0, 1e-9, 1e-5, 90.0, 180 - 1e-7])


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def assert_rotation(matrix: torch.Tensor) -> None:
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=matrix.dtype).expand_as(matrix))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(len(matrix), dtype=matrix.dtype))


@given(angle, tilt, angle)
def test_a_pose_is_the_transposed_zyz_rotation_of_scipy(rot: float, tilt: float, psi: float) -> None:
    expected = Rotation.from_euler("ZYZ", [rot, tilt, psi], degrees=True).as_matrix().T
    np.testing.assert_allclose(matrix_from_euler(doubles(rot, tilt, psi))[0].numpy(), expected, atol=1e-14)


@given(angle, tilt, angle)
def test_euler_angles_give_the_matrix_back_also_at_the_poles(rot: float, tilt: float, psi: float) -> None:
    matrix = matrix_from_euler(doubles(rot, tilt, psi))
    angles = euler_from_matrix(matrix)
    assert 0 <= angles[0, 1] <= 180
    torch.testing.assert_close(matrix_from_euler(angles), matrix, rtol=0, atol=1e-13)


@given(angle, st.floats(1, 179), angle)
def test_away_from_the_poles_the_angles_themselves_come_back(rot: float, tilt: float, psi: float) -> None:
    difference = euler_from_matrix(matrix_from_euler(doubles(rot, tilt, psi))) - doubles(rot, tilt, psi)
    assert ((difference + 180) % 360 - 180).abs().max() < 1e-10


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_at_the_poles_single_precision_still_turns_in_the_plane(tilt: float) -> None:
    matrix = matrix_from_euler(torch.tensor([[25.0, tilt, 40.0]]))
    torch.testing.assert_close(matrix_from_euler(euler_from_matrix(matrix)), matrix, rtol=0, atol=1e-6)


def test_identity_is_three_zeros() -> None:
    assert euler_from_matrix(torch.eye(3, dtype=torch.float64)).tolist() == [0.0, 0.0, 0.0]


def test_the_last_row_is_the_viewing_direction() -> None:
    along_x = matrix_from_euler(doubles(0.0, 90.0, 17.0))
    torch.testing.assert_close(along_x[0, 2], torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), atol=1e-15, rtol=0)
    along_y = matrix_from_euler(doubles(90.0, 90.0, 17.0))
    torch.testing.assert_close(along_y[0, 2], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-15, rtol=0)


def test_quaternions_agree_with_scipy(generator: torch.Generator) -> None:
    quaternion = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    expected = Rotation.from_quat(quaternion[:, [1, 2, 3, 0]].numpy()).as_matrix()
    np.testing.assert_allclose(matrix_from_quaternion(quaternion).numpy(), expected, atol=1e-14)


@given(angle, tilt, angle)
def test_quaternions_give_the_matrix_back_at_every_angle(rot: float, tilt: float, psi: float) -> None:
    matrix = matrix_from_euler(doubles(rot, tilt, psi))
    quaternion = quaternion_from_matrix(matrix)
    assert quaternion[0, 0] >= 0
    torch.testing.assert_close(matrix_from_quaternion(quaternion), matrix, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_leading_axes_follow_the_input(dtype: torch.dtype, generator: torch.Generator) -> None:
    matrix = random_rotations(6, generator=generator, dtype=dtype).view(2, 3, 3, 3)
    assert_rotation(matrix.view(-1, 3, 3))
    for values in (euler_from_matrix(matrix), quaternion_from_matrix(matrix)):
        assert values.dtype == dtype
        assert values.shape[:2] == (2, 3)
    torch.testing.assert_close(matrix_from_euler(euler_from_matrix(matrix)), matrix, rtol=0, atol=2e-6)
