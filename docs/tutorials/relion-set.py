# %% [markdown]
# # Bring your own RELION set
#
# A STAR file with particle images goes in, the same STAR file with poses comes out. Here a small set stands in for
# yours; put the path of your own `particles.star` in its place.

# %%
from pathlib import Path

import torch

import resmfn
from resmfn.data import read_particles, read_star, write_particles

torch.set_num_threads(1)
resmfn.simulate(
    resmfn.SimulationConfig(source="4ake", out="Extract", n_projections=400, box_size=24, pixel_size=4.0, snr=1.0)
)
Path("Extract/volume.mrc").unlink()  # nobody has the truth
own = read_particles("Extract/particles_true.star")
own = own.with_columns({"rlnMicrographName": [f"mic{i % 4}.mrc" for i in range(len(own))]})
write_particles("Extract/particles.star", own)

# %% [markdown]
# ## Look before you run
#
# `read_particles` checks what a run would trip over: stacks that are missing or cut short, optics groups without a
# voltage, pixel sizes that disagree. Images stay on disk until they are asked for.

# %%
particles = read_particles("Extract/particles.star")
print(f"{len(particles)} particles of {particles.box_size} x {particles.box_size} pixels of {particles.pixel_size:g} Å")
optics = particles.optics
print(f"voltage {optics.voltage[0]:g} kV, Cs {optics.spherical_aberration[0]:g} mm")
print(f"defocus {optics.defocus_u.min():.0f} to {optics.defocus_u.max():.0f} Å")
print("columns:", ", ".join(particles.table.columns))

# %% [markdown]
# Three things to check by eye: the pixel size is the one of the *particles* (after any binning); defocus is in Å and
# positive for underfocus; images were normalized by RELION. White or black particles are told apart by the images
# themselves (`--contrast`).
#
# ## Poses that are there already
#
# This set has poses, say from a RELION refinement. `poses="fixed"` makes maps at those poses, which is the quickest way
# to see whether files, pixel size and contrast are understood: a set that gives no map at known poses will give none at
# unknown ones. It confirms no resolution: both halves have the poses that all images gave.

# %%
result = resmfn.reconstruct(
    resmfn.ReconstructionConfig(
        particles="Extract/particles.star",
        out="check",
        poses="fixed",
        mask_diameter=84,
        hidden_dim=96,
        network_steps=30,
    )
)
print(result.summary["verdict"])
print(f"half maps, FSC 0.143: {result.summary['resolution_half_0143']:.1f} Å")

# %% [markdown]
# ## What comes out
#
# Every row and column is as it was, in its order; only pose columns and a few figures are set. RELION, ChimeraX and
# cryoSPARC (by import) read these files. From the command line, with poses unknown, the same is
#
# ```
# resmfn reconstruct Extract/particles.star --out run --mask-diameter 84
# ```
#
# where the diameter is that of your molecule's longest axis plus a little, in Å.

# %%
before = read_star("Extract/particles.star")["particles"]
after = read_star("check/particles.star")["particles"]
kept = [name for name in before.columns if after.columns[name] == before.columns[name]]
print("unchanged:", ", ".join(kept))
print("new:", ", ".join(name for name in after.columns if name not in before.columns))
