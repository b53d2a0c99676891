"""What all phases of a reconstruction share: settings, images, state, masks, poses."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.core.progress import Listener, ProgressEvent
from resmfn.core.random import spawn
from resmfn.data import ParticleSet, read_map
from resmfn.evaluation import FscCurve
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.masks import shape_mask
from resmfn.reconstruction.network_map import NetworkMap, default_width
from resmfn.reconstruction.normal_equations import MapGrid
from resmfn.reconstruction.observations import Observations
from resmfn.reconstruction.pose_refinement import Poses
from resmfn.reconstruction.refinement import Branch, resized
from resmfn.reconstruction.search import SearchSpace, sphere_on
from resmfn.reconstruction.state import RunState

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
        Where to go on from; the phases change it.
    listener
        Told of progress.
    """

    def __init__(
        self,
        config: ReconstructionConfig,
        particles: ParticleSet,
        observations: Observations,
        state: RunState,
        listener: Listener,
    ) -> None:
        self.config, self.particles, self.observations, self.state = config, particles, observations, state
        self.listener = listener
        self.box_size, self.pixel_size = particles.box_size, particles.pixel_size
        self.device = observations.device
        self.space = SearchSpace(mask_radius(config, particles), config.shift_range)
        self.full = MapGrid(self.box_size, self.box_size)
        self.sphere = sphere_on(self.full, self.space, self.device)
        self.user_mask = None if config.mask is None else self._read_mask()
        self.index = torch.arange(len(particles), device=self.device)
        self.half_index = self._split()
        if state.noise_power is not None:
            observations.set_noise_power(state.noise_power)

    @property
    def moves_poses(self) -> bool:
        """Whether poses are estimated at all."""
        return self.config.poses != "fixed"

    @property
    def moves_shift(self) -> bool:
        """Whether shifts are estimated."""
        return self.moves_poses and self.config.shift_range > 0

    def poses(self) -> Poses:
        """Return the poses of all images."""
        return Poses(required(self.state.rotation), required(self.state.shift))

    def half(self, name: str) -> Branch:
        """Return one half of the images with their poses."""
        index = self.half_index[HALVES.index(name)]
        return Branch(index, self.poses().select(index))

    def keep_poses(self, branches: list[Branch]) -> None:
        """Take over the poses of some images."""
        rotation, shift = required(self.state.rotation).clone(), required(self.state.shift).clone()
        for branch in branches:
            rotation[branch.index] = branch.poses.rotation
            shift[branch.index] = branch.poses.shift
        self.state.rotation, self.state.shift = rotation, shift

    def network(self, name: str) -> NetworkMap:
        """Return a network as the state holds it, or a fresh one drawn for this name."""
        if name in self.state.networks:
            return NetworkMap.from_state(self.state.networks[name], device=self.device)
        generator = spawn(self.config.seed, "network", name)
        width = self.config.hidden_dim or default_width(self.box_size)
        return NetworkMap.draw(self.box_size, width, generator=generator, device=self.device)

    def keep_network(self, name: str, network: NetworkMap, grid: MapGrid, scale: int, mask: Tensor) -> None:
        """Store a network and its masked map, which is the next reference."""
        with torch.no_grad():
            self.state.references[name] = resized(network.decode(grid, scale) * mask, self.box_size)
        self.state.networks[name] = network.state()

    def mask_on(self, grid: MapGrid) -> Tensor:
        """Return the mask on a grid: the user's, or the shape of the halves' mean map at low resolution."""
        mask = self.user_mask
        if mask is None:
            mean = sum(self.state.references[name] for name in HALVES) / len(HALVES)
            mask = shape_mask(torch.as_tensor(mean), self.sphere, self.pixel_size)
        return resized(mask, grid.size).clamp(0, 1)

    def resolution(self, radius: float) -> float:
        """Return the resolution in Å of a radius in Fourier pixels."""
        return self.box_size * self.pixel_size / radius

    def fsc_resolution(self, fsc: Tensor) -> float:
        """Return where a half-map correlation falls below 0.143, in Å."""
        frequency = torch.arange(len(fsc), device=fsc.device) / (self.box_size * self.pixel_size)
        return FscCurve(frequency, fsc).resolution_at(0.143)

    def tell(self, stage: str, message: str, done: float | None = None, values: dict[str, float] | None = None) -> None:
        """Report progress."""
        self.listener(ProgressEvent(stage, message, done, values))

    def read_own_map(self, flag: str, path: object) -> Tensor:
        """Read a map that must have the images' box and pixel size."""
        found = read_map(str(path))
        if found.box_size != self.box_size or abs(found.pixel_size - self.pixel_size) > 0.01 * self.pixel_size:
            raise InputError(
                f"{flag} {path} must have the images' box of {self.box_size} pixels of {self.pixel_size:g} Å, got "
                f"{found.box_size} of {found.pixel_size:g} Å; resample it"
            )
        return found.data.to(self.device)

    def _read_mask(self) -> Tensor:
        path = self.config.mask
        mask = self.read_own_map("--mask", path)
        low, high = float(mask.min()), float(mask.max())
        if low < -1e-3 or high > 1 + 1e-3 or high <= 0:
            raise InputError(
                f"--mask {path} must lie between 0 and 1, got {low:g} to {high:g}; threshold the map and soften its "
                "edge first"
            )
        return mask.clamp(0, 1)

    def _split(self) -> tuple[Tensor, Tensor]:
        """Split the images: as rlnRandomSubset says where it is there, otherwise by chance."""
        table = self.particles.table
        if "rlnRandomSubset" in table:
            subset = torch.tensor([int(float(cell)) for cell in table.text("rlnRandomSubset")])
            if set(subset.tolist()) == {1, 2}:
                return (subset == 1).nonzero()[:, 0].to(self.device), (subset == 2).nonzero()[:, 0].to(self.device)
        order = torch.randperm(len(self.particles), generator=spawn(self.config.seed, "halves"))
        middle = len(order) // 2
        return order[:middle].sort().values.to(self.device), order[middle:].sort().values.to(self.device)


def mask_radius(config: ReconstructionConfig, particles: ParticleSet) -> float:
    """Return the radius of the spherical mask in pixels; by default 0.42 of the box."""
    if config.mask_diameter is None:
        return 0.42 * particles.box_size
    radius = config.mask_diameter / (2 * particles.pixel_size)
    if not 2 <= radius <= 0.5 * particles.box_size:
        side = particles.box_size * particles.pixel_size
        raise InputError(
            f"--mask-diameter must lie between 4 pixels and the box, {4 * particles.pixel_size:g} to {side:g} Å, got "
            f"{config.mask_diameter:g}"
        )
    return radius


def required(value: Value | None) -> Value:
    """Return a thing that an earlier phase has set."""
    if value is None:
        raise RuntimeError("a phase ran before the one it builds on")
    return value
