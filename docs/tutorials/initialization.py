# %% [markdown]
# # What the initialization does to spectra, and why BACON forgets
#
# Frequencies are never trained, so where they are drawn decides what every scale can write. BACON draws each filter's
# frequencies around zero: a fine scale reaches high frequencies, but can write low ones as well. The paper's new
# initialization moves the filters of fine scales away from zero; the residual network also adds its scales up.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from resmfn.networks import NetworkConfig, build_network

torch.set_num_threads(1)
BOX = 64


def draw(name, seed=0, hidden_dim=32):
    """Draw one of the networks that the paper compares."""
    config = NetworkConfig(dim=2, hidden_dim=hidden_dim, box_size=BOX)
    return build_network(name, config, generator=torch.Generator().manual_seed(seed))


# %% [markdown]
# ## Spectra before any training
#
# What each head adds, averaged over rings of equal frequency and over 12 draws. For BACON that is the scale itself; for
# the residual network it is the difference to the scale below.

# %%
radius = np.rint(np.hypot(*np.meshgrid(*[np.arange(BOX) - BOX // 2] * 2, indexing="ij"))).astype(int)


def ring_power(network, scale):
    """Mean power of what the head of a scale adds, ring by ring."""
    with torch.no_grad():
        field = network.evaluate_grid(scale, BOX)
        if network.config.residual and scale > 1:
            field = field - network.evaluate_grid(scale - 1, BOX)
    power = np.abs(np.fft.fftshift(np.fft.fft2(field.double().numpy()))) ** 2
    return np.bincount(radius.ravel(), power.ravel())[:33] / np.bincount(radius.ravel())[:33]


figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for axis, name, title in zip(axes, ("vanilla", "residual-mfn"), ("BACON", "Residual MFN"), strict=True):
    for scale in (1, 2, 3):
        power = sum(ring_power(draw(name, seed), scale) for seed in range(12))
        axis.semilogy(power / power.sum() + 1e-6, label=f"scale {scale}")
        low = power[: int(draw(name).half_width(1)) + 1].sum() / power.sum()
        print(f"{title}: share of scale {scale}'s ring power inside the band of scale 1: {low:.3f}")
    axis.set(title=title, xlabel="frequency, cycles per box", ylim=(1e-4, 1))
    axis.legend()
axes[0].set_ylabel("share of power")
figure.set_label("Spectra of what each scale adds, for BACON and for the Residual MFN")

# %% [markdown]
# BACON's scales 2 and 3 write into the band of scale 1 as well. Those of the residual network take turns: what scale 3
# adds begins where scale 1 ends.
#
# ## What happens when a finer scale is trained
#
# An image with coarse blobs and fine stripes. Scales 1 and 2 are fitted and noted; then scale 3 is trained, on the same
# image. How much of the noted coarse scale is still there?

# %%
y, x = np.meshgrid(*[2 * np.pi * (np.arange(32) - 16) / 32] * 2, indexing="ij")
blobs = np.exp(3 * np.cos(x - 0.5) + 3 * np.cos(y + 1) - 6) - 0.7 * np.exp(6 * np.cos(x + 2) + 6 * np.cos(y) - 12)
stripes = 0.15 * (1 + np.cos(y)) * np.cos(11 * x + 5 * y) + 0.1 * np.sin(13 * y - 0.4) * np.sin(x - 1)
image = torch.tensor(blobs + stripes - (blobs + stripes).mean(), dtype=torch.float32)


def fit(network, scale, n_steps, learning_rate):
    """Fit one scale to the image."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (network.evaluate_grid(scale, 32) - image).square().mean().backward()
        optimizer.step()
        schedule.step()
    return network.evaluate_grid(2 if scale > 1 else 1, 32).detach()


results = {}
for name in ("staged", "staged-residual", "residual-mfn"):
    config = NetworkConfig(dim=2, hidden_dim=48, box_size=32)
    network = build_network(name, config, generator=torch.Generator().manual_seed(5))
    fit(network, 1, 80, 0.01)
    before = fit(network, 2, 120, 0.01)
    after = fit(network, 3, 120, 0.005)
    changed = ((after - before).square().mean() / before.square().mean()).item()
    results[name] = (before, after)
    print(f"{name:16s} training scale 3 changed {100 * changed:6.1f} % of the power of scale 2")

# %%
figure, axes = plt.subplots(2, 3, figsize=(7.5, 5), layout="constrained")
for column, (name, pair) in enumerate(results.items()):
    for row, picture in enumerate(pair):
        axes[row, column].imshow(picture.numpy(), cmap="gray", vmin=image.min(), vmax=image.max())
        axes[row, column].set_xticks([])
        axes[row, column].set_yticks([])
    axes[0, column].set_title(name)
axes[0, 0].set_ylabel("scale 2 when fitted")
axes[1, 0].set_ylabel("scale 2 after scale 3")
figure.set_label("Scale 2 when it was fitted, and after scale 3 was trained, for three set-ups")

# %% [markdown]
# `staged` is BACON trained coarse to fine: nobody asks its scale 2 any more, and it is lost. Skip connections
# (`staged-residual`) keep it in the sum; new frequencies as well (`residual-mfn`) leave scale 3 little reason to touch
# it. In a reconstruction from unknown poses this matters: poses were found with the coarse map, and are lost with it.
