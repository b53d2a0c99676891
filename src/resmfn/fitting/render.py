"""A fitted field at any resolution and scale, written as an image or a map."""

from __future__ import annotations

import os
from pathlib import Path

from resmfn.core import InputError, choose_device
from resmfn.data import write_map
from resmfn.data.pictures.files import write_image
from resmfn.fitting.field import FittedField, load_field
from resmfn.networks import LinearFilter

_SUFFIXES = {"image": (".png",), "volume": (".mrc", ".map")}


def render(
    field: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int | None = None,
    pixel_size: float | None = None,
    scale: float | None = None,
    filter: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> tuple[int, ...]:
    """Sample a fitted field and write it.

    Parameters
    ----------
    field
        A field.pt of :func:`fit_image` or :func:`fit_volume`, or what :func:`resmfn.networks.save_network` wrote.
    out
        A .png for an image, a .mrc or .map for a volume.
    size
        Samples along the longer side; None (and no ``pixel_size``) is what the field was fitted to.
    pixel_size
        Instead of ``size``: Å per voxel of a map; for an image, in pixels of the original (0.5 is twice as fine).
    scale
        1 is the coarsest; None the finest; between two (2.5) is a band between theirs.
    filter
        "gaussian:SIGMA", "box:WIDTH" or "lanczos:WIDTH", exact, before sampling; widths in Å for a volume with a
        pixel size, else in pixels of the original.
    device
        "auto", "cpu" or "cuda".
    overwrite
        Whether ``out`` may be replaced.

    Returns
    -------
    tuple of int
        Shape of what was written.

    Raises
    ------
    InputError
        There is no such field or scale, size and pixel size are both given, ``out`` has another file type or
        is there already, or a filter is asked for of a field without whole frequencies.
    """
    path, kernel = Path(out), None if filter is None else LinearFilter.parse(filter)
    if path.exists() and not overwrite:
        raise InputError(f"--out {path}: already exists; give another name, or --overwrite")
    fitted = load_field(field, device=choose_device(device))
    if path.suffix.lower() not in _SUFFIXES[fitted.kind]:
        allowed = " or ".join(_SUFFIXES[fitted.kind])
        raise InputError(f"--out of a field that is an {fitted.kind} must end in {allowed}, got {path.name}")
    shape = _shape(fitted, size, pixel_size)
    values = fitted.sample(shape, scale, kernel)
    if fitted.kind == "image":
        write_image(path, values)
    else:
        write_map(path, values.cpu(), (fitted.pixel_size or 1.0) * fitted.shape[0] / shape[0])
    return shape


def _shape(field: FittedField, size: int | None, pixel_size: float | None) -> tuple[int, ...]:
    """Samples along each axis; the field of view stays."""
    longest = max(field.shape)
    if size is not None and pixel_size is not None:
        raise InputError("--size and --pixel-size exclude each other; give only one")
    if pixel_size is not None:
        if not pixel_size > 0:
            raise InputError(f"--pixel-size must be positive, got {pixel_size:g}")
        own = field.pixel_size if field.kind == "volume" and field.pixel_size else 1.0
        size = max(1, round(longest * own / pixel_size))
    if size is None:
        return field.shape
    if size < 1:
        raise InputError(f"--size must be at least 1, got {size}")
    return tuple(max(1, round(n * size / longest)) for n in field.shape)
