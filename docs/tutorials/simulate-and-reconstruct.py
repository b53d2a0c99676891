# %% [markdown]
# # Simulate adenylate kinase and reconstruct it
#
# From the atoms of 4AKE to noisy images, and from the images alone back to a map. This is a small and easy case: 300
# images of 24 x 24 pixels, signal to noise 0.5, so that it takes a minute. The [quickstart](../quickstart.md) has the
# real one.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import resmfn
from resmfn.data import read_map, read_particles

torch.set_num_threads(1)

# %% [markdown]
# ## Images
#
# `simulate` computes the density of the model, projects it along random directions, applies a CTF to each image and
# adds noise. True poses go to a file of their own.

# %%
resmfn.simulate(
    resmfn.SimulationConfig(source="4ake", out="particles", n_projections=300, box_size=24, pixel_size=4.0, snr=0.5)
)
print(sorted(p.name for p in Path("particles").iterdir()))
particles = read_particles("particles/particles.star")
images = particles.read_images(slice(0, 8))
figure, axes = plt.subplots(1, 8, figsize=(10, 1.5), layout="constrained")
for axis, picture in zip(axes, images, strict=True):
    axis.imshow(picture.numpy(), cmap="gray")
    axis.set_axis_off()
figure.set_label("Eight of the simulated particle images")

# %% [markdown]
# ## Poses and map from the images alone
#
# `particles.star` has optics but no poses. One start instead of four, images known to be centered, a narrow network and
# few steps: enough at this size. On real data leave the last four settings alone.

# %%
result = resmfn.reconstruct(
    resmfn.ReconstructionConfig(
        particles="particles/particles.star",
        out="run",
        mask_diameter=84,
        shift_range=0,
        n_starts=1,
        hidden_dim=96,
        network_steps=30,
    )
)
summary = json.loads(Path("run/summary.json").read_text())
print(summary["verdict"])
print(f"half maps agree to {summary['resolution_half_0143']:.1f} Å (Nyquist is 8 Å)")

# %% [markdown]
# ## Against the truth
#
# A map from projections is known up to a rotation, a shift and its hand; `evaluate` finds them first.

# %%
scores = resmfn.evaluate(
    "run", reference="particles/volume.mrc", true_poses="particles/particles_true.star", figure=False
)
print(f"FSC 0.5 against the truth: {scores.maps.unmasked.resolution_at(0.5):.1f} Å")
print(f"median rotation error: {scores.poses.errors.median:.1f} degrees")
print(f"hand: {'as the model' if scores.maps.alignment.hand > 0 else 'mirrored'}")

# %%
resmfn.align("run/map.mrc", "particles/volume.mrc", "aligned.mrc")
aligned, true_map = read_map("aligned.mrc").data, read_map("particles/volume.mrc").data
figure, axes = plt.subplots(2, 3, figsize=(6.5, 4.4), layout="constrained")
for row, (volume, title) in enumerate(((aligned, "reconstructed"), (true_map, "truth"))):
    for axis in range(3):
        axes[row, axis].imshow(volume.sum(dim=axis).numpy(), cmap="gray")
        axes[row, axis].set(xticks=[], yticks=[])
    axes[row, 0].set_ylabel(title)
figure.set_label("Sums along z, y and x of the reconstructed map and of the true one")
