"""How near a map and its poses come to the truth, by the formulas of docs/conventions.md and without a line of resmfn.

    python benchmarks/independent/score.py MAP TRUTH --star particles.star --true-star particles_true.star --json OUT

A map from projections has its own frame, place and hand. All rotations of a grid, either hand, are tried on small boxes
at low resolution, each at all shifts; the best are refined with the whole map by the correlation in real space. Then
the FSC is taken. Poses are aligned apart from the map, by the rotation that most images agree on. The output is JSON:
``unmasked`` and ``masked`` with ``fsc05`` and ``fsc0143`` in A and the ``curve``; ``hand``; ``pose`` with ``median``,
``mean`` (degrees), ``lt10`` (share) and ``n``; ``shift`` with ``rms`` (A).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conventions import ANGLES, ORIGIN, crossing, fsc, matrices, read_columns, read_map, read_names
from scipy import fft, ndimage, optimize
from scipy.spatial.transform import Rotation

SMALL = 24
"""Voxels a side of the boxes on which all rotations are tried."""
STEP = 18.0
"""Degrees between them."""
KEPT = 4
"""Of each hand that are refined."""


class Climb(NamedTuple):
    """How a place is refined: order of the interpolation, voxels of the first steps, and how many steps."""

    order: int
    reach: float
    steps: int


SMALL_CLIMB, MIDDLE_CLIMB, WHOLE_CLIMB = Climb(1, 2.5, 250), Climb(3, 1.0, 150), Climb(3, 0.4, 120)
Place = tuple[np.ndarray, np.ndarray]
"""A rotation, and a shift x, y, z."""


def resampled(volume: np.ndarray, size: int) -> np.ndarray:
    """Crop or pad a cube's transform to another number of voxels; the origin stays at N // 2."""
    n, m = len(volume), min(len(volume), size)
    transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume)))
    wide = np.zeros((size,) * 3, complex)
    old, new = slice(n // 2 - m // 2, n // 2 - m // 2 + m), slice(size // 2 - m // 2, size // 2 - m // 2 + m)
    wide[new, new, new] = transform[old, old, old]
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(wide)).real) * (size / n) ** 3


def mirrored(volume: np.ndarray) -> np.ndarray:
    """Return V(-r); the planes of an even box that have no mate stay."""
    flipped = volume[::-1, ::-1, ::-1]
    return flipped if len(volume) % 2 else np.roll(flipped, 1, axis=(0, 1, 2))


def turned(volume: np.ndarray, rotation: np.ndarray, shift: np.ndarray, order: int) -> np.ndarray:
    """Return V(R^T (r - s)), r from voxel N // 2; rotation and shift (voxels) in x, y, z."""
    matrix = rotation.T[::-1, ::-1]  # of z, y, x
    center = np.full(3, len(volume) // 2)
    return ndimage.affine_transform(volume, matrix, center - matrix @ (center + shift[::-1]), order=order)


def ball(size: int, radius: float, edge: float) -> np.ndarray:
    """Return a soft sphere: 1 up to the radius, 0 from the edge on; voxels."""
    k = np.arange(size) - size // 2
    r = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((r - radius) / edge, 0, 1))


def grid_of_rotations(step: float) -> np.ndarray:
    """Return rotations (n, 3, 3) about a step apart: rings of views, and turns about each."""
    angles = []
    for tilt in np.arange(step / 2, 180, step):
        n = max(1, round(360 * np.sin(np.radians(tilt)) / step))
        angles += [(rot, tilt, psi) for rot in np.arange(n) * 360 / n for psi in np.arange(0, 360, step)]
    return matrices(np.array(angles))


def coarse_matches(volume: np.ndarray, truth: np.ndarray, rotations: np.ndarray) -> list[tuple[float, int, np.ndarray]]:
    """Return correlation, index and shift (voxels x, y, z) of every rotation at its best shift."""
    size, target = len(truth), fft.rfftn(truth).conj()
    found = []
    for i, rotation in enumerate(rotations):
        image = turned(volume, rotation, np.zeros(3), 1)
        spread = image.std()
        score = fft.irfftn(fft.rfftn(image) * target, truth.shape)
        best = np.array(np.unravel_index(score.argmax(), score.shape))
        shift = -((best + size // 2) % size - size // 2)[::-1]
        found.append((float(score.max() / spread) if spread > 0 else -np.inf, i, shift.astype(float)))
    return sorted(found, key=lambda entry: -entry[0])


def refined(volume: np.ndarray, truth: np.ndarray, start: Place, climb: Climb) -> tuple[float, Place]:
    """Climb from a rotation and shift (voxels x, y, z); return the correlation in a ball, and where it is."""
    size, center = len(truth), len(truth) // 2
    points = np.argwhere(ball(size, 0.42 * size, 1) > 0.5).T - center  # z, y, x
    target = truth[tuple(points + center)]
    target = (target - target.mean()) / target.std()
    spline = ndimage.spline_filter(volume, order=3) if climb.order == 3 else volume

    def place(change: np.ndarray) -> Place:
        # A turn of 1 moves the rim of the box by half a voxel: all six numbers are alike in effect.
        return Rotation.from_rotvec(change[:3] / size).as_matrix() @ start[0], start[1] + change[3:]

    def loss(change: np.ndarray) -> float:
        rotation, shift = place(change)
        seen = rotation.T[::-1, ::-1] @ (points - shift[::-1, None]) + center
        moved = ndimage.map_coordinates(spline, seen, order=climb.order, prefilter=False)
        return -float((moved - moved.mean()) @ target / (moved.std() * len(target) + 1e-300))

    simplex = climb.reach * np.vstack((np.zeros(6), np.eye(6)))
    options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-7, "maxfev": climb.steps}
    best = optimize.minimize(loss, np.zeros(6), method="Nelder-Mead", options=options)
    return -best.fun, place(best.x)


def align(volume: np.ndarray, truth: np.ndarray, pixel_size: float) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    """Return the map in the frame of the truth, its hand (1 or -1), and the rotation and shift (A) that it took."""
    size, small = len(truth), min(SMALL, len(truth))
    middle = min(size, 2 * small)
    mask = ball(small, 0.4 * small, 0.1 * small)
    goal = resampled(truth, small)
    goal = (goal - np.median(goal)) * mask
    goal = (goal - goal.mean()) / goal.std()
    rotations = grid_of_rotations(STEP)
    found = []
    for hand in (1, -1):
        own = volume if hand > 0 else mirrored(volume)
        little = resampled(own, small)
        little = (little - np.median(little)) * mask
        tried = coarse_matches(little, goal, rotations)[:KEPT]
        climbed = [refined(little, goal, (rotations[i], shift), SMALL_CLIMB) for _, i, shift in tried]
        _, (rotation, shift) = max(climbed, key=lambda fit: fit[0])
        scaled = (rotation, shift * middle / small)
        found.append((*refined(resampled(own, middle), resampled(truth, middle), scaled, MIDDLE_CLIMB), hand))
    _, (rotation, shift), hand = max(found, key=lambda fit: fit[0])
    own, shift = volume if hand > 0 else mirrored(volume), shift * size / middle
    if middle < size:
        _, (rotation, shift) = refined(own, truth, (rotation, shift), WHOLE_CLIMB)
    fine = turned(resampled(own, 2 * size), rotation, 2 * shift, 3)  # twice as fine: a spline damps what it resamples
    return resampled(fine, size), hand, rotation, shift * pixel_size


def pose_errors(estimated: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, int]:
    """Return errors (n,) in degrees after the rotation that most images agree on, for the hand that fits better."""
    fits = []
    for hand in (1, -1):
        own = np.diag([hand, hand, 1.0]) @ estimated
        proposals = np.swapaxes(true, 1, 2) @ own  # A_true = A_est R^T, so each image proposes R^T = A_est^T A_true
        voters = np.linspace(0, len(true) - 1, min(len(true), 200)).round().astype(int)
        votes = [np.exp(-((_angles(own[voters] @ proposals[i].T, true[voters]) / 10) ** 2)).sum() for i in voters]
        rotation = proposals[voters[int(np.argmax(votes))]]
        for _ in range(20):
            errors = _angles(own @ rotation.T, true)
            weight = np.exp(-((errors / 10) ** 2)) + 1e-9
            u, _, vh = np.linalg.svd(np.einsum("n,nij->ij", weight, proposals))
            rotation = u @ np.diag([1, 1, np.linalg.det(u @ vh)]) @ vh
        fits.append((_angles(own @ rotation.T, true), hand))
    return min(fits, key=lambda fit: float(np.median(fit[0])))


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    trace = np.einsum("nij,nij->n", a, b)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def shift_rms(estimated: np.ndarray, pose: np.ndarray, true: np.ndarray) -> float:
    """Return the rms length of the shift errors in A; what another place in the box adds, (A t) in x and y, aside."""
    difference, design = (estimated - true).reshape(-1), pose[:, :2].reshape(-1, 3)
    place = np.linalg.lstsq(design, difference, rcond=None)[0]
    return float(np.sqrt(((difference - design @ place) ** 2).reshape(-1, 2).sum(axis=1).mean()))


def score(given: argparse.Namespace) -> dict[str, object]:
    """Return all figures."""
    volume, _ = read_map(given.map)
    truth, pixel_size = read_map(given.truth)
    volume = volume if len(volume) == len(truth) else resampled(volume, len(truth))
    aligned, hand, rotation, shift = align(volume, truth, pixel_size)
    side = len(truth) * pixel_size
    radius = given.mask_radius / pixel_size if given.mask_radius else 0.42 * len(truth)
    mask = ball(len(truth), radius, 6.0)
    found: dict[str, object] = {"hand": hand, "rotation": rotation.tolist(), "shift_of_map_A": shift.tolist()}
    for name, weight in (("unmasked", 1.0), ("masked", mask)):
        curve = fsc(aligned * weight, truth * weight)
        at = {f"fsc{str(t).replace('.', '')}": crossing(curve, t, side) for t in (0.5, 0.143)}
        found[name] = {**at, "curve": [round(float(value), 5) for value in curve]}
    if given.star and given.true_star:
        row = {name: i for i, name in enumerate(read_names(given.true_star))}
        rows = np.array([row[name] for name in read_names(given.star)])
        pose, true_pose = (
            matrices(read_columns(given.star, ANGLES)),
            matrices(read_columns(given.true_star, ANGLES)[rows]),
        )
        errors, pose_hand = pose_errors(pose, true_pose)
        found["pose"] = {
            "median": float(np.median(errors)),
            "mean": float(errors.mean()),
            "lt10": float((errors < 10).mean()),
            "n": len(errors),
            "hand": pose_hand,
        }
        place, true_place = read_columns(given.star, ORIGIN), read_columns(given.true_star, ORIGIN)[rows]
        found["shift"] = {"rms": shift_rms(place, pose, true_place)}
    return found


def main() -> None:
    """Read the command line, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--star", type=Path, help="poses that were found")
    parser.add_argument("--true-star", type=Path)
    parser.add_argument(
        "--mask-radius", type=float, help="A, of the soft mask of the masked curve [default: 0.42 boxes]"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = score(given)
    text = json.dumps(found)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
