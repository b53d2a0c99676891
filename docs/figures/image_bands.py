"""Draw docs/images/image-bands.png: one view of 4AKE as it is, as it is recorded, and what each band holds of it."""

from pathlib import Path

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from resmfn.core import make_generator
from resmfn.data.models import density_from_model
from resmfn.fourier import radius_grid
from resmfn.fourier.transforms import fft2_centered, ifft2_centered
from resmfn.physics import FourierSliceProjector, ImageFormation, Optics, add_noise
from resmfn.rotations import random_rotations

BOX, PIXEL_SIZE = 64, 1.5
BANDS = (3, 9, 20)
"""Fourier pixels: about where the search begins, where it ends, and the half maps' end."""
IMAGE = Path(__file__).resolve().parents[1] / "images" / "image-bands.png"


def keep_to(picture: Tensor, radius: float) -> Tensor:
    """Cut an image's transform off at a radius in Fourier pixels."""
    return ifft2_centered(fft2_centered(picture) * (radius_grid(BOX, 2) <= radius)).real


def main() -> None:
    """Draw the views in one row."""
    generator = make_generator(4)
    volume = density_from_model("4ake", BOX, PIXEL_SIZE)
    form = ImageFormation(FourierSliceProjector(BOX), PIXEL_SIZE)
    pose = random_rotations(1, generator=generator)
    clean = form(volume, pose)[0]
    with_ctf = form(volume, pose, optics=Optics.uniform(1))
    noisy = add_noise(with_ctf, 0.1, generator=generator)[0]
    panels = [("projection", clean), ("with CTF", with_ctf[0]), ("recorded, SNR 0.1", noisy)]
    panels += [(f"recorded, to {BOX * PIXEL_SIZE / r:.0f} Å", keep_to(noisy, r)) for r in BANDS]
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 2.2), layout="constrained")
    for axis, (title, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture.numpy(), cmap="gray")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.savefig(IMAGE, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
