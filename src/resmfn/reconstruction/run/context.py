"""What all phases of a reconstruction share: settings, images, state, masks, poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from resmfn.core.processes import Team
from resmfn.core.progress import Listener, ProgressEvent
from resmfn.core.random import spawn
from resmfn.data import ParticleSet
from resmfn.data.particles.half_sets import half_sets
from resmfn.evaluation import FscCurve
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.contrast import ContrastChoice
from resmfn.reconstruction.images.image_quality import ImageFits, judge_images
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.maps.map_grid import MapGrid, resized
from resmfn.reconstruction.maps.masks import shape_mask, sphere_on
from resmfn.reconstruction.maps.network_map import FittedNetwork, NetworkMap, default_width
from resmfn.reconstruction.maps.own_maps import read_own_map, read_own_mask
from resmfn.reconstruction.maps.symmetrize import symmetrized
from resmfn.reconstruction.poses.defocus import DefocusFit
from resmfn.reconstruction.poses.posed_images import CopyShares, PosedImages, Poses
from resmfn.reconstruction.poses.search_space import SearchSpace
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.cost_model import Cost, estimate_cost, memory_needed
from resmfn.reconstruction.run.preflight import map_frames, require_memory_to_grow
from resmfn.reconstruction.run.state import RunState
from resmfn.rotations import point_group

HALVES = ("half1", "half2")


Value = TypeVar("Value")


class RunContext:
    """One reconstruction: its settings, its images and its state.

    Parameters
    ----------
    config
        Settings.
    particles, observations
        The images as files, and as whitened Fourier pixels.
    state
        State of the run; the phases change it.
    listener
        Called with progress events.
    vote
        How the images' contrast was settled; None where they were taken as they are.
    boxes
        Boxes that the maps may have; by default that of the images alone.
    """

    def __init__(
        self,
        config: ReconstructionConfig,
        particles: ParticleSet,
        observations: Observations,
        state: RunState,
        listener: Listener,
        vote: ContrastChoice | None = None,
        boxes: BoxPlan | None = None,
    ) -> None:
        self.config, self.particles, self.observations, self.state = config, particles, observations, state
        self.listener, self.vote = listener, vote
        self.box_size, self.pixel_size = observations.box_size, observations.pixel_size
        self.device = observations.device
        self.mask_radius = WorkingBox.of(config, particles).mask_radius(config.mask_diameter)
        """Pixels."""
        self._space = SearchSpace(
            self.mask_radius,
            config.shift_range,
            config.search_symmetry,
            config.score_precision_on(self.device),
        )
        self.boxes = boxes or BoxPlan.fixed(self.box_size)
        self._work_in(state.map_size or self.boxes.first)
        self.index = torch.arange(len(particles), device=self.device)
        first_row, image_of = particles.distinct_images()
        self.first_row, self.image_of = first_row.to(self.device), image_of.to(self.device)
        """A row of each image, and the image that each row shows: of several rows of one image, one alone is searched
        or asked, and all are in one half."""
        self.half_index = self._split()
        if state.qualities.noise_power is not None:
            observations.set_noise_power(state.qualities.noise_power)
        if state.qualities.gain is not None:
            observations.set_gain(state.qualities.gain)
        if state.defocus.offset is not None:
            observations.set_defocus(state.defocus.offset)

    def _work_in(self, size: int) -> None:
        """Take maps, mask and sphere into a box of so many voxels a side."""
        self.map_size = size
        self.full = MapGrid(self.box_size, size, self.config.symmetry)
        self.sphere = sphere_on(self.full, self.mask_radius, self.device)
        self.user_mask = None if self.config.mask is None else self._read_mask(self.config.mask)

    def hold(self, radius: float) -> None:
        """Let the box grow to one that holds a radius in Fourier pixels, if it does not; images are read again then."""
        size = self.boxes.holding(radius)
        if size <= self.map_size:
            return
        held = self.boxes.radius_of(size)
        team = self.observations.team
        with team.refusing_together():
            if self.device.type == "cpu" and team.leads and team.shares_memory:
                sizes, radii = (self.map_size, size), (self.observations.radius_max, held)
                n_images, n_classes = len(self.particles), self.config.most_classes
                needed = memory_needed(n_images, self.map_size, team.size, self.particles.box_size, n_classes)
                require_memory_to_grow(n_images, sizes, radii, needed)
        self._work_in(size)
        words = f"images again, to {self.resolution(held):.1f} Å"
        self.tell("read", f"{words}; maps now have {size} voxels of {self.map_pixel_size:.3g} Å")
        self.observations.read_again(self.particles, mask_radius=self.mask_radius, radius_max=held)
        self.state.map_size = size
        for state in (self.state, *self.state.classes):
            state.maps = state.maps.resized(size)

    @property
    def map_pixel_size(self) -> float:
        """Å a voxel of the maps in hand."""
        return self.box_size * self.pixel_size / self.map_size

    @property
    def moves_poses(self) -> bool:
        """Whether poses are estimated at all."""
        return self.config.poses != "fixed"

    @property
    def relaxed_group(self) -> Tensor | None:
        """The point group (m, 3, 3) among whose copies each image chooses; None where none is relaxed."""
        return None if self.config.relax_symmetry is None else point_group(self.config.relax_symmetry)

    @property
    def moves_shift(self) -> bool:
        """Whether shifts are estimated."""
        return self.moves_poses and self.config.shift_range > 0

    def of_class(self, number: int, index: Tensor | None = None) -> RunContext:
        """Return a class as a run of its own: its state, and the images (m,) that may show it; by default all."""
        run = copy(self)
        run.state = self.state.classes[number]
        run.listener = lambda event: self.listener(
            replace(event, message=f"class {number + 1}: {event.message}", done=None, values=_of_class(event, number))
        )
        if index is not None:
            first, second = (half[torch.isin(half, index)] for half in self.half_index)
            run.index, run.half_index = index, (first, second)
        return run

    @property
    def space(self) -> SearchSpace:
        """Where poses are searched: of what is as large as the mask, or smaller where the starts have found that."""
        return replace(self._space, mask_radius=self.state.starts.mask_radius or self.mask_radius)

    def poses(self) -> Poses:
        """Return the poses of all images."""
        return already_set(self.state.poses.best)

    def half(self, name: str) -> PosedImages:
        """Return one half of the images with their poses."""
        index = self.half_index[HALVES.index(name)]
        return self.posed(index)

    def posed(self, index: Tensor) -> PosedImages:
        """Return some images with their poses and qualities."""
        good, group, share = self.state.qualities.good, self.relaxed_group, self.state.qualities.copy_shares
        return PosedImages(
            index,
            self.poses().select(index),
            None if good is None else good[index],
            None if group is None or share is None else CopyShares(group, share[index]),
        )

    def judge(self, posed: PosedImages, fits: ImageFits) -> None:
        """Estimate the gain of some images, and the probability that they show the particle, from their fits."""
        found = judge_images([fits.at_gain(self.observations.gain[posed.index])])
        gain, good = found.gain, found.particle_probability
        self.state.qualities = self.state.qualities.judged(posed.index, gain, good, len(self.particles))
        posed.particle_probability = good
        self.observations.set_gain(already_set(self.state.qualities.gain))

    def keep_poses(self, halves: list[PosedImages]) -> None:
        """Take over the poses of some images, and how likely they show each copy of them."""
        self.state.poses = self.state.poses.moved(halves)
        self.state.qualities = self.state.qualities.with_copies_of(halves, len(self.particles))

    def keep_defocus(self, fits: Mapping[str, DefocusFit], some: Mapping[str, PosedImages]) -> None:
        """Take over how far some images are off from the defocus of their file, and see them so from now on."""
        index = {name: posed.index for name, posed in some.items()}
        self.state.defocus = self.state.defocus.after(fits, index, len(self.particles))
        self.observations.set_defocus(already_set(self.state.defocus.offset))

    def network(self, name: str, radius: float | None = None) -> NetworkMap:
        """Return a network as the state holds it, or one drawn for this name and a radius, by default the last."""
        if name in self.state.maps.networks:
            return NetworkMap.from_state(self.state.maps.networks[name], device=self.device)
        generator = spawn(self.config.seed, "network", name)
        size = self.map_size
        if self.boxes.first < self.boxes.largest:  # what the box has beyond the last radius, a network need not have
            size = min(size, self.grid(radius or self.state.band.radius).size)
        width = self.config.hidden_dim or default_width(size)
        return NetworkMap.draw(size, width, generator=generator, device=self.device)

    def fit_networks(self, tasks: Mapping[str, Callable[[Team], FittedNetwork]]) -> list[float]:
        """Fit networks, each by the processes that it is given, and keep them with their maps, the next references.

        Returns
        -------
        list[float]
            How well each was fitted, as :meth:`NetworkMap.fit` says it.
        """
        fitted = self.observations.team.divide(list(tasks.values()))
        by_name, maps = dict(zip(tasks, fitted, strict=True)), self.state.maps
        maps = maps.with_references({name: found.reference.to(self.device) for name, found in by_name.items()})
        networks = {name: found.network for name, found in by_name.items()}
        self.state.maps = replace(maps, networks={**maps.networks, **networks})
        return [found.reached for found in fitted]

    def grid(self, radius: float) -> MapGrid:
        """Return the grid that a map of some radius in Fourier pixels needs."""
        return MapGrid.for_radius(self.box_size, radius, self.config.symmetry)

    def mask_on(self, grid: MapGrid) -> Tensor:
        """Return the mask on a grid: the user's, or the shape of the halves' mean map at low resolution."""
        mask = self.user_mask
        if mask is None:
            mean = sum(self.state.maps.references[name] for name in HALVES) / len(HALVES)
            mask = symmetrized(shape_mask(torch.as_tensor(mean), self.sphere, self.map_pixel_size), self.full.group)
        return resized(mask, grid.size).clamp(0, 1)

    def resolution(self, radius: float) -> float:
        """Return the resolution in Å of a radius in Fourier pixels."""
        return self.box_size * self.pixel_size / radius

    def fsc_resolution(self, fsc: Tensor) -> float:
        """Return where a half-map correlation falls below 0.143, in Å."""
        frequency = torch.arange(len(fsc), device=fsc.device) / (self.box_size * self.pixel_size)
        return FscCurve(frequency, fsc).resolution_at(0.143)

    @property
    def cost(self) -> Cost:
        """What the run is expected to cost, in the largest box until it is known which is the last."""
        is_last = self.state.phase.rpartition(" ")[2] in ("validate", "joint", "done")
        size, config = self.map_size if is_last else self.boxes.largest, self.config
        cost = estimate_cost(
            len(self.particles),
            (min(self.boxes.first, size), size),
            shift_range=config.shift_range,
            n_starts=config.n_starts,
            network_steps=config.network_steps,
            hidden_dim=config.hidden_dim,
            searches=config.poses == "unknown" and config.reference is None,
        ).reading_images(
            len(self.particles), self.particles.box_size, 1 + sum(smaller < size for smaller in self.boxes.sizes())
        )
        return cost.refining_defocus() if config.refine_defocus else cost

    def tell(self, stage: str, message: str, done: float | None = None, values: dict[str, float] | None = None) -> None:
        """Report progress; ``done`` is a share of the phases, of which listeners hear how much of the time it is."""
        self.listener(ProgressEvent(stage, message, None if done is None else self.cost.share(done), values))

    def read_own_map(self, flag: str, path: Path) -> Tensor:
        """Read a map of the user's into the box of the maps in hand."""
        return resized(read_own_map(flag, path, self._map_frames(), self.box_size), self.map_size).to(self.device)

    def _read_mask(self, path: Path) -> Tensor:
        mask = resized(read_own_mask(path, self._map_frames(), self.box_size), self.map_size)
        return mask.clamp(0, 1).to(self.device)

    def _map_frames(self) -> Mapping[int, float]:
        return map_frames(self.particles, WorkingBox(self.box_size, self.pixel_size))

    def _split(self) -> tuple[Tensor, Tensor]:
        """Split the images by rlnRandomSubset if the file has it, otherwise at random."""
        subset = half_sets(self.particles)
        if subset is None:
            order = torch.randperm(len(self.first_row), generator=spawn(self.config.seed, "halves"))
            of_image = torch.ones_like(order)
            of_image[order[len(order) // 2 :]] = 2
            subset = of_image.to(self.device)[self.image_of]
        subset = subset.to(self.device)
        return (subset == 1).nonzero()[:, 0], (subset == 2).nonzero()[:, 0]


def _of_class(event: ProgressEvent, number: int) -> dict[str, float] | None:
    return None if event.values is None else {**event.values, "class": number + 1}


def already_set(value: Value | None) -> Value:
    """Return a thing that an earlier phase has set."""
    if value is None:
        raise RuntimeError("a phase ran before the one that it depends on")
    return value
