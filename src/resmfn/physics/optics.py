"""The optics of each image, in the units of a RELION STAR file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Parameters of image formation, one entry per image: the first axis of every tensor is ``n``.

    The fields after ``amplitude_contrast`` are None where they do not apply.

    Raises
    ------
    ShapeError
        A field has another shape than it must, or another length than the others.
    """

    defocus_u: Tensor
    """Å along ``defocus_angle``; positive is underfocus."""
    defocus_v: Tensor
    """Å at right angles to it."""
    defocus_angle: Tensor
    """Degrees from the x axis towards y."""
    phase_shift: Tensor
    """Degrees (phase plate)."""
    b_factor: Tensor
    """Å^2; the envelope is exp(-B k^2 / 4)."""
    voltage: Tensor
    """kV."""
    spherical_aberration: Tensor
    """mm."""
    amplitude_contrast: Tensor
    """Fraction, 0 to 1."""
    scale: Tensor | None = None
    """Strength of the signal: a factor of the CTF."""
    even_aberration: Tensor | None = None
    """``(n, K)``: coefficients of the even Zernike polynomials, taken from the CTF's phase, in radians."""
    odd_aberration: Tensor | None = None
    """``(n, K)``: coefficients of the odd Zernike polynomials, a phase of the image's transform in radians."""
    magnification: Tensor | None = None
    """``(n, 2, 2)``: M; the image's frequency k is the frequency M k of the specimen."""
    premultiplied: Tensor | None = None
    """Bool: whether the recorded image was multiplied by its CTF."""
    phase_flipped: Tensor | None = None
    """Bool: whether the recorded image's phases were flipped where its CTF is negative."""

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        shapes = {name: tuple(value.shape) for name, value in given.items() if value is not None}
        more = {"even_aberration": 1, "odd_aberration": 1, "magnification": 2}
        lengths = {shape[:1] for shape in shapes.values()}
        if len(lengths) != 1 or any(len(shape) != 1 + more.get(name, 0) for name, shape in shapes.items()):
            raise ShapeError(f"all optics must be 1-D and of one length, got shapes {shapes}")
        if self.magnification is not None and self.magnification.shape[1:] != (2, 2):
            raise ShapeError(f"magnification must have shape (n, 2, 2), got {shapes['magnification']}")

    def __len__(self) -> int:
        return len(self.defocus_u)

    def select(self, index: Tensor | slice) -> Optics:
        """Return the optics of some images: a slice, int64 indices or a boolean mask."""
        return self._changed(lambda value: value[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Optics:
        """Return the same optics on another device or in another precision; None keeps what is."""
        return self._changed(lambda value: value.to(device, None if value.dtype == torch.bool else dtype))

    def with_defocus(self, offset: Tensor) -> Optics:
        """Return the same optics with so many Å (n,) more of defocus along both axes."""
        return replace(self, defocus_u=self.defocus_u + offset, defocus_v=self.defocus_v + offset)

    def undistorted(self) -> Optics:
        """Return the optics of the same images once :mod:`resmfn.physics.recorded` has undone what it can.

        A magnification stays: where in the map a pixel lies is not undone.
        """
        return replace(self, odd_aberration=None, premultiplied=None, phase_flipped=None)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Optics:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in given.items()}
        return Optics(**changed)

    @classmethod
    def uniform(
        cls,
        n: int,
        *,
        defocus: float = 15000.0,
        voltage: float = 300.0,
        spherical_aberration: float = 2.7,
        amplitude_contrast: float = 0.1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Optics:
        """Return ``n`` times the same optics: no astigmatism, no phase plate, no envelope.

        For anything else name all fields, or change some with :func:`dataclasses.replace`.
        """

        def repeated(value: float) -> Tensor:
            return torch.full((n,), value, dtype=dtype, device=device)

        return cls(
            defocus_u=repeated(defocus),
            defocus_v=repeated(defocus),
            defocus_angle=repeated(0.0),
            phase_shift=repeated(0.0),
            b_factor=repeated(0.0),
            voltage=repeated(voltage),
            spherical_aberration=repeated(spherical_aberration),
            amplitude_contrast=repeated(amplitude_contrast),
        )
