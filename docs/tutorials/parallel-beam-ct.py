# %% [markdown]
# # Parallel-beam CT with a band-limited network
#
# A section through a head from 24 noisy views: `resmfn.inverse` has the operator, the least squares solution, and the
# fit of a network to the same quadratic. Nothing in it knows of cryo-EM.

# %%
import math

import matplotlib.pyplot as plt
import torch

from resmfn.inverse import LeastSquares, ParallelBeam, Penalized, fit_network, solve
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig
from resmfn.physics import Ellipses

torch.set_num_threads(1)
SIZE, N_VIEWS = 64, 24

# %% [markdown]
# ## Data and operator
#
# Line integrals of ellipses are known in closed form, so the data do not come from the operator that inverts them.
# `ParallelBeam` sums along rays by Joseph's method. An operator that you write needs `_apply` and `_adjoint`
# (`LinearOperator`); `A @ B` puts two together.

# %%
generator = torch.Generator().manual_seed(1)
angles = math.pi * torch.arange(N_VIEWS, dtype=torch.float64) / N_VIEWS
phantom = Ellipses.head(SIZE, torch.float64)
truth, clean = phantom.image(SIZE), phantom.line_integrals(angles, SIZE)
data = clean + 0.03 * clean.std() * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
operator = ParallelBeam(SIZE, angles)
print(f"operator on the true image: relative error {(operator(truth) - clean).norm() / clean.norm():.3f}")

# %% [markdown]
# ## Three solutions of one quadratic
#
# The squared residual is `<x, K x> - 2 <b, x>` plus a constant. Its minimum is the plain least squares solution, which
# fits the noise as well. A mask around the head and a penalty on large values (Tikhonov) make it a good one. The
# network is fitted to the same penalized quadratic, by its Fourier series; `head_scale` makes it begin near 0.

# %%
equations = LeastSquares(operator, data)
axis = torch.arange(SIZE) - SIZE // 2
mask = (axis**2 + axis[:, None] ** 2 < 30**2).to(torch.float64)
config = NetworkConfig(dim=2, hidden_dim=96, n_scales=3, box_size=SIZE, head_scale=0.02)
network = MultiplicativeFilterNetwork(config, generator=generator, dtype=torch.float64)
fit = fit_network(network, Penalized(equations, 3.0), mask=mask, steps=200)
pictures = {"truth": truth, "least squares": solve(equations, iterations=999), "penalized": solve(equations, 3, mask)}
pictures |= {f"network, scale {scale}": mask * fit.sample(SIZE, scale) for scale in (1, 2, 3)}
for title, picture in pictures.items():
    print(f"{title:17} relative error {(picture - truth).norm() / truth.norm():.2f}")

# %%
figure, axes = plt.subplots(1, 6, figsize=(13, 2.5), layout="constrained")
for panel, (title, picture) in zip(axes, pictures.items(), strict=True):
    panel.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
    panel.set(title=title, xticks=[], yticks=[])
figure.set_label("The phantom, two explicit solutions and the network's three scales")

# %% [markdown]
# Both solutions with mask and penalty are far better than plain least squares; on the grid of the data the explicit one
# is a little better than the network, and cheaper. What the network adds is a continuous field with scales:
# `fit.sample` takes any size, coarse scales are smooth, and `save_network("head.pt", fit.to_network())` is a file that
# `resmfn render` samples, filtered if you like.
