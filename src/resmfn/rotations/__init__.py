"""SO(3): conversions, the exponential map, samplings and distances; tensors in, tensors out.

A pose is the matrix A of RELION: ``image(x, y)`` is the integral over z of ``V(A^T (x, y, z))``.
"""

from resmfn.rotations.convert import (
    euler_from_matrix,
    matrix_from_euler,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from resmfn.rotations.distance import geodesic_degrees
from resmfn.rotations.exponential import exp_so3, log_so3
from resmfn.rotations.sampling import concentrated_rotations, random_rotations, super_fibonacci
from resmfn.rotations.symmetry import asymmetric_unit, point_group

__all__ = [
    "asymmetric_unit",
    "concentrated_rotations",
    "euler_from_matrix",
    "exp_so3",
    "geodesic_degrees",
    "log_so3",
    "matrix_from_euler",
    "matrix_from_quaternion",
    "point_group",
    "quaternion_from_matrix",
    "random_rotations",
    "super_fibonacci",
]
