"""Whether a file and its stacks, or the parts of a file, say the same of box and pixel size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from resmfn.core import InputError
from resmfn.data.particles.locations import ImageLocations
from resmfn.data.star.metadata import Metadata, find_pixel_sizes

_SAME = 1e-4  # relative difference that is rounding
_HEADER_TOLERANCE = 0.01  # relative; headers are often rounded


def require_agreement(
    path: Path,
    images: ImageLocations,
    box_sizes: np.ndarray | None,
    pixel_sizes: np.ndarray | None,
    *,
    trusts_headers: bool,
) -> None:
    """Compare the box and pixel size that the file states of each image with those of its stack."""
    stored = images.box_sizes
    if box_sizes is not None and (box_sizes != stored).any():
        row = int((box_sizes != stored).argmax())
        raise InputError(
            f"{path}: row {row + 1}: rlnImageSize says {box_sizes[row]} pixels, but the images of "
            f"{images.stacks[images.stack_of[row]]} have {stored[row]}; correct rlnImageSize, or point to the "
            "right stack"
        )
    if pixel_sizes is None or trusts_headers:
        return
    # 0 and 1 are what programs write when they do not know.
    told = np.array([info.pixel_size if info.pixel_size not in (None, 1.0) else np.nan for info in images.infos])
    headers = told[images.stack_of]
    wrong = np.abs(headers - pixel_sizes) > _HEADER_TOLERANCE * pixel_sizes
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}: the pixel size is {pixel_sizes[row]:g} Å there, but {headers[row]:g} Å in the header of "
            f"{images.stacks[images.stack_of[row]]}{_cause(headers[row] / pixel_sizes[row], int(stored[row]))}; correct "
            "the wrong one, or give --pixel-size"
        )


def _cause(ratio: float, box_size: int) -> str:
    """Say what a header's pixel size, that many times the file's, comes from, where it can be told."""
    for factor, cause in ((0.1, "nm in the header"), (1 / box_size, "the header's cell is one pixel's")):
        if abs(ratio - factor) < _HEADER_TOLERANCE * factor:
            return f" ({cause}?)"
    whole = round(max(ratio, 1 / ratio))
    binned = whole > 1 and abs(max(ratio, 1 / ratio) - whole) < _HEADER_TOLERANCE * whole
    return f" ({whole} times: binned images, or a header from before?)" if binned else ""


def require_one_pixel_size(metadata: Metadata, pixel_size: float) -> None:
    """Refuse a pixel size for all where the file says several: images of some groups would be taken for others'."""
    try:
        stated = find_pixel_sizes(metadata)
    except InputError:  # what is given in its place is the way out
        return
    if stated is not None and np.ptp(stated) > _SAME * stated.max():
        found = ", ".join(f"{value:g}" for value in np.unique(stated)[:5])
        raise InputError(
            f"{metadata.path}: --pixel-size {pixel_size:g} cannot stand for pixel sizes of {found} Å; correct "
            "rlnImagePixelSize of each optics group in the file"
        )
