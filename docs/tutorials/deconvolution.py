# %% [markdown]
# # Deconvolve a micrograph
#
# The CTF of an electron microscope has zeros: what a micrograph says there is noise alone, and dividing by the CTF
# makes it infinite. Operators, solvers and networks are those of [parallel-beam CT](parallel-beam-ct.ipynb).

# %%
import matplotlib.pyplot as plt
import torch

from resmfn.inverse import Convolution, LeastSquares, Penalized, ShellPenalty, fit_network, solve
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig
from resmfn.physics import GaussianBlobs, Optics, add_noise, compute_ctf
from resmfn.rotations import random_rotations

torch.set_num_threads(1)
SIZE, PIXEL_SIZE = 96, 3.0  # pixels, Å

# %% [markdown]
# ## A micrograph
#
# Nine projections of one molecule at random orientations, the CTF at 1.2 µm defocus, and as much noise as signal.

# %%
generator = torch.Generator().manual_seed(3)
blobs = GaussianBlobs.random(15, radius=8.0, width=1.5, generator=generator, dtype=torch.float64)
views = blobs.project(random_rotations(9, generator=generator, dtype=torch.float64), SIZE // 3)
truth = (views - views.mean()).view(3, 3, SIZE // 3, SIZE // 3).permute(0, 2, 1, 3).reshape(SIZE, SIZE)
k = (torch.arange(SIZE, dtype=torch.float64) - SIZE // 2) / (SIZE * PIXEL_SIZE)
fy, fx = torch.meshgrid(k, k, indexing="ij")
ctf = compute_ctf(Optics.uniform(1, defocus=12000.0, dtype=torch.float64), torch.stack((fx, fy), dim=-1))[0]
micrograph = add_noise(Convolution(ctf)(truth)[None], 1.0, generator=generator)[0]

# %% [markdown]
# ## Three solutions of one quadratic
#
# The penalty of each shell of frequencies is the noise's power over the power that is expected there: the explicit
# solution is then a Wiener filter. Molecules have less and less power beyond shell 8 (36 Å): there
# the penalty grows.

# %%
equations = LeastSquares(Convolution(ctf), micrograph)
prior = ShellPenalty(0.01 * (1 + (torch.arange(SIZE // 2 + 1, dtype=torch.float64) / 8) ** 4), (SIZE, SIZE))
config = NetworkConfig(dim=2, hidden_dim=96, n_scales=3, box_size=SIZE, head_scale=0.02)
network = MultiplicativeFilterNetwork(config, generator=generator, dtype=torch.float64)
fit = fit_network(network, Penalized(equations, prior), steps=150)
pictures = {"truth": truth, "micrograph": micrograph, "least squares": solve(equations, iterations=1000)}
pictures |= {"Wiener filter": solve(equations, prior), "network": fit.sample(SIZE)}
for title, picture in pictures.items():
    print(f"{title:13} relative error {(picture - truth).norm() / truth.norm():.2f}")

# %%
figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout="constrained")
for panel, (title, picture) in zip(axes, pictures.items(), strict=True):
    panel.imshow(picture.numpy(), cmap="gray", vmin=truth.min(), vmax=truth.max())
    panel.set(title=title, xticks=[], yticks=[])
figure.set_label("Nine molecules, their micrograph, and three deconvolutions")

# %% [markdown]
# Wiener filter and network are equally far from the truth, plain least squares is useless. What is lost at low
# frequencies, where the CTF is small, stays lost: both pictures are darker than the truth.
