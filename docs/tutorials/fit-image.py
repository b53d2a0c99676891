# %% [markdown]
# # Fit an image and see the scales
#
# A Residual MFN is one field with several outputs. Each output has a band: frequencies above it are not small, they are
# absent. Here a photograph of 64 x 64 pixels is fitted coarse to fine, and we look at what each scale holds.
#
# For whole sets of images, with tables and half-resolution tests, there is [`resmfn fit-image`](../fit-image.md).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import cbook
from matplotlib.patches import Rectangle

from resmfn.networks import box_coordinates, residual_mfn

torch.set_num_threads(1)
photo = plt.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).mean(axis=2) / 255  # from matplotlib
square = photo[20:532, :512].reshape(64, 8, 64, 8).mean(axis=(1, 3))  # 512 x 512 pixels -> 64 x 64
image = torch.tensor(square - square.mean(), dtype=torch.float32)

# %% [markdown]
# ## The network
#
# Frequencies are drawn once and frozen; only linear maps are trained. The bands of the paper are fractions of Nyquist;
# `half_width` says what a scale reaches, in cycles per box (Nyquist is 32 here).

# %%
network = residual_mfn(dim=2, hidden_dim=64, n_scales=3, box_size=64, generator=torch.Generator().manual_seed(0))
for scale in (1, 2, 3):
    points = network.minimal_grid(scale)
    print(f"scale {scale}: up to {network.half_width(scale):.0f} cycles per box; {points} x {points} points say it all")

# %% [markdown]
# ## Coarse to fine
#
# One scale after the other: the loss is on the finest scale that is active, and finer ones are not even computed. The
# filters never change, so their values at the pixels are computed once.

# %%
points = box_coordinates(64, 2)
cache = network.filter_cache(points)
target = image.reshape(-1, 1)


def fit(scale, n_steps):
    """Fit one scale to the image, and return the PSNR of every scale so far."""
    optimizer = torch.optim.Adam(network.active_parameters(scale), lr=5e-3)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = (network.forward_cached(cache, scale) - target).square().mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return [-10 * math.log10((network.evaluate_grid(s, 64) - image).square().mean()) for s in range(1, scale + 1)]


for scale, n_steps in ((1, 60), (2, 100), (3, 200)):
    values = ", ".join(f"{v:.1f}" for v in fit(scale, n_steps))
    print(f"after scale {scale}: PSNR of the scales so far {values} dB")

# %% [markdown]
# While finer scales train, those below them change by less than a decibel: what they fitted stays.
#
# ## What each scale holds
#
# Below each scale is its spectrum. The frame is the band that `half_width` promises; outside of it there is nothing but
# rounding errors, whatever the network was trained on.

# %%
figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
with torch.no_grad():
    pictures = [network.evaluate_grid(s, 64) for s in (1, 2, 3)] + [image]
for column, picture in enumerate(pictures):
    spectrum = np.fft.fftshift(np.fft.fft2(picture.numpy()))
    axes[0, column].imshow(picture.numpy(), cmap="gray", vmin=image.min(), vmax=image.max())
    axes[1, column].imshow(np.log10(np.abs(spectrum) + 1e-3), cmap="magma", vmin=-3, vmax=3)
    axes[0, column].set_title(f"scale {column + 1}" if column < 3 else "image")
    if column < 3:
        half = network.half_width(column + 1)
        frame = Rectangle((32 - half - 0.5, 32 - half - 0.5), 2 * half + 1, 2 * half + 1, fill=False, color="cyan")
        axes[1, column].add_patch(frame)
for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
figure.set_label("The three scales and the image, each above its spectrum")

# %% [markdown]
# ## More points than pixels
#
# The field is a finite Fourier series, so it can be evaluated anywhere: scale 2 on a grid four times as fine has no
# pixels to see, and says nothing that the coarse grid did not.

# %%
with torch.no_grad():
    fine = network.evaluate_grid(2, 256)
    back = fine[::4, ::4]
print("largest difference at the shared points:", f"{(back - network.evaluate_grid(2, 64)).abs().max():.1e}")
