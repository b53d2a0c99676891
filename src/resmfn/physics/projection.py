"""Projections of a map: central slices of its Fourier transform, and sums in real space as their oracle.

The central-slice theorem: the image at pose A has at Fourier pixel (kx, ky) the map's coefficient at A^T (kx, ky, 0).
The transform is that of the zero-padded map, sampled ``padding`` times as finely, so that trilinear interpolation
does; its attenuation, sinc^2 along each axis of the map, is divided out beforehand (as in RELION, Scheres 2012).
Only the pixels that are asked for are computed.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from resmfn.core.errors import ResmfnError, ShapeError
from resmfn.fourier import (
    centered_indices,
    fftn_centered,
    half_plane_pixels,
    ifftn_centered,
    images_from_half_plane,
)
from resmfn.physics.compiled import compiled_loops
from resmfn.physics.trilinear import Points, add_trilinear, gather_trilinear, points_at_a_time, scatter_trilinear

_ZONES = 4
"""Zones of polar angle in :func:`slice_order`; 3 to 8 do as well."""


def padded_transform(volume: Tensor, padding: int = 2) -> Tensor:
    """Return the centered transform of a zero-padded map, ready for :func:`extract_slices`.

    Parameters
    ----------
    volume
        Real ``(N, N, N)`` as [z, y, x].
    padding
        How many times larger the padded box is: M = padding * N.

    Returns
    -------
        Complex ``(M, M, M)``; no factor, so that slices have the scale of ``fft2`` of the projections. Divided by
        the sinc^2 of trilinear interpolation. Differentiable.
    """
    box_size = _cubic_size(volume, "volume")
    size = padding * box_size
    before = size // 2 - box_size // 2
    after = size - box_size - before
    corrected = volume * _gridding_correction(volume, padding)
    return fftn_centered(nn.functional.pad(corrected, (before, after) * 3))


def padded_transform_adjoint(transform: Tensor, padding: int = 2) -> Tensor:
    """Return the adjoint of :func:`padded_transform`: real ``(N, N, N)`` from complex ``(M, M, M)``.

    For every real x and complex g: the real part of <padded_transform(x), g> is <x, padded_transform_adjoint(g)>.
    """
    size = _cubic_size(transform, "transform")
    box_size = size // padding
    before = size // 2 - box_size // 2
    inside = slice(before, before + box_size)
    volume = size**3 * ifftn_centered(transform).real[inside, inside, inside]
    return volume * _gridding_correction(volume, padding)


def extract_slices(transform: Tensor, rotation: Tensor, pixels: Tensor, padding: int = 2) -> Tensor:
    """Return the Fourier coefficients of projections, by trilinear interpolation in the map's transform.

    Parameters
    ----------
    transform
        Complex ``(M, M, M)`` from :func:`padded_transform`.
    rotation
        Poses A ``(n, 3, 3)``.
    pixels
        int64 ``(P, 2)``: (kx, ky) of the unpadded image, at most ``M / (2 padding)`` from the origin (not checked:
        farther ones give extrapolated, meaningless values).
    padding
        The one that the transform was made with.

    Returns
    -------
        Complex ``(n, P)``; differentiable in ``transform`` and ``rotation``.
    """
    points = slice_points(rotation, pixels, padding, _cubic_size(transform, "transform"))
    return gather_trilinear(transform, points).view(rotation.shape[0], pixels.shape[0])


def insert_slices(values: Tensor, rotation: Tensor, pixels: Tensor, size: int, padding: int = 2) -> Tensor:
    """Return the adjoint of :func:`extract_slices`: slices added back into a transform.

    Half of each value goes to the eight voxels around its point, and half of its conjugate to their Friedel
    mates. For every transform T of a real map, the real part of <extract_slices(T), values> is that of
    <T, insert_slices(values)>.

    Parameters
    ----------
    values
        Complex ``(n, P)``.
    rotation, pixels, padding
        As in :func:`extract_slices`.
    size
        M, the side of the padded transform.

    Returns
    -------
        Complex ``(M, M, M)``, the transform of a real map.
    """
    grid = scatter_trilinear(values.reshape(-1), slice_points(rotation, pixels, padding, size), size)
    return 0.5 * (grid + _friedel_mates(grid).conj())


def add_slices(
    sums: tuple[Tensor, Tensor],
    values: Tensor,
    weights: Tensor,
    rotation: Tensor,
    pixels: Tensor,
    padding: int = 2,
) -> None:
    """Add slices and their weights into two transforms in place, without the Friedel mates.

    Where only the real part of the transforms' inverse counts, as in :func:`padded_transform_adjoint`, mates change
    nothing: this is :func:`insert_slices`, of values and of real weights at once, for sums over many images. The
    quotient of the two sums is the local mean of what was inserted.

    Parameters
    ----------
    sums
        Complex and real ``(M, M, M)``.
    values, weights
        Complex and real ``(n, P)``.
    rotation, pixels, padding
        As in :func:`extract_slices`.
    """
    expected = (len(rotation), len(pixels))
    if values.shape != expected or weights.shape != expected or len({*sums[0].shape, *sums[1].shape}) != 1:
        shapes = ", ".join(str(tuple(of_one.shape)) for of_one in (values, weights, *sums))
        raise ShapeError(f"values and weights must be {expected} and sums cubes of one side, got {shapes}")
    loops = compiled_loops(*sums, values, weights, rotation)
    if loops is not None and all(of_one.is_contiguous() for of_one in sums):
        loops.add_slices(sums, values, weights, rotation, pixels, padding)
        return
    step = max(1, points_at_a_time(values.device) // len(pixels))
    for start in range(0, len(rotation), step):
        part = slice(start, start + step)
        points = slice_points(rotation[part], pixels, padding, sums[0].shape[0])
        add_trilinear(sums, (values[part].reshape(-1), weights[part].reshape(-1)), points)


class FourierSliceProjector(nn.Module):
    """Projections of a map by central slices, at any poses.

    Frequencies beyond ``radius_max`` are absent from the images, and so are the Nyquist frequencies of an even box,
    which have no Friedel mate.

    Parameters
    ----------
    box_size
        N, the side of map and images.
    padding
        Zero-padding factor; 2 gives errors of about 1 % of a projection, 3 of 0.5 %.
    radius_max
        Largest frequency in Fourier pixels; by default N / 2.
    """

    pixels: Tensor
    """int64 ``(P, 2)``: the Fourier pixels (kx, ky) that are computed."""

    def __init__(self, box_size: int, padding: int = 2, radius_max: float | None = None) -> None:
        super().__init__()
        if box_size < 2 or padding < 1:
            raise ResmfnError(f"box_size must be at least 2 and padding at least 1, got {box_size} and {padding}")
        self.box_size = box_size
        self.padding = padding
        nyquist = box_size / 2
        pixels = half_plane_pixels(nyquist if radius_max is None else min(radius_max, nyquist))
        self.register_buffer("pixels", pixels[(2 * pixels.abs() < box_size).all(dim=1)], persistent=False)

    def transform(self, volume: Tensor) -> Tensor:
        """Return the padded transform of a map ``(N, N, N)``: the work that all poses share."""
        if tuple(volume.shape) != (self.box_size,) * 3:
            raise ShapeError(f"the projector needs a map of side {self.box_size}, got shape {tuple(volume.shape)}")
        return padded_transform(volume, self.padding)

    def slices(self, transform: Tensor, rotation: Tensor) -> Tensor:
        """Return the coefficients at ``self.pixels`` for poses ``(n, 3, 3)``; complex ``(n, P)``."""
        return extract_slices(transform, rotation, self.pixels.to(transform.device), self.padding)

    def images(self, slices: Tensor) -> Tensor:
        """Return the images ``(n, N, N)`` with these coefficients."""
        return images_from_half_plane(slices, self.pixels.to(slices.device), self.box_size)

    def forward(self, volume: Tensor, rotation: Tensor) -> Tensor:
        """Return projections ``(n, N, N)`` of a map ``(N, N, N)`` at poses A ``(n, 3, 3)``."""
        return self.images(self.slices(self.transform(volume), rotation))


def project_real_space(volume: Tensor, rotation: Tensor, order: int = 1) -> Tensor:
    """Return projections as sums over z of the interpolated map: slow, and free of any Fourier convention.

    Parameters
    ----------
    volume
        Real ``(N, N, N)``; zero outside the box.
    rotation
        Poses A ``(n, 3, 3)``.
    order
        1: trilinear, differentiable in both. 3: cubic splines, far more exact, no gradients.

    Returns
    -------
        ``(n, N, N)``.
    """
    if order not in (1, 3):
        raise ResmfnError(f"order of interpolation must be 1 or 3, got {order}")
    box_size = _cubic_size(volume, "volume")
    axis = centered_indices(box_size, volume.device, volume.dtype)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack((x, y, z), dim=-1)
    sample = _sample_linear if order == 1 else _sample_cubic
    return torch.stack([sample(volume, points @ matrix + box_size // 2).sum(dim=0) for matrix in rotation])


def _sample_linear(volume: Tensor, points: Tensor) -> Tensor:
    """Values at voxel positions (x, y, z), zero outside."""
    normalized = 2 * points / (volume.shape[0] - 1) - 1
    return nn.functional.grid_sample(volume[None, None], normalized[None], align_corners=True)[0, 0]


def _sample_cubic(volume: Tensor, points: Tensor) -> Tensor:
    coefficients = ndimage.spline_filter(volume.detach().cpu().numpy().astype(np.float64), order=3, mode="constant")
    positions = points.detach().cpu().double().flip(-1).movedim(-1, 0).numpy()
    values = ndimage.map_coordinates(coefficients, positions, order=3, mode="constant", prefilter=False)
    return torch.as_tensor(values).to(volume)


def slice_points(rotation: Tensor, pixels: Tensor, padding: int, size: int) -> Points:
    """Return where in the padded transform ``(size, size, size)`` the pixels of each image lie; ``n * P`` points.

    Not a matrix product, which a GPU may be allowed to round to ten bits.
    """
    kx, ky = (padding * pixels).to(rotation).unbind(dim=1)
    first, second = rotation[:, :2, :, None].permute(1, 2, 0, 3)  # (axis, n, 1)
    return Points(*(kx * first).addcmul(ky, second).add(size // 2).flatten(1))


def slice_frames(rotation: Tensor, magnification: Tensor) -> Tensor:
    """Return frames ``(n, 3, 3)`` to slice in place of poses, at magnifications M ``(n, 2, 2)``.

    Their first two rows, ``M^T A[:2]``, lead the image's frequency k to A^T (M k, 0). Symmetry operators act on them
    from the right, as they do on poses.
    """
    first, second = rotation[:, 0], rotation[:, 1]
    m = magnification.to(rotation)[:, :, :, None]
    rows = (m[:, 0, 0] * first + m[:, 1, 0] * second, m[:, 0, 1] * first + m[:, 1, 1] * second)
    return torch.stack((*rows, rotation[:, 2]), dim=1)


def slice_order(rotation: Tensor) -> Tensor:
    """Return the order in which slices at rotations (n, 3, 3) are best read or added one after the other; int64 (n,).

    Slices of like viewing directions, or of opposite ones, run through the same places of the transform, which the
    cache then still holds. Directions are taken by azimuth, within zones of the polar angle.
    """
    view = rotation[:, 2]
    x, y, z = torch.where(view[:, 2:] < 0, -view, view).unbind(dim=1)
    zone = (torch.acos(z.clamp_max(1)) * (_ZONES / (0.5 * math.pi))).floor()
    return (zone * (2 * math.pi) + torch.atan2(y, x)).argsort()


def _friedel_mates(grid: Tensor) -> Tensor:
    """Return the value at -k for every k of a centered ``(M, M, M)`` grid."""
    flipped = grid.flip(0, 1, 2)
    return flipped if grid.shape[0] % 2 else flipped.roll((1, 1, 1), (0, 1, 2))


def _gridding_correction(volume: Tensor, padding: int) -> Tensor:
    """Return 1 / sinc^2 along each axis: what trilinear interpolation in the padded transform attenuates by."""
    box_size = volume.shape[0]
    axis = centered_indices(box_size, volume.device, volume.dtype) / (padding * box_size)
    gain = torch.sinc(axis).square().reciprocal()
    return gain[:, None, None] * gain[:, None] * gain


def _cubic_size(grid: Tensor, name: str) -> int:
    if grid.ndim != 3 or len(set(grid.shape)) != 1:
        raise ShapeError(f"{name} must be a cube (N, N, N), got shape {tuple(grid.shape)}")
    return grid.shape[0]
