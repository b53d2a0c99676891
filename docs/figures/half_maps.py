"""Draw docs/images/half-maps.png: the FSC of two noisy maps, and what a tight mask adds to it."""

from pathlib import Path

import torch
from matplotlib import pyplot as plt

from resmfn.core import make_generator
from resmfn.data.models import density_from_model
from resmfn.evaluation import fourier_shell_correlation, phase_randomized_fsc
from resmfn.fourier import low_pass, radius_grid, soft_mask_from_support
from resmfn.fourier.transforms import fftn_centered, ifftn_centered

BOX, PIXEL_SIZE = 48, 2.0
IMAGE = Path(__file__).resolve().parents[1] / "images" / "half-maps.png"


def main() -> None:
    """Put colored noise, twice and independently, on a map of 4AKE, and compare."""
    generator = make_generator(2)
    volume = density_from_model("4ake", BOX, PIXEL_SIZE)
    color = torch.exp(radius_grid(BOX, 3) / 7)  # noise grows with frequency, as it does in reconstructions
    noise = torch.randn(2, BOX, BOX, BOX, generator=generator)
    noise = torch.stack([ifftn_centered(fftn_centered(n) * color).real for n in noise])
    halves = volume + 0.12 * volume.std() * noise
    support = low_pass(volume, 6, 2) > 0.25 * low_pass(volume, 6, 2).max()
    mask = soft_mask_from_support(support, dilate=1, edge=2)
    curves = phase_randomized_fsc(halves[0], halves[1], mask, PIXEL_SIZE, generator=generator)
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, style in (("unmasked", "C7"), ("masked", "C1"), ("randomized", "C1:"), ("corrected", "C0")):
        curve = getattr(curves, name)
        axis.plot(curve.frequency, curve.correlation, style, label=name)
    truth = fourier_shell_correlation(halves.mean(dim=0) * mask, volume, PIXEL_SIZE)
    axis.plot(truth.frequency, truth.correlation, "k--", lw=0.8, label="mean of both, masked, against the truth")
    axis.axhline(0.143, color="0.6", lw=0.8)
    axis.axhline(0.5, color="0.6", lw=0.8)
    axis.set(xlabel="frequency, 1/Å", ylabel="FSC", ylim=(-0.1, 1.02), xlim=(0, 0.5 / PIXEL_SIZE))
    axis.legend(fontsize=8)
    figure.savefig(IMAGE, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
