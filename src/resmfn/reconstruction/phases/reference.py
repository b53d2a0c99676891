"""An initial map, instead of the annealed starts."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.fourier import low_pass, resize_map
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.phases.annealing import shared_slices
from resmfn.reconstruction.phases.starts import search_index
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.rotations import super_fibonacci

EDGE = 2
"""Fourier pixels over which the low-pass falls off."""


def read_reference(run: RunContext) -> tuple[Tensor, float]:
    """Return the reference, low-passed and in the images' gray scale, and the radius of the low-pass."""
    volume = run.read_own_map("--reference", already_set(run.config.reference))
    radius = min(run.box_size * run.pixel_size / run.config.ini_high, run.observations.radius_max)
    grid = run.grid(radius + EDGE)
    volume = resize_map(low_pass(volume, radius, float(EDGE)) * run.sphere, grid.size)
    return volume * _reference_gain(run, volume, grid, radius), radius


def _reference_gain(run: RunContext, volume: Tensor, grid: MapGrid, radius: float) -> float:
    """Return the factor that gives slices of a map the power that the images have beyond their noise."""
    observations, index = run.observations, search_index(run)
    n_pixels = observations.n_pixels(radius)
    power, weight = torch.zeros(n_pixels, device=run.device), torch.zeros(n_pixels, device=run.device)

    def powers(rows: Tensor) -> tuple[Tensor, Tensor]:
        values, ctf = observations.batch(index[rows], n_pixels)
        return values.abs().square().sum(dim=0), ctf.square().sum(dim=0)

    for _, (of_values, of_ctf) in observations.in_chunks("measuring the images' power", index, len(index), powers):
        power += of_values
        weight += of_ctf
    observations.team.sum_(power, weight)
    signal = float((power / len(index) - 1).mean().clamp_min(1e-6))
    views = super_fibonacci(200, device=run.device)
    slices = shared_slices(observations, grid, volume, views, radius)
    expected = float((weight / len(index) * slices.abs().square().mean(dim=0)).mean())
    if not expected > 0:
        raise InputError(f"--reference {run.config.reference} is empty inside the mask; give another map")
    return float((signal / expected) ** 0.5)
