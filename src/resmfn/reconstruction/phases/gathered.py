"""The images of a search, few and coarse, brought together so that whole starts can be shared out among processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.phases.annealing import SearchTask
from resmfn.reconstruction.poses.search_space import SearchSpace


def gather_search(
    observations: Observations, index: Tensor, space: SearchSpace, radius: float
) -> Callable[[Team], SearchTask]:
    """Return what gives a crew the task of searching some images, each process of it its block of them.

    Parameters
    ----------
    observations
        All images; they stay where they are if there is one process.
    index
        int64 (n,): those that are searched.
    space
        Where.
    radius
        Frequencies that the search may use, Fourier pixels: what lies beyond does not travel.
    """
    team = observations.team
    if team.size == 1:
        return lambda _: SearchTask(observations, index, space)
    n_pixels = observations.n_pixels(radius + 1)  # the band is cut at the radius, not at the last pixel within it
    values = torch.zeros(len(index), n_pixels, dtype=torch.complex64, device=observations.device)
    ctf = torch.zeros(len(index), n_pixels, device=observations.device)
    chunks = observations.in_chunks(
        "bringing images together", index, len(index), lambda rows: observations.batch(index[rows], n_pixels)
    )
    for rows, (mine, its_ctf) in chunks:
        values[rows], ctf[rows] = mine, its_ctf
    team.sum_(values, ctf)

    def task(crew: Team) -> SearchTask:
        block = crew.share_of(len(index))
        held = slice(block.start, block.stop)
        few = Observations(
            values[held],
            ctf[held],
            observations.pixels[:n_pixels],
            box_size=observations.box_size,
            pixel_size=observations.pixel_size,
            noise_level=observations.noise_level[index],
            team=crew,
        )
        return SearchTask(few, torch.arange(len(index), device=observations.device), space)

    return task
