"""Photographs and other images of two dimensions: files in, values in 0 to 1 out, and back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from resmfn.core import InputError, ShapeError, atomic_write

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pnm")
_GREY, _COLOR = 1, 3
_SIXTEEN_BIT = 65535


@dataclass(frozen=True)
class NamedImage:
    """An image and what it is called in tables and folders."""

    name: str
    pixels: Tensor  #: (height, width, channels), 1 channel (gray) or 3 (RGB), float32 in 0 to 1


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file that Pillow knows: gray or color, 8 or 16 bits, palette, with or without alpha.

    Transparent pixels are shown on white; the camera's orientation is applied; of several frames the first is read.
    16-bit gray keeps its depth; 16-bit color is read as 8 bits a channel, as Pillow does.

    Returns
    -------
    Tensor
        (height, width, 1 or 3) float32, 0 to 1.

    Raises
    ------
    InputError
        The file is missing, damaged or not an image, or floating-point values lie outside 0 to 1.
    """
    try:
        with Image.open(path) as file:
            file.load()
            return _to_unit_range(ImageOps.exif_transpose(file), path)
    except FileNotFoundError:
        raise InputError(f"no image at {path}: the file does not exist") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a readable image file") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: the image file is damaged or truncated ({error})") from None


def _to_unit_range(image: Image.Image, path: str | os.PathLike[str]) -> Tensor:
    """Values in 0 to 1 of whatever mode Pillow gave."""
    if image.mode.startswith("I"):  # 16 bits of grey, in one of Pillow's containers for them
        values = np.asarray(image).astype(np.float64) / _SIXTEEN_BIT
    elif image.mode == "F":
        values = np.asarray(image).astype(np.float64)
    else:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        if has_alpha:
            rgba = image.convert("RGBA")
            image_on_white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            image = image_on_white.convert("L" if image.mode in ("LA", "La", "L") else "RGB")
        elif image.mode in ("1", "L"):
            image = image.convert("L")
        else:
            image = image.convert("RGB")
        values = np.asarray(image).astype(np.float64) / 255
    pixels = torch.from_numpy(values)
    if not (torch.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(f"{path}: values must lie in 0 to 1 (floats) or 0 to 65535 (integers); rescale the image")
    return pixels.reshape(image.height, image.width, -1).to(torch.float32)


def write_image(path: str | os.PathLike[str], pixels: Tensor) -> None:
    """Write (height, width, 1 or 3) values of 0 to 1 as an 8-bit PNG; what lies outside is clipped."""
    if pixels.ndim != 3 or pixels.shape[2] not in (_GREY, _COLOR):
        raise ShapeError(f"an image must have shape (height, width, 1 or 3), got {tuple(pixels.shape)}")
    values = (pixels.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    array = values.squeeze(2) if pixels.shape[2] == _GREY else values
    with atomic_write(path) as temporary:
        Image.fromarray(array.numpy()).save(temporary, format="PNG")


def lanczos_resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize (height, width, channels) with a Lanczos window of three lobes, never rounding or clipping values.

    Both images cover the same field: the edge of the first pixel and that of the last stay where they were, also
    where a side is odd.
    """
    channels = [
        np.asarray(Image.fromarray(c.numpy()).resize((width, height), Image.Resampling.LANCZOS))
        for c in pixels.to(torch.float32).cpu().contiguous().unbind(2)
    ]
    return torch.from_numpy(np.stack(channels, axis=2)).to(pixels)


def file_stem(path: Path) -> str:
    """Name of an image file without folder and suffix, safe as the name of a folder."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in path.stem) or "image"
