"""Pictures of a fit: every scale's image and Fourier spectrum, at each stage switch and at the end."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from resmfn.core import InputError, atomic_write
from resmfn.data.pictures.files import read_image
from resmfn.data.runs.spectra import ScaleSpectra, read_spectra

FIGURE_NAME, FIELDS, SPECTRA, TARGET = "scales.png", "fields", "spectra.npz", "target.png"
DPI = 110
PANEL = 2.5
"""Inches along a panel's longer side."""
BAND_COLOR = "#ff7f2a"
FLOOR_SHARE = 0.02
"""Share of the true spectrum's points that may lie below the gray scale."""


def draw_fits(run: str | os.PathLike[str]) -> int:
    """Draw ``scales.png`` into every snapshot folder of a fit's run folder; return how many there are.

    Raises
    ------
    InputError
        If the folder holds no fit.
    """
    snapshots = sorted((Path(run) / FIELDS).glob(f"*/epoch_*/{SPECTRA}"))
    if not snapshots:
        raise InputError(f"{run} holds no snapshot of a fit (fields/*/epoch_*)")
    for snapshot in snapshots:
        draw_snapshot(snapshot.parent)
    return len(snapshots)


def draw_snapshot(folder: Path) -> None:
    """Draw images of all scales and the truth above their spectra, each scale's band as a frame."""
    from matplotlib import rc_context

    spectra = read_spectra(folder / SPECTRA)
    images = [read_image(folder / f"scale{i}.png") for i in range(1, len(spectra.scales) + 1)]
    images.append(read_image(folder.parent / TARGET))
    height, width = images[-1].shape[:2]
    aspect = height / width
    panel = (PANEL, PANEL * aspect) if aspect <= 1 else (PANEL / aspect, PANEL)
    with rc_context({"font.size": 9, "axes.titlesize": 9}), atomic_write(folder / FIGURE_NAME) as temporary:
        figure = Figure(figsize=(panel[0] * len(images), 2 * panel[1] + 0.75), layout="constrained")
        figure.suptitle(f"{folder.parent.name}, epoch {int(folder.name.removeprefix('epoch_')):,}", fontsize=10)
        axes = figure.subplots(2, len(images), squeeze=False)
        for column, image in enumerate(images):
            last = column == len(images) - 1
            _show_image(axes[0, column], image, "truth" if last else f"scale {column + 1}")
            _show_spectrum(axes[1, column], spectra, None if last else column)
        figure.savefig(temporary, dpi=DPI, format="png")


def _show_image(axes: Axes, image: Tensor, title: str) -> None:
    axes.imshow(image.squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def _show_spectrum(axes: Axes, spectra: ScaleSpectra, scale: int | None) -> None:
    """Logarithmic amplitudes, frequency 0 in the middle; one gray scale for all, from the original."""
    values = spectra.truth if scale is None else spectra.scales[scale]
    low, high = (float(v) for v in torch.quantile(_thinned(spectra.truth), torch.tensor([FLOOR_SHARE, 1.0])))
    axes.imshow(values.numpy(), cmap="gray", vmin=low - 1, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    if scale is None:
        return
    half_width = float(spectra.half_widths[scale])
    reach = [half_width * float(e) for e in spectra.extents]
    middle = [n // 2 for n in values.shape]
    corner = (middle[1] - reach[1] - 0.5, middle[0] - reach[0] - 0.5)
    size = (2 * reach[1] + 1, 2 * reach[0] + 1)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BAND_COLOR, lw=1.0))
    axes.set_xlabel(f"band: {half_width:.3g} cycles")


def _thinned(values: Tensor) -> Tensor:
    """At most some 100,000 of the values, evenly taken: a quantile needs no more."""
    flat = values.flatten()
    return flat[:: max(1, len(flat) // 100_000)]
