"""Alignment of two maps: rotation, shift and hand.

An exhaustive search at low resolution is followed by gradient ascent at rising resolution, for both hands: projections
cannot tell a structure from its mirror image, so a map from particle images has either hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from resmfn.core.errors import ResmfnError, ShapeError
from resmfn.evaluation.alignment.rotation_search import Candidates, MapPair, exhaustive_search, join, refine
from resmfn.fourier.grids import centered_indices, radius_grid
from resmfn.fourier.masks import soft_sphere
from resmfn.fourier.resize import resize_map
from resmfn.fourier.transforms import fftn_centered, ifftn_centered

SEARCH_BOX = 128
"""Larger boxes are searched at this size: finer detail does not improve the angles."""
SMALLEST_BOX = 8  # fewer voxels hold no three shells
MASK_RADIUS, MASK_EDGE = 0.42, 0.06
"""Sphere that the search looks inside, as fractions of the box."""
STARTS, STARTS_SECOND = 12, 3
"""Candidates of each hand refined at the low and at the doubled resolution."""
REFINE_STEPS = 10  # Levenberg-Marquardt steps; no comparison recorded
SMALLEST_CORRELATION, LARGEST_CORRELATION = 0.1, 0.95
"""Shells that agree less are left out of a refinement; those that agree more weigh no more (f / (1 - f^2) explodes)."""
MOST_POINTS = 20_000
"""Most coefficients that a refinement uses, evenly thinned. Other values were not compared."""
SHELLS_ALWAYS = 4
"""The lowest shells are never left out."""


@dataclass(frozen=True)
class MapAlignment:
    """How one map lies in the frame of another: ``aligned(x) = moving(hand R^T x + shift)``.

    Positions are x, y, z in Å from voxel N // 2. So with G = hand R, ``moving(v) = reference(G v)`` but for the shift.
    """

    rotation: Tensor
    """R, (3, 3) float64, proper."""
    shift: Tensor
    """Å, x, y, z in the moving map's frame, (3,) float64."""
    hand: int
    """+1, or -1 where the moving map is the mirror image (inverted through the origin)."""
    score: float
    """Correlation of the whitened coefficients, weighted as in the last refinement, -1 to 1."""
    score_other_hand: float
    """The same for the best alignment of the other hand."""
    pixel_size: float
    """Å per voxel of the maps that were aligned."""


@contextmanager
def _single_thread() -> Iterator[None]:
    """Run on one core: the many small operations gain nothing from two, and waste seconds where others use the second.

    The answer then does not depend on the number of cores either.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def align_maps(moving: Tensor, reference: Tensor, pixel_size: float) -> MapAlignment:
    """Find the rotation, shift and hand that turn ``moving`` into ``reference``: see :func:`align_both_hands`."""
    return align_both_hands(moving, reference, pixel_size)[0]


@_single_thread()
def align_both_hands(moving: Tensor, reference: Tensor, pixel_size: float) -> tuple[MapAlignment, MapAlignment]:
    """Find the rotation and shift that turn ``moving``, or its mirror image, into ``reference``; the better hand first.

    Parameters
    ----------
    moving, reference
        Maps, (N, N, N), of one voxel size; gray scales and filters may differ. The molecule must lie mostly inside
        the sphere that the box holds; shifts up to a third of the box are searched.
    pixel_size
        Å per voxel.

    Raises
    ------
    ShapeError
        If the maps are not cubes of one size.
    ResmfnError
        If a map is constant inside the sphere or has values that are not finite.

    Notes
    -----
    Grid over SO(3): Alexa, CVPR 2022. Shells are whitened, so that low frequencies do not drown the others; the last
    ascent weighs each shell by f / (1 - f^2), f its correlation so far: the likelihood's weight for noise in one map.
    """
    _require_alignable(moving, reference)
    box_size = moving.shape[-1]
    work_size = min(box_size, SEARCH_BOX)
    moving, reference = (resize_map(v.detach().cpu(), work_size) for v in (moving, reference))
    mask = soft_sphere(work_size, MASK_RADIUS * work_size, MASK_EDGE * work_size, dtype=reference.dtype)
    reference = _scaled((reference - reference.mean()) * mask)
    low = min(max(2.0 * work_size / molecule_radius(reference), 4.0), 8.0, work_size / 2 - 2)
    moving = _scaled(moving - moving.mean())
    pair = MapPair(moving * mask, reference)
    found = exhaustive_search(pair, low, reach=work_size / 3, keep=STARTS, separation_deg=15.0)
    points = pair.points(1.0, low)
    found = refine(pair, found, points, torch.ones_like(points[:, 0]), REFINE_STEPS)
    offset = _whole_voxels(found.best(1, _better_hand(found)))
    moving = torch.roll(moving, tuple((-offset).flip(0).tolist()), (0, 1, 2))
    pair = MapPair(moving * mask, reference)
    found = _recentered(found, offset)
    largest = work_size // 2 - 1
    for radius, keep in ((min(int(2 * low), largest), STARTS_SECOND), (largest, 1), (largest, 1)):
        points, weight = _agreeing_points(pair, found.best(1, _better_hand(found)), radius)
        found = refine(pair, join(found.best(keep, 1), found.best(keep, -1)), points, weight, REFINE_STEPS)
    hand = _better_hand(found)
    pixel = pixel_size * box_size / work_size
    return _alignment(found, hand, offset, pixel, pixel_size), _alignment(found, -hand, offset, pixel, pixel_size)


def _alignment(found: Candidates, hand: int, offset: Tensor, pixel: float, pixel_size: float) -> MapAlignment:
    """Return the best alignment of one hand; ``pixel`` is that of the search, ``pixel_size`` of the maps, in Å."""
    best = found.best(1, hand)
    rotation = best.rotation[0].double()
    shift = hand * best.translation[0].double() @ rotation + offset
    other = float(found.best(1, -hand).score[0])
    return MapAlignment(rotation, shift * pixel, hand, float(best.score[0]), other, pixel_size)


def correlation_after_alignment(moving: Tensor, reference: Tensor, pixel_size: float) -> float:
    """Return the correlation of two maps (N, N, N) after alignment in either hand; 0 if one is empty."""
    if not (bool(moving.any()) and bool(reference.any())):
        return 0.0
    moved = apply_alignment(moving, align_maps(moving, reference, pixel_size))
    return float(torch.corrcoef(torch.stack((moved.flatten(), reference.flatten())))[0, 1])


def apply_alignment(moving: Tensor, alignment: MapAlignment) -> Tensor:
    """Resample a map in the frame of the reference it was aligned to; (N, N, N), dtype and device kept.

    The map is sampled twice as finely (Fourier padding) and interpolated by cubic splines, so that shells keep their
    phases to Nyquist. Frequencies outside the sphere of Nyquist radius are dropped: turned, the corners of the Fourier
    cube would fall outside it. Voxels that come from outside the box are 0.
    """
    box_size = moving.shape[-1]
    if moving.ndim != 3 or len(set(moving.shape)) != 1:
        raise ShapeError(f"a map must be a cube, got shape {tuple(moving.shape)}")
    volume = moving.detach().cpu().double()
    inside = radius_grid(box_size, 3, dtype=volume.dtype) <= box_size / 2
    volume = ifftn_centered(fftn_centered(volume) * inside).real
    fine = resize_map(volume, 2 * box_size).numpy()
    axis = centered_indices(box_size, dtype=volume.dtype)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    position = torch.stack((x, y, z), -1).reshape(-1, 3) @ (alignment.hand * alignment.rotation.cpu().double())
    position = (position + alignment.shift.cpu() / alignment.pixel_size) * 2 + box_size
    values = map_coordinates(fine, position.flip(-1).T.numpy(), order=3, mode="constant")
    return torch.from_numpy(values).reshape(moving.shape).to(moving)


def molecule_radius(volume: Tensor) -> float:
    """Radius in voxels of the ball that has the radius of gyration of the map's squared values; (N, N, N) centered."""
    box_size = volume.shape[-1]
    power = volume.square()
    radius = radius_grid(box_size, 3, volume.device, volume.dtype)
    gyration = float(((power * radius.square()).sum() / power.sum()).sqrt())
    return max(gyration * (5 / 3) ** 0.5, 1.0)


def _agreeing_points(pair: MapPair, best: Candidates, radius: int) -> tuple[Tensor, Tensor]:
    """Frequencies up to a radius that an alignment already makes agree, and their weights f / (1 - f^2)."""
    agreement = pair.shell_correlation(best, radius).clamp(0, LARGEST_CORRELATION)
    agreement[:SHELLS_ALWAYS] = agreement[:SHELLS_ALWAYS].clamp(min=SMALLEST_CORRELATION)
    points = pair.points(1.0, radius)
    agreement = agreement[torch.linalg.vector_norm(points, dim=-1).round().long()]
    kept = agreement >= SMALLEST_CORRELATION
    every = -(-int(kept.sum()) // MOST_POINTS)
    return points[kept][::every], (agreement / (1 - agreement.square()))[kept][::every]


def _better_hand(found: Candidates) -> int:
    return int(found.hand[found.score.argmax()])


def _whole_voxels(best: Candidates) -> Tensor:
    """Where the moving map's molecule stands, to the nearest voxel; (3,) int64, x, y, z."""
    return (best.hand[0] * best.translation[0] @ best.rotation[0]).round().long()


def _recentered(found: Candidates, offset: Tensor) -> Candidates:
    """Candidates of the same alignments after the moving map has been rolled back by ``offset``."""
    turned = found.hand[:, None] * (found.rotation @ offset.to(found.rotation))
    return Candidates(found.rotation, found.translation - turned, found.hand, found.score)


def _scaled(volume: Tensor) -> Tensor:
    return volume / volume.std()


def _require_alignable(moving: Tensor, reference: Tensor) -> None:
    for name, volume in (("moving map", moving), ("reference", reference)):
        if volume.ndim != 3 or len(set(volume.shape)) != 1:
            raise ShapeError(f"the {name} must be a cube, got shape {tuple(volume.shape)}")
        if volume.shape[0] < SMALLEST_BOX:
            raise ShapeError(f"the {name} must have at least {SMALLEST_BOX} voxels a side, got {volume.shape[0]}")
        if not bool(volume.isfinite().all()):
            raise ResmfnError(f"the {name} has values that are not finite: repair it before it is aligned")
        if float(volume.max()) == float(volume.min()):
            raise ResmfnError(f"the {name} is constant ({float(volume.max()):g} everywhere): there is nothing to align")
    if moving.shape != reference.shape:
        raise ShapeError(
            f"both maps must have one box size, got {moving.shape[0]} and {reference.shape[0]}: resample one of them"
        )
