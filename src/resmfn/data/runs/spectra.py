"""Spectra of the scales of a fit, on disk: what figures are drawn from."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError, atomic_write


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
    try:
        with np.load(Path(path), allow_pickle=False) as archive:
            names = ("scales", "truth", "half_widths", "extents")
            return ScaleSpectra(*(torch.from_numpy(archive[n].astype(np.float32)) for n in names))
    except FileNotFoundError:
        raise InputError(f"no spectra at {path}: the file does not exist") from None
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no spectra of a fit ({error})") from None
