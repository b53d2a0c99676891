"""Images of text, made on the spot: words in random fonts, sizes and colors on white."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from resmfn.core.random import spawn

WORDS = tuple(
    """
    above amber anchor band box bridge candle carbon circle cloud coast copper crystal current dawn delta density
    distance ember enzyme field filter forest frequency garden glass grain granite harbor helix horizon image iron
    island kernel ladder lattice lens light linen loop maple marble meadow mirror network night ocean orbit paper
    particle pattern phase pixel planet protein quarry range residual river salt scale season shadow signal silver
    slice spectrum spiral stone summit table thread tide timber valley vector velvet voltage water wave window
    winter
    """.split()  # noqa: SIM905 - as prose it is read, as a list of strings it fills a page
)
N_WORDS = 40
SIZES = (0.03, 0.14)
"""Smallest and largest height of a letter, as a share of the image's side."""
DARKEST, LIGHTEST = 0, 170
"""Range of each color channel: far enough from the white that a word stands on."""


def text_image(index: int, size: int = 512) -> Tensor:
    """Draw the text image of that number: the same words, places and colors each time.

    Fonts are those that matplotlib brings along, so that the image is the same on every machine with its version.

    Returns
    -------
    Tensor
        (size, size, 3) float32, 0 to 1.
    """
    generator = spawn(0, "generated text", index)
    fonts = _font_files()
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(N_WORDS):
        u = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        word, font_file = WORDS[int(u[0] * len(WORDS))], fonts[int(u[1] * len(fonts))]
        height = size * SIZES[0] * (SIZES[1] / SIZES[0]) ** u[2]
        color = tuple(int(DARKEST + v * (LIGHTEST - DARKEST)) for v in u[3:6])
        font = ImageFont.truetype(str(font_file), height)
        place = (u[6] * 1.2 * size - 0.2 * size, u[7] * size - height / 2)
        draw.text(place, word, font=font, fill=color)
    return torch.from_numpy(np.array(image)).to(torch.float32) / 255


def _font_files() -> list[Path]:
    """Latin text fonts of the installed matplotlib, found without importing it."""
    spec = find_spec("matplotlib")
    folders = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(folders or [""]))) / "mpl-data" / "fonts" / "ttf"
    return sorted(
        f for f in folder.glob("*.ttf") if f.stem.startswith(("DejaVuS", "STIXGeneral")) and "Display" not in f.stem
    )
