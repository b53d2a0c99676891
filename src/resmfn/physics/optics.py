"""What the microscope did to each image, in the units of a RELION STAR file."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from resmfn.core.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Contrast transfer parameters, one entry per image: tensors ``(n,)``, all of one length.

    Raises
    ------
    ShapeError
        A field is not one-dimensional or has another length than the others.
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

    def __post_init__(self) -> None:
        shapes = {field.name: tuple(getattr(self, field.name).shape) for field in fields(self)}
        if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
            raise ShapeError(f"all optics must be 1-D and of one length, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.defocus_u)

    def select(self, index: Tensor | slice) -> Optics:
        """Return the optics of some images: a slice, int64 indices or a boolean mask."""
        return Optics(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Optics:
        """Return the same optics on another device or in another precision; None keeps what is."""
        return Optics(**{f.name: getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self)})

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
