# %% [markdown]
# # Use a band-limited field in your own inverse problem
#
# `resmfn.networks` knows no microscope. Whatever turns a field into data can be inverted coarse to fine, if torch can
# differentiate it. Here: tomography of a 2-D object from 30 noisy views of 32 rays.
#
# The field is evaluated at the points of the rays themselves. There is no grid, and so no interpolation.

# %%
import math

import matplotlib.pyplot as plt
import torch

from resmfn.networks import residual_mfn

torch.set_num_threads(1)
N_VIEWS, N_RAYS, N_STEPS = 30, 32, 32
generator = torch.Generator().manual_seed(1)

# %% [markdown]
# ## The data
#
# An object of ten Gaussians has line integrals in closed form, so the data do not come from the operator that inverts
# them.

# %%
centers = 0.5 * (torch.rand(10, 2, generator=generator) - 0.5)
widths = 0.03 + 0.05 * torch.rand(10, generator=generator)
angles = math.pi * torch.arange(N_VIEWS) / N_VIEWS
along = torch.stack([angles.cos(), angles.sin()], dim=1)  # direction of the rays
across = torch.stack([-angles.sin(), angles.cos()], dim=1)
offsets = (torch.arange(N_RAYS) - N_RAYS // 2) / N_RAYS

distance = offsets[None, :, None] - (across @ centers.T)[:, None, :]  # view, ray, Gaussian
clean = (torch.exp(-(distance**2) / (2 * widths**2)) * widths * math.sqrt(2 * math.pi)).sum(dim=2)
noise = 0.05 * clean.std()
data = clean + noise * torch.randn(clean.shape, generator=generator)


def truth(points):
    """Object at points (P, 2)."""
    squared = (points[:, None] - centers).square().sum(dim=2)
    return torch.exp(-squared / (2 * widths**2)).sum(dim=1)


# %% [markdown]
# ## The operator
#
# Points on every ray, inside the disk of radius 1/2; the data are sums of the field along them.

# %%
depths = (torch.arange(N_STEPS) - N_STEPS // 2 + 0.5) / N_STEPS
points = across[:, None, None] * offsets[None, :, None, None] + along[:, None, None] * depths[None, None, :, None]
inside = points.norm(dim=-1) < 0.5
flat = points[inside]
ray = torch.arange(N_VIEWS * N_RAYS).view(N_VIEWS, N_RAYS, 1).expand(inside.shape)[inside]


def project(values):
    """Sum values at the points of the rays: (P,) -> (views, rays)."""
    return torch.zeros(N_VIEWS * N_RAYS).index_add(0, ray, values).view(N_VIEWS, N_RAYS) / N_STEPS


print(f"{len(flat)} points on {data.numel()} rays; noise is {100 * noise / clean.std():.0f} % of the data's deviation")
print(f"operator on the true object, relative error {(project(truth(flat)) - clean).norm() / clean.norm():.0e}")

# %% [markdown]
# ## The inversion
#
# Three views are held out: they say whether a finer scale still helps.

# %%
network = residual_mfn(dim=2, hidden_dim=32, n_scales=3, box_size=32, generator=generator)
cache = network.filter_cache(flat)
fitted = torch.ones(N_VIEWS, dtype=torch.bool)
fitted[[3, 10, 21]] = False
grid = torch.stack(torch.meshgrid(*[(torch.arange(96) - 48) / 96] * 2, indexing="ij"), dim=-1).reshape(-1, 2)
disk = grid.norm(dim=1) < 0.5
pictures = []
for scale, n_steps in ((1, 40), (2, 60), (3, 100)):
    optimizer = torch.optim.Adam(network.active_parameters(scale), lr=5e-3)
    for _ in range(n_steps):
        optimizer.zero_grad()
        misfit = (project(network.forward_cached(cache, scale)[:, 0]) - data) / noise
        misfit[fitted].square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        misfit = (project(network.forward_cached(cache, scale)[:, 0]) - data) / noise
        field = network(grid, scale)[:, 0]
        error = (field - truth(grid))[disk].norm() / truth(grid)[disk].norm()
    pictures.append(field.view(96, 96))
    print(
        f"scale {scale}: misfit {misfit[fitted].square().mean().sqrt():5.2f} noise deviations, "
        f"on views held out {misfit[~fitted].square().mean().sqrt():5.2f}; relative error of the object {error:.2f}"
    )

# %%
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
true_picture = truth(grid).view(96, 96)
outside = ~disk.view(96, 96)
for axis, picture, title in zip(
    axes, [*pictures, true_picture], ("scale 1", "scale 2", "scale 3", "truth"), strict=True
):
    axis.imshow(picture.masked_fill(outside, 0).numpy(), cmap="gray", vmin=0, vmax=true_picture.max())
    axis.set(title=title, xticks=[], yticks=[])
figure.set_label("The object at three scales, and the truth")

# %% [markdown]
# Scale 3 helps here: views held out fit better, and so does the object. But they fit worse than the views that were
# used, so a part of what scale 3 added is noise. With fewer views scale 2 would be the one to keep.
#
# To use it for yours: replace `project` by your operator, keep the loop. Coordinates are in boxes, [-1/2, 1/2) on each
# axis; `n_scales` and `box_size` set the bands; `evaluate_grid` gives an array for whatever comes next.
