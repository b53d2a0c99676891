"""Plain interpolation beside the fitted fields: half-resolution images enlarged twice, scored as ``fit-image`` scores.

Training pixels, test pixels, PSNR and SSIM are those of ``resmfn fit-image``; only the way between them differs.

    python benchmarks/paper/upsampling.py photos/ --crop 128
    python benchmarks/paper/upsampling.py astronaut
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from scipy.fft import dct, idct
from torch import Tensor

from resmfn.data.pictures.image_sets import read_image_set
from resmfn.evaluation.image_quality import peak_signal_to_noise, structural_similarity
from resmfn.fitting.samples import image_target


def main() -> None:
    """Print one JSON object with the means over the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", help="image files, folders, .npz, or built-in sets")
    parser.add_argument("--crop", type=int, help="side of the central square that is used")
    options = parser.parse_args()
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for image in read_image_set(options.sources):
        target = image_target(image, crop=options.crop)
        small = target.train.as_grid(target.train.values)
        truth = target.test.as_grid(target.test.values)
        for name, enlarge in METHODS.items():
            found = enlarge(small, *target.test.shape)
            scores[name].append((peak_signal_to_noise(found, truth), structural_similarity(found, truth)))
    means = {
        name: {"psnr": round(fmean(p for p, _ in s), 3), "ssim": round(fmean(s for _, s in s), 4)}
        for name, s in scores.items()
    }
    print(json.dumps({"benchmark": "upsampling", "images": len(scores["bicubic"]), "crop": options.crop, **means}))


def bicubic(image: Tensor, height: int, width: int) -> Tensor:
    """Enlarge (h, w, channels) by Pillow's bicubic kernel (a = -0.5), pixel edges aligned."""
    size, kind = (width, height), Image.Resampling.BICUBIC
    channels = [np.asarray(Image.fromarray(c.numpy(), mode="F").resize(size, kind)) for c in image.unbind(-1)]
    return torch.from_numpy(np.stack(channels, axis=-1))


def sinc(image: Tensor, height: int, width: int) -> Tensor:
    """Enlarge (h, w, channels) by its exact band-limited series, mirrored at the edges: cosine transform and zeros."""
    values = image.double().numpy()
    for axis, size in ((0, height), (1, width)):
        old = values.shape[axis]
        padding = [(0, 0), (0, 0), (0, 0)]
        padding[axis] = (0, size - old)
        spectrum = np.pad(dct(values, axis=axis, norm="ortho"), padding)
        values = idct(spectrum, axis=axis, norm="ortho") * np.sqrt(size / old)
    return torch.from_numpy(values).to(image.dtype)


METHODS: dict[str, Callable[[Tensor, int, int], Tensor]] = {"bicubic": bicubic, "sinc": sinc}

if __name__ == "__main__":
    main()
