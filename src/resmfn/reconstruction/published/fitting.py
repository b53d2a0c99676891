"""One epoch: for each batch some steps of the network at fixed poses, then some of the poses at a fixed network."""

from __future__ import annotations

import torch
from torch import Tensor

from resmfn.core.random import spawn
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.reconstruction.published.config import PublishedConfig
from resmfn.reconstruction.published.field import PublishedField
from resmfn.reconstruction.published.images import ImageView, PublishedImages
from resmfn.reconstruction.published.poses import PoseSteps, Slices, improve_poses
from resmfn.reconstruction.published.sphere import search_sphere
from resmfn.reconstruction.published.state import PublishedState
from resmfn.rotations import exp_so3, geodesic_degrees, random_rotations

CORNER = 3**0.5
"""Images are compared out to the corners of a scale's cubic band: there the low-pass lets a little through, and without
it the coarsest scale finds no poses (docs/reproduction.md)."""
WARM_UP_IMAGES = 3000
"""The warm-up needs no more."""


class Stage:
    """What all batches of a stage share: its scale, the images as it sees them, its grid."""

    def __init__(self, images: PublishedImages, field: PublishedField, scale: int) -> None:
        self.scale = scale
        radius = min(CORNER * field.radius(scale), (images.box_size - 1) // 2)
        band = field.network.config.bands.cutoffs[scale - 1]
        self.view: ImageView = images.view(band, radius)
        self.grid: MapGrid = field.grid(scale, radius)
        self.pixels = self.view.pixels


class PublishedFit:
    """Network, poses and statistics of a run.

    Parameters
    ----------
    config
        Settings.
    images
        The data; its true poses are used for the start alone.
    state
        Where to go on from; None to start.
    """

    def __init__(self, config: PublishedConfig, images: PublishedImages, state: PublishedState | None = None) -> None:
        self.config, self.images = config, images
        self.device = images.values.device
        begun = state is not None and state.epoch > 0
        if begun and state is not None:
            self.field = PublishedField.from_state(state.network, config, device=self.device)
        else:
            generator = spawn(config.seed, "network")
            self.field = PublishedField.draw(config, images.box_size, generator=generator, device=self.device)
        self.optimizer = torch.optim.Adam(self.field.network.parameters(), lr=config.bacon_lr)
        self.rotation = starting_poses(config, images).to(self.device)
        self.sums: SliceSums | None = None
        self.epoch = 0
        if begun and state is not None:
            self._go_on(state)
        self.stage = Stage(images, self.field, config.scale_at(max(self.epoch - 1, 0)))

    def run_epoch(self) -> dict[str, float]:
        """Pass over all images once; return the figures of the epoch."""
        scale = self.config.scale_at(self.epoch)
        if scale != self.stage.scale:
            self.stage = Stage(self.images, self.field, scale)
            self.sums = None
        n = len(self.images)
        order = torch.randperm(n, generator=spawn(self.config.seed, "batches", self.epoch)).to(self.device)
        before = self.rotation.clone()
        loss = torch.zeros(n, device=self.device)
        if self.epoch == 0:
            self._warm_up()
        if self.epoch in self.config.search_epochs:
            generator = spawn(self.config.seed, "sphere", self.epoch)
            self.rotation = search_sphere(self.stage.view, self._slices(), self.rotation, generator=generator)
        for index in order.tensor_split(-(-n // self.config.batch_size)):
            values, ctf = self.stage.view.batch(index)
            self._fit_network(values, ctf, self.rotation[index], self.config.bacon_iter, share=len(index) / n)
            self.rotation[index], loss[index] = self._move_poses(values, ctf, self.rotation[index])
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "scale": scale,
            "loss": float(loss.mean()) / len(self.stage.pixels),
            "pose_change": float(geodesic_degrees(self.rotation, before).median()),
        }

    def density(self, scale: int | None = None) -> Tensor:
        """Return a scale (default: the finest that is active) on the full grid, in the images' gray values."""
        grid = MapGrid(self.images.box_size, self.images.box_size)
        with torch.no_grad():
            return self.field.decode(grid, scale or self.stage.scale) * self.images.gray_scale

    def store(self, state: PublishedState) -> None:
        """Write what is known into a state."""
        state.epoch, state.rotation = self.epoch, self.rotation
        state.network, state.optimizer = self.field.state(), self.optimizer.state_dict()
        if self.sums is not None:
            state.sums_values, state.sums_weights = self.sums.values, self.sums.weights

    def _go_on(self, state: PublishedState) -> None:
        self.epoch = state.epoch
        self.optimizer.load_state_dict(state.optimizer)
        if state.rotation is not None:
            self.rotation = state.rotation.to(self.device)
        scale = self.config.scale_at(self.epoch - 1)
        if state.sums_values is not None and state.sums_weights is not None:
            self.sums = SliceSums(Stage(self.images, self.field, scale).grid, self.device)
            self.sums.values, self.sums.weights = state.sums_values.to(self.device), state.sums_weights.to(self.device)

    def _warm_up(self) -> None:
        """Fit the network at the starting poses: poses that moved before would follow a network that knows nothing."""
        if self.config.warm_up == 0:
            return
        index = torch.arange(min(len(self.images), WARM_UP_IMAGES), device=self.device)
        values, ctf = self.stage.view.batch(index)
        self._fit_network(values, ctf, self.rotation[index], self.config.warm_up, share=1.0)

    def _fit_network(self, values: Tensor, ctf: Tensor, rotation: Tensor, n_steps: int, *, share: float) -> None:
        """Take steps of the network on a quadratic that holds the batch and, fading, the batches before it."""
        if self.sums is None:
            self.sums = SliceSums(self.stage.grid, self.device)
        self.sums.values *= 1 - share
        self.sums.weights *= 1 - share
        self.sums.add(ctf * values, ctf.square(), rotation, self.stage.pixels)
        equations = MapEquations(self.sums)
        if self.field.amplitude is None:
            self.field.set_amplitude(equations)
        for _ in range(n_steps):
            self.field.fit_step(equations, self.stage.scale, self.optimizer)

    def _move_poses(self, values: Tensor, ctf: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Take the poses' steps against slices of the network, which is evaluated once."""
        config = self.config
        rate = config.pose_lr * config.pose_lr_decay**self.epoch
        steps = PoseSteps(rate, config.pose_beta1, config.pose_beta2, config.pose_iter)
        return improve_poses(rotation, values, ctf, self._slices(), steps)

    def _slices(self) -> Slices:
        """Return the finest active scale as what images are compared with."""
        with torch.no_grad():
            density = self.field.decode(self.stage.grid, self.stage.scale)
        return Slices(self.stage.grid.transform(density), self.stage.pixels)


def starting_poses(config: PublishedConfig, images: PublishedImages) -> Tensor:
    """Return the poses (n, 3, 3) that a run starts from, on the CPU.

    The TRUE ones turned about random axes by angles that are uniform between the two of ``init_from_truth``, or
    uniformly random ones that know nothing of the truth.
    """
    n = len(images)
    generator = spawn(config.seed, "start")
    if config.start_angles is None:
        return random_rotations(n, generator=generator)
    least, most = (torch.deg2rad(torch.tensor(angle)) for angle in config.start_angles)
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    angle = least + (most - least) * torch.rand(n, 1, generator=generator)
    return exp_so3(axis * angle) @ images.rotations
