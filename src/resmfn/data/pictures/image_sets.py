"""Sets of images to fit, from what a user names: files, folders, the published .npz sets, or a built-in name."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resmfn.core import InputError
from resmfn.data.pictures.files import IMAGE_SUFFIXES, NamedImage, file_stem, read_image
from resmfn.data.pictures.generated_text import text_image

#: scikit-image's own photographs (its extra is ``resmfn[images]``).
PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "hubble": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "moon": "moon.png",
}
#: Photographed print of scikit-image.
PRINT = {"page": "page.png", "print": "text.png"}
N_TEXT_IMAGES = 32
#: Sets with a name of their own; "natural" and "text" are what the published script calls its two.
SETS = ("photographs", "generated-text", "natural", "text")
NPZ_KEYS = ("train_data", "test_data")


def built_in_names() -> tuple[str, ...]:
    """List the names that need no file."""
    return (*SETS, *PHOTOGRAPHS, *PRINT)


def read_image_set(sources: Iterable[str | Path], *, just_one: bool = False) -> list[NamedImage]:
    """Read all images that the sources name, in their order; equal names get a number.

    Parameters
    ----------
    sources
        Each an image file; a folder, whose image files are taken by name; an .npz with ``train_data`` and
        ``test_data`` (n, height, width, channels), uint8; or a built-in name (:func:`built_in_names`).
    just_one
        Read the first image only.

    Raises
    ------
    InputError
        A source is none of these, is empty, or cannot be read.
    """
    found: list[NamedImage] = []
    names: dict[str, int] = {}
    for name, read in _listed(sources):
        names[name] = names.get(name, 0) + 1
        found.append(NamedImage(name if names[name] == 1 else f"{name}_{names[name]}", read()))
        if just_one:
            break
    if not found:
        raise InputError("no image to fit: name files, a folder, an .npz or a built-in set")
    return found


def _listed(sources: Iterable[str | Path]) -> Iterator[tuple[str, partial[Tensor]]]:
    """Yield the name of each image and what reads it."""
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise InputError(f"{path} holds no image file ({', '.join(IMAGE_SUFFIXES)})")
            yield from ((file_stem(f), partial(read_image, f)) for f in files)
        elif path.suffix.lower() == ".npz":
            yield from _published_set(path)
        elif str(source) in built_in_names() and not path.exists():
            yield from _built_in(str(source))
        elif path.exists():
            yield file_stem(path), partial(read_image, path)
        else:
            raise InputError(f"{source} is neither a file nor a built-in name ({', '.join(built_in_names())})")


def _built_in(name: str) -> Iterator[tuple[str, partial[Tensor]]]:
    if name in ("generated-text", "text"):
        yield from ((f"text_{i:02d}", partial(text_image, i)) for i in range(N_TEXT_IMAGES))
        return
    files = PHOTOGRAPHS | PRINT
    for member in PHOTOGRAPHS if name in ("photographs", "natural") else (name,):
        yield member, partial(_read_skimage, files[member])


def _read_skimage(file_name: str) -> Tensor:
    spec = find_spec("skimage")  # found, not imported: importing takes a second, and only its files are wanted
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise InputError("the built-in photographs come with scikit-image: pip install 'resmfn[images]'")
    return read_image(Path(next(iter(folders))) / "data" / file_name)


def _published_set(path: Path) -> Iterator[tuple[str, partial[Tensor]]]:
    """List the images of an .npz of the published implementation: train_data first, then test_data."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in NPZ_KEYS if key in archive.files}
            others = archive.files
    except FileNotFoundError:
        raise InputError(f"no image set at {path}: the file does not exist") from None
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} is not an .npz of plain arrays (it may be damaged, or hold code): {error}") from None
    if not arrays:
        raise InputError(f"{path} must hold {' or '.join(NPZ_KEYS)}, it holds {', '.join(others) or 'nothing'}")
    for key, stack in arrays.items():
        images = _unit_range_stack(stack, f"{path}[{key}]")
        prefix = key.removesuffix("_data")
        yield from ((f"{prefix}_{i:02d}", partial(torch.clone, image)) for i, image in enumerate(images))


def _unit_range_stack(stack: np.ndarray, where: str) -> Tensor:
    """(n, height, width, 1 or 3) float32 in 0 to 1."""
    if stack.ndim == 3:
        stack = stack[..., None]
    if stack.ndim != 4 or stack.shape[3] not in (1, 3) or not len(stack):
        raise InputError(f"{where} must have shape (n, height, width, 1 or 3), got {stack.shape}")
    if stack.dtype == np.uint8:
        return torch.from_numpy(stack).to(torch.float32) / 255
    if not np.issubdtype(stack.dtype, np.floating) or not (np.min(stack) >= 0 and np.max(stack) <= 1):
        raise InputError(f"{where} must be uint8, or floats in 0 to 1, got {stack.dtype}")
    return torch.from_numpy(stack).to(torch.float32)
