"""Errors of poses and shifts, up to what no image determines: the map's frame, origin and hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.errors import ResmfnError, ShapeError
from resmfn.rotations import geodesic_degrees

N_CANDIDATES, N_VOTERS = 400, 1000
"""Images that propose, and images that judge, the first global rotation; evenly spread over the set."""
VOTE_WIDTH, FIT_WIDTH = 15.0, 12.0
"""Degrees beyond which an image hardly counts, in the vote and in the fit: outliers do not move the alignment."""
FEWEST = 40
"""Of a map with many symmetric copies, which are all tried, fewer images propose and judge, but no fewer than this."""
FIT_STEPS = 30  # reweighted means; no comparison recorded
ORTHOGONAL = 1e-3  # as for poses in files


@dataclass(frozen=True)
class PoseErrors:
    """Rotation errors of a set of images."""

    median: float
    """Degrees."""
    mean: float
    """Degrees."""
    share_within_5: float
    """Share of the images less than 5 degrees off, 0 to 1."""
    share_within_10: float


@dataclass(frozen=True)
class PoseAlignment:
    """The global rotation R and hand that bring estimated poses onto the true ones.

    Hand +1: ``A_true = A_est R^T``. Hand -1: ``A_true = diag(-1, -1, 1) A_est R^T``, the poses at which the mirror
    image (inverted through the origin) gives the same projections. R and hand are those of the map's alignment.
    """

    rotation: Tensor
    """R, (3, 3) float64, proper."""
    hand: int
    errors_deg: Tensor
    """Geodesic error of every image after the alignment, (n,) float64, in degrees; of a symmetric map that of the
    nearest copy."""
    matched: Tensor
    """Estimated poses as they stand, each in its copy that is nearest to the true pose, (n, 3, 3) float64."""

    def summary(self) -> PoseErrors:
        """Median, mean and shares of the errors."""
        e = self.errors_deg
        within_5, within_10 = (float((e < limit).double().mean()) for limit in (5, 10))
        return PoseErrors(float(e.quantile(0.5)), float(e.mean()), within_5, within_10)

    def apply(self, rotation: Tensor) -> Tensor:
        """Turn estimated poses (n, 3, 3) into the true map's frame."""
        return aligned_poses(rotation, self.rotation, self.hand)


@dataclass(frozen=True)
class ShiftErrors:
    """Errors of in-plane shifts after the best common translation of the map."""

    rms: float
    """Å, root mean square of the error's length."""
    median: float
    """Å."""
    translation: Tensor
    """The common translation that was taken out, Å, x, y, z in the estimated map's frame, (3,)."""


def aligned_poses(rotation: Tensor, global_rotation: Tensor, hand: int) -> Tensor:
    """Turn poses (n, 3, 3) of a map into those of the map it was aligned to by a global rotation and hand."""
    turned = rotation.double() @ global_rotation.to(rotation.device).double().mT
    flip = torch.tensor([hand, hand, 1.0], dtype=turned.dtype, device=turned.device)
    return flip[:, None] * turned


def align_poses(estimated: Tensor, true: Tensor, group: Tensor | None = None) -> PoseAlignment:
    """Find the global rotation and hand that bring most estimated poses near the true ones.

    Robust: some images propose the rotation that would make them exact, all judge it by ``exp(-(error / 15)^2)``, and
    the winner is refined by a weighted mean rotation. Half the images may be wrong without harm.

    Parameters
    ----------
    estimated, true
        Rotation matrices A, (n, 3, 3), of the same images in the same order.
    group
        Point group of the estimated map, (m, 3, 3), in the frame of its poses: A and A S give the same image, so the
        copy that is nearest to the truth counts.

    Raises
    ------
    ShapeError
        If the two are not (n, 3, 3) with one n of at least 1.
    ResmfnError
        If a matrix is not a rotation.
    """
    _require_rotations(estimated, true)
    copies = torch.eye(3, dtype=torch.float64)[None] if group is None else group.double()
    fits = []
    for hand in (1, -1):
        mirrored = aligned_poses(estimated, torch.eye(3, dtype=torch.float64), hand)
        relative = true.double().mT @ mirrored  # R of each image alone; a point group is the same in either hand
        rotation = _mode(relative, copies)
        nearest = _nearest_copy(relative, copies, rotation)
        errors = geodesic_degrees(relative @ copies[nearest], rotation)
        alignment = PoseAlignment(rotation, hand, errors, estimated.double() @ copies[nearest])
        fits.append((float(_votes(errors, VOTE_WIDTH).mean()), alignment))
    return max(fits, key=lambda fit: fit[0])[1]


def shift_error(estimated_rotation: Tensor, estimated_shift: Tensor, true_shift: Tensor) -> ShiftErrors:
    """Compare shifts, but for a common translation of the map, which moves every image by ``(A t)_xy``.

    Parameters
    ----------
    estimated_rotation
        A, (n, 3, 3), as estimated: the translation is seen through these. Either hand.
    estimated_shift, true_shift
        (rlnOriginXAngst, rlnOriginYAngst), (n, 2), in Å.

    Raises
    ------
    ShapeError
        If the numbers of images differ.
    """
    n = len(estimated_rotation)
    for name, shift in (("estimated", estimated_shift), ("true", true_shift)):
        if tuple(shift.shape) != (n, 2):
            raise ShapeError(f"{name} shifts of {n} images must have shape ({n}, 2), got {tuple(shift.shape)}")
    seen = estimated_rotation.double().cpu()[:, :2].reshape(-1, 3)
    difference = (estimated_shift.double() - true_shift.double()).cpu().reshape(-1, 1)
    translation = torch.linalg.lstsq(seen, difference, driver="gelsd").solution
    length = torch.linalg.vector_norm((difference - seen @ translation).reshape(-1, 2), dim=-1)
    return ShiftErrors(float(length.square().mean().sqrt()), float(length.quantile(0.5)), translation[:, 0])


def _mode(relative: Tensor, copies: Tensor) -> Tensor:
    """Rotation around which most of (n, 3, 3) lie, each in its nearest copy; (3, 3)."""
    n = len(copies)
    candidates = _spread(relative, max(N_CANDIDATES // n, FEWEST))
    voters = _spread(relative, max(N_VOTERS // n, 2 * FEWEST))
    turned = voters[:, None] @ copies
    votes = torch.stack([_votes(geodesic_degrees(turned, c).amin(-1), VOTE_WIDTH).mean() for c in candidates])
    rotation = candidates[votes.argmax()]
    for _ in range(FIT_STEPS):
        near = relative @ copies[_nearest_copy(relative, copies, rotation)]
        weight = _votes(geodesic_degrees(near, rotation), FIT_WIDTH)
        rotation = _nearest_rotation(torch.einsum("n,nij->ij", weight, near))
    return rotation


def _nearest_copy(relative: Tensor, copies: Tensor, rotation: Tensor) -> Tensor:
    """Index (n,) of the copy of each of (n, 3, 3) that is nearest to a rotation: the trace grows as the angle falls."""
    return torch.einsum("nij,mjk,ik->nm", relative, copies, rotation).argmax(-1)


def _votes(errors_deg: Tensor, width: float) -> Tensor:
    return torch.exp(-((errors_deg / width) ** 2))


def _spread(x: Tensor, n: int) -> Tensor:
    """At most ``n`` rows, evenly spread."""
    return x[torch.linspace(0, len(x) - 1, min(n, len(x)), dtype=torch.float64, device=x.device).round().long()]


def _nearest_rotation(matrix: Tensor) -> Tensor:
    """Proper rotation nearest to a matrix (orthogonal Procrustes)."""
    u, _, vh = torch.linalg.svd(matrix)
    sign = torch.ones(3, dtype=matrix.dtype, device=matrix.device)
    sign[2] = torch.sign(torch.linalg.det(u @ vh))
    return (u * sign) @ vh


def _require_rotations(estimated: Tensor, true: Tensor) -> None:
    n = len(estimated) if estimated.ndim else 0
    for name, rotation in (("estimated", estimated), ("true", true)):
        if n < 1 or tuple(rotation.shape) != (n, 3, 3):
            raise ShapeError(
                f"{name} poses must have shape (n, 3, 3), with one n >= 1 for both sets, got {tuple(rotation.shape)}"
            )
        identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        bad = (rotation @ rotation.mT - identity).abs().amax((-1, -2)) > ORTHOGONAL
        bad |= ~(torch.linalg.det(rotation) > 0)  # also true of NaN
        if bool(bad.any()):
            raise ResmfnError(
                f"{name} poses must be proper rotation matrices, but number {int(bad.nonzero()[0])} of {n} is not"
            )
