# %% [markdown]
# # Undersampled MRI with a band-limited network
#
# A scan that measures 39 % of the lines of Fourier space: what lies between them has to come from what is known of
# the image. Operators, solvers and networks are those of [parallel-beam CT](parallel-beam-ct.ipynb).

# %%
import matplotlib.pyplot as plt
import torch

from resmfn.inverse import FourierSampling, LeastSquares, Penalized, fit_network, solve
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig
from resmfn.physics import Ellipses

torch.set_num_threads(1)
SIZE = 64

# %% [markdown]
# ## Data and operator
#
# The central lines are measured, and a third of the others. The transform of ellipses is known in closed form; the
# noise is complex. The image is taken to be real, so the adjoint gives real images. (A phase or the sensitivity of a
# coil is a `Multiplication` before it: `FourierSampling(chosen, is_complex=True) @ Multiplication(coil)`.)

# %%
generator = torch.Generator().manual_seed(1)
axis = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
lines = (torch.rand(SIZE, generator=generator) < 0.33) | (axis.abs() < 6)
chosen = lines[:, None].expand(SIZE, SIZE)
phantom = Ellipses.head(SIZE, torch.float64)
ky, kx = torch.meshgrid(axis / SIZE, axis / SIZE, indexing="ij")
truth, clean = phantom.image(SIZE), phantom.transform(torch.stack((kx, ky), dim=-1))[chosen] / SIZE
noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
data = clean + 0.05 * clean.abs().square().mean().sqrt() * noise

# %% [markdown]
# ## Three solutions of one quadratic
#
# Plain least squares says 0 for what was not measured. A mask around the head couples neighboring frequencies, and a
# small penalty keeps what stays undetermined small. The network is fitted under the same mask and penalty.

# %%
equations = LeastSquares(FourierSampling(chosen), data)
mask = (axis**2 + axis[:, None] ** 2 < 28**2).to(torch.float64)
config = NetworkConfig(dim=2, hidden_dim=96, n_scales=3, box_size=SIZE, head_scale=0.02)
network = MultiplicativeFilterNetwork(config, generator=generator, dtype=torch.float64)
fit = fit_network(network, Penalized(equations, 0.02), mask=mask, steps=200)
pictures = {"truth": truth, "least squares": solve(equations), "penalized": solve(equations, 0.02, mask)}
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
# The network does as well as the explicit solution under the same mask and penalty, and no better: what the scan did
# not measure, no field of this kind invents. Its coarse scales hold what the dense center of Fourier space says.
