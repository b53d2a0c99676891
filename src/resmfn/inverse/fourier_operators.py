"""Operators that act on a field's Fourier transform: sampled frequencies, convolutions, and central slices of a map.

Transforms are centered as everywhere in the package: index ``N // 2`` is the origin and the zero frequency.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resmfn.inverse.linear_operator import LinearOperator, Multiplication, Space, like
from resmfn.physics.ctf import compute_ctf
from resmfn.physics.optics import Optics
from resmfn.physics.projection import FourierSliceProjector, insert_slices, padded_transform_adjoint


class FourierSampling(LinearOperator):
    """Fourier coefficients of a field at chosen frequencies, as an undersampled MRI scan measures them.

    The transform is unitary, so the operator's norm is 1.

    Parameters
    ----------
    chosen
        Boolean, the field's shape: the frequencies that are measured, zero frequency at ``N // 2`` on each axis. The
        data are a vector of as many complex numbers, in the order of ``chosen.nonzero()``.
    is_complex
        Whether fields are complex; they are real by default.
    """

    def __init__(self, chosen: Tensor, *, is_complex: bool = False) -> None:
        super().__init__(Space(tuple(chosen.shape), is_complex), Space((int(chosen.sum()),), is_complex=True))
        self.chosen = chosen

    def _apply(self, field: Tensor) -> Tensor:
        return _centered(torch.fft.fftn, field)[self.chosen.to(field.device)]

    def _adjoint(self, data: Tensor) -> Tensor:
        chosen = self.chosen.to(data.device)
        spectrum = torch.zeros(chosen.shape, dtype=data.real.dtype.to_complex(), device=data.device)
        return _centered(torch.fft.ifftn, spectrum.masked_scatter(chosen, data.to(spectrum.dtype)))


class Convolution(LinearOperator):
    """Convolution of a real field around the box's borders: a product with a transfer function.

    Parameters
    ----------
    transfer
        Real or complex, the field's shape, zero frequency at ``N // 2``. Of the result the real part is kept, which for
        a Hermitian transfer function is all.
    """

    def __init__(self, transfer: Tensor) -> None:
        super().__init__(Space(tuple(transfer.shape)), Space(tuple(transfer.shape)))
        self.transfer = transfer

    @classmethod
    def with_kernel(cls, kernel: Tensor) -> Convolution:
        """Return the convolution with a point spread function of the field's shape, its origin at ``N // 2``."""
        return cls(torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(kernel))))

    def _apply(self, field: Tensor) -> Tensor:
        return _centered(torch.fft.ifftn, _centered(torch.fft.fftn, field) * like(self.transfer, field)).real

    def _adjoint(self, data: Tensor) -> Tensor:
        return _centered(torch.fft.ifftn, _centered(torch.fft.fftn, data) * like(self.transfer, data).conj()).real


class FourierSlices(LinearOperator):
    """Projections of a map at known poses, as Fourier coefficients: central slices of its transform.

    Parameters
    ----------
    box_size
        N, the side of the map (N, N, N) and of the images.
    rotation
        Poses A (n, 3, 3); at an anisotropic magnification the frames of :func:`resmfn.physics.slice_frames`.
    padding
        Zero-padding factor before the trilinear interpolation.
    radius_max
        Largest frequency in Fourier pixels; by default N / 2. :attr:`pixels` are those within.
    """

    def __init__(self, box_size: int, rotation: Tensor, padding: int = 2, radius_max: float | None = None) -> None:
        self.projector = FourierSliceProjector(box_size, padding, radius_max)
        self.rotation = rotation
        self.pixels = self.projector.pixels
        super().__init__(Space((box_size,) * 3), Space((len(rotation), len(self.pixels)), is_complex=True))

    def _apply(self, field: Tensor) -> Tensor:
        return self.projector.slices(self.projector.transform(field), like(self.rotation, field))

    def _adjoint(self, data: Tensor) -> Tensor:
        padding = self.projector.padding
        data = data.to(data.real.dtype.to_complex())
        size = padding * self.projector.box_size
        inserted = insert_slices(data, like(self.rotation, data), self.pixels.to(data.device), size, padding)
        return padded_transform_adjoint(inserted, padding)


def ctf_operator(optics: Optics, pixels: Tensor, pixel_size: float, box_size: int) -> Multiplication:
    """Return the multiplication of Fourier coefficients (n, P) by each image's CTF.

    Parameters
    ----------
    optics
        One entry an image; a magnification is in the CTF, and must be in the slices too.
    pixels
        int64 (P, 2): (kx, ky), for instance :attr:`FourierSlices.pixels`.
    pixel_size, box_size
        Å, and the images' side in pixels.
    """
    frequencies = pixels.to(optics.voltage) / (box_size * pixel_size)
    ctf = compute_ctf(optics, frequencies)
    return Multiplication(ctf, Space(tuple(ctf.shape), is_complex=True))


def _centered(transform: Callable[..., Tensor], values: Tensor) -> Tensor:
    """Apply a unitary transform over all axes, origin at the middle before and after."""
    return torch.fft.fftshift(transform(torch.fft.ifftshift(values), norm="ortho"))
