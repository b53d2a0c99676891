"""Do the images show a structure at all? A map is tested on images that were not used for it.

Aligned to one reference, pure noise averages to that reference ("Einstein from noise"), and what shares images or a
start may agree for no other reason. But a map that was made without an image says nothing of that image's noise: the
likelihood of such an image, averaged over all poses, is then below that of noise alone in the mean (Jensen), however
the map came about. Images of a particle it explains better by many nats.

A noise level that is off would lift any map. Decoys, random maps of the same power in every shell, are lifted alike:
the map must beat them too.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.random import spawn
from resmfn.evaluation import correlation_after_alignment
from resmfn.fourier import resize_map, shell_average, shell_index
from resmfn.fourier.transforms import fftn_centered, ifftn_centered
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.masks import sphere_on
from resmfn.reconstruction.phases.annealing import (
    START_STAGES,
    SearchTask,
    random_start,
    shared_slices,
    stage_radius,
)
from resmfn.reconstruction.phases.coarse_maps import coarse_map_of
from resmfn.reconstruction.phases.starts import most_in_starts, search_index, stages_of
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.search_space import first_offsets
from resmfn.reconstruction.run.context import RunContext, already_set
from resmfn.reconstruction.run.held_out import N_HELD_OUT, NoiseControl
from resmfn.reconstruction.run.records import Starts
from resmfn.rotations import random_rotations, super_fibonacci

LEAST_HELD_OUT = 100
"""If the search leaves fewer than this, the control runs a start of its own without half of the images.
No comparison recorded."""
N_RANDOM_MAPS = 4  # no comparison recorded
FRESH_STARTS = 2
"""Starts of the control's own that may fail before a run reports no structure. No comparison recorded."""


def control_step(run: RunContext) -> bool:
    """Test the coarse map on images that were not used for it, and record whether there is a structure."""
    state = run.state
    control = _first_control(run)
    for number in range(FRESH_STARTS):
        if control is not None and control.is_structure:
            break
        fresh = _fresh_control(run, number)
        control = fresh if control is None or fresh.is_structure else control
    found = already_set(control)
    state.tests = replace(state.tests, structure=found)
    side = run.box_size * run.pixel_size
    state.starts = replace(state.starts, agreement=start_agreement(state.starts, side, run.observations.team))
    message = f"held-out images fit the map better than noise by {found.gain:.2f} ± {found.gain_error:.2f} nat"
    if not found.is_structure:
        message += ": no structure found so far; the maps that follow may be noise"
    run.tell("control", message, 0.2, {"gain": found.gain, "gain_error": found.gain_error})
    return True


def held_out_control(run: RunContext, volume: Tensor, index: Tensor) -> NoiseControl:
    """Compare a map with noise and with decoys on images that it does not depend on.

    Parameters
    ----------
    run
        Whose images.
    volume
        (M, M, M): the map, in the scale of the whitened images.
    index
        int64 (n,): the images.
    """
    observations = run.observations
    stage = START_STAGES[0]
    radius = stage_radius(stage, observations, run.space)
    grid = MapGrid.for_radius(run.box_size, radius)
    mask = sphere_on(grid, run.space.mask_radius, run.device)
    volume = resize_map(volume, grid.size) * mask
    turn = random_rotations(1, generator=spawn(run.config.seed, "control", "turn"))[0].to(run.device)
    rotations = super_fibonacci(stage.n_rotations, device=run.device) @ turn
    poses = PoseGrid(rotations, first_offsets(observations, radius, run.space), precision=run.space.precision)
    center = torch.zeros(len(index), 2, device=run.device)
    if run.config.poses != "unknown":  # given shifts may be larger than those that are searched
        center = run.poses().shift[index]
    generator = spawn(run.config.seed, "control", "decoys")
    evidence = []
    for candidate in (volume, *(random_map(volume, mask, generator=generator) for _ in range(N_RANDOM_MAPS))):
        slices = shared_slices(observations, grid, candidate, rotations, radius)
        evidence.append(grid_posterior(observations, index, slices, poses, center).log_evidence.double())
    gain, lead = evidence[0], evidence[0] - torch.stack(evidence[1:]).mean(dim=0)
    return NoiseControl(len(index), *mean_and_error(gain), *mean_and_error(lead))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Return the mean of values (n,), and its standard error."""
    return float(values.mean()), float(values.std()) / math.sqrt(max(1, len(values)))


def random_map(volume: Tensor, mask: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return a random map (M, M, M) that fills the mask and has a map's power in every shell."""
    size = volume.shape[0]
    noise = torch.randn(volume.shape, generator=generator).to(volume) * mask
    transform = fftn_centered(noise)
    wanted = shell_average(fftn_centered(volume).abs().square(), size)
    there = shell_average(transform.abs().square(), size)
    gain = (wanted / there.clamp_min(1e-12 * there.max())).sqrt()
    shell = shell_index(size, 3, volume.device)
    factor = torch.where(shell < len(gain), gain[shell.clamp(max=len(gain) - 1)], torch.zeros_like(gain[0]))
    return ifftn_centered(transform * factor).real


def start_agreement(starts: Starts, side: float, team: Team) -> tuple[float, ...]:
    """Return how well the coarse map of each start correlates with the best one's, after alignment; best has 1.

    Starts share images, but neither poses nor maps. Hands are not told apart: at this resolution both fit alike.

    Parameters
    ----------
    starts
        Their maps and likelihoods.
    side
        Of the maps' box, Å.
    team
        Shares the alignments.
    """
    maps, likelihoods = starts.maps, starts.log_likelihoods
    if len(maps) < 2:
        return ()
    best = max(range(len(maps)), key=likelihoods.__getitem__)
    reference = maps[best].cpu()
    pixel_size = side / reference.shape[0]
    others = [number for number in range(len(maps)) if number != best]
    found = team.divide([partial(_agreement, maps[i].cpu(), reference, pixel_size) for i in others])
    return tuple(found[others.index(number)] if number != best else 1.0 for number in range(len(maps)))


def _agreement(volume: Tensor, reference: Tensor, pixel_size: float, _: Team) -> float:
    return correlation_after_alignment(volume, reference, pixel_size)


def _first_control(run: RunContext) -> NoiseControl | None:
    """Test the map that the run begins with, if it leaves images out; None if it does not."""
    coarse, config = run.state.starts.best, run.config
    if config.poses != "unknown":
        first, second = run.half_index
        return held_out_control(run, coarse_map_of(run, first), _thinned(run, second))
    if config.reference is not None:
        return held_out_control(run, already_set(coarse), _thinned(run, run.index))
    others = run.first_row[~torch.isin(run.first_row, search_index(run))]
    if len(others) < LEAST_HELD_OUT:
        return None
    return held_out_control(run, already_set(coarse), _thinned(run, others))


def _fresh_control(run: RunContext, number: int) -> NoiseControl:
    """Run a start on half of the images and test it on the other half."""
    order = torch.randperm(len(run.first_row), generator=spawn(run.config.seed, "control", number)).to(run.device)
    order = run.first_row[order]
    n_used = min(len(order) // 2, most_in_starts(run))
    result = random_start(
        SearchTask(run.observations, order[:n_used].sort().values, run.space),
        seed=run.config.seed,
        start=-1 - number,
        stages=stages_of(run),
        progress=lambda what, value: run.tell("control", f"start on half of the images, {what}: {value:.2f}"),
    )
    return held_out_control(run, result.volume, _thinned(run, order[n_used:]))


def _thinned(run: RunContext, index: Tensor) -> Tensor:
    order = torch.randperm(len(index), generator=spawn(run.config.seed, "control", "held out"))
    return index[order[:N_HELD_OUT].to(index.device)].sort().values
