# %% [markdown]
# # A mixture of two structures
#
# Adenylate kinase, and the same molecule without two fifths of its density, as if domains were missing. Their images
# lie in one file, poses unknown. 300 images of each, 24 x 24 pixels, signal to noise 0.5: small enough for a minute.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import resmfn
from resmfn.data import read_map, read_particles, write_map

torch.set_num_threads(1)

# %% [markdown]
# ## Two structures, one particle file


# %%
def simulate(source, folder, seed):
    settings = resmfn.SimulationConfig(
        source=source, out=folder, n_projections=300, box_size=24, pixel_size=4.0, snr=0.5, seed=seed
    )
    resmfn.simulate(settings)
    return (Path(folder) / "particles.star").read_text().replace("@particles", f"@{folder}/particles")


whole = simulate("4ake", "whole", seed=1)
density = read_map("whole/volume.mrc").data
broken = density.clone()
broken[:, :, 13:] = 0
write_map("broken.mrc", broken, 4.0)
rows = [line for line in simulate("broken.mrc", "broken", seed=2).splitlines() if "@" in line]
Path("particles.star").write_text(whole.rstrip() + "\n" + "\n".join(rows) + "\n")
print(f"the missing part has {1 - float(broken.sum() / density.sum()):.0%} of the density")

# %% [markdown]
# ## Classes
#
# Three classes are allowed. The run ends with as many as images that were left out of all maps can tell apart. A narrow
# network and few steps are enough at this size; on real data leave the last three settings alone.

# %%
result = resmfn.reconstruct(
    resmfn.ReconstructionConfig(
        particles="particles.star",
        out="run",
        n_classes=3,
        mask_diameter=84,
        shift_range=0,
        hidden_dim=96,
        network_steps=30,
    )
)
print(result.summary["verdict"])

# %% [markdown]
# ## Who is in which class
#
# The first 300 images show the whole molecule. `rlnClassNumber` is the likeliest class of each image.

# %%
number = read_particles("run/particles.star", with_images=False).metadata.numbers("rlnClassNumber").astype(int)
counts = np.array([[np.sum(number[part] == k) for k in (1, 2)] for part in (slice(300), slice(300, None))])
for name, row in zip(("whole", "broken"), counts, strict=True):
    print(f"{name:>6}: {row[0]:3d} images in class 1, {row[1]:3d} in class 2")

# %% [markdown]
# ## Their maps
#
# Classes have no common frame: each is aligned with the structure that most of its images show.

# %%
figure, axes = plt.subplots(2, 4, figsize=(8, 4.2), layout="constrained")
truths = ["whole/volume.mrc", "broken/volume.mrc"]
for k in (1, 2):
    truth = truths[int(counts[:, k - 1].argmax())]
    resmfn.align(f"run/class{k}/map.mrc", truth, f"aligned{k}.mrc")
    for column, (path, title) in enumerate(((f"aligned{k}.mrc", f"class {k}"), (truth, Path(truth).parent.name))):
        volume = read_map(path).data
        for view, axis in enumerate((0, 1)):
            picture = axes[k - 1, 2 * column + view]
            picture.imshow(volume.sum(dim=axis).numpy(), cmap="gray")
            picture.set_axis_off()
            picture.set_title(title)
figure.set_label("Two projections of each class, beside those of the structure that its images show")

# %% [markdown]
# `resmfn report run` makes a page of the classes and one of each; `resmfn select run --classes 1 --out one.star` writes
# the images of a class for the next job. [Several classes](../classes.md) says how they are found.
