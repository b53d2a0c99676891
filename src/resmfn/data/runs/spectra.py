"""Spectra of the scales of a fit, on disk, for figures."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError, atomic_write
from resmfn.data.runs.arrays import read_arrays


@dataclass(frozen=True)
class ScaleSpectra:
    """Amplitudes of every scale's image, and of the true one, with the bands that the scales may use."""

    scales: Tensor  #: (n_scales, height, width) log10 of the amplitude, frequency 0 at N // 2
    truth: Tensor  #: (height, width), likewise
    half_widths: Tensor  #: (n_scales,) largest frequency on any axis, cycles per box
    extents: Tensor  #: (2,) height and width of the images in boxes: pixel j of an axis is (j - N // 2) / extent cycles


def write_spectra(path: str | os.PathLike[str], spectra: ScaleSpectra) -> None:
    """Write spectra as .npz in half precision, three digits."""
    arrays = {
        "scales": spectra.scales.cpu().numpy().astype(np.float16),
        "truth": spectra.truth.cpu().numpy().astype(np.float16),
        "half_widths": spectra.half_widths.cpu().numpy(),
        "extents": spectra.extents.cpu().numpy(),
    }
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read_spectra(path: str | os.PathLike[str]) -> ScaleSpectra:
    """Read what :func:`write_spectra` wrote, as float32.

    Raises
    ------
    InputError
        If the file is missing, damaged or another one.
    """
    names = ("scales", "truth", "half_widths", "extents")
    found = read_arrays(path, names, "spectra of a fit")
    shape = found["truth"].shape
    if len(shape) != 2 or found["scales"].shape[1:] != shape or found["half_widths"].shape != found["scales"].shape[:1]:
        raise InputError(f"{path}: the shapes of its arrays do not match spectra of a fit; remove it")
    if found["extents"].shape != (2,):
        raise InputError(f"{path}: extents must be two numbers, got the shape {found['extents'].shape}; remove it")
    return ScaleSpectra(*(torch.from_numpy(found[name].astype(np.float32)) for name in names))
