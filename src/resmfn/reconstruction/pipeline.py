"""The reconstruction as a sequence of steps, each from one checkpoint to the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.core.errors import InputError
from resmfn.core.random import spawn
from resmfn.data import ParticleSet, read_map
from resmfn.evaluation import FscCurve
from resmfn.fourier import low_pass, resize_map
from resmfn.reconstruction.candidates import N_LISTED, best_of, distinct_candidates
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.masks import shape_mask
from resmfn.reconstruction.network_map import NetworkMap
from resmfn.reconstruction.normal_equations import MapGrid, NormalEquations, SliceSums
from resmfn.reconstruction.observations import Observations
from resmfn.reconstruction.pose_refinement import PoseModel, Poses
from resmfn.reconstruction.refinement import (
    Branch,
    RoundPlan,
    RoundReport,
    fsc_prior,
    half_map_fsc,
    insert_images,
    move_poses,
    next_radius,
    resized,
)
from resmfn.reconstruction.search import (
    FOCUS_STAGE,
    START_STAGES,
    SearchResult,
    SearchSpace,
    equations_of,
    first_offsets,
    power_prior,
    random_start,
    run_stage,
    sphere_on,
    stage_radius,
)
from resmfn.reconstruction.state import RunState

N_SEARCH = 3000
"""Images that the annealed starts use; more do not make a coarse map better."""
COARSE_STEPS = 100
ROUND_STEPS = 40
POSE_STEPS = 3
MOST_ROUNDS, JOINT_ROUNDS = 12, 3
RECHECK_ROUND = 2
"""After this round every image is once more compared with views from everywhere."""
SETTLED_TURN = 0.3
"""Degrees: rounds end when poses move less and the resolution no longer grows."""
HALVES = ("half1", "half2")


@dataclass(frozen=True)
class ProgressEvent:
    """What a person, or a log, is told after a piece of work."""

    stage: str
    message: str
    done: float
    """Share of the run, 0 to 1: a guess."""
    values: dict[str, float]

    @property
    def is_milestone(self) -> bool:
        """Whether a stage, a start or a round has ended, not only a step of one."""
        return bool(self.values) or self.done in (0.0, 0.35, 1.0)


Listener = Callable[[ProgressEvent], None]


class Pipeline:
    """Steps of one reconstruction over its state.

    Parameters
    ----------
    config
        Settings.
    particles, observations
        The images as files, and as whitened Fourier pixels.
    state
        Where to go on from; changed in place.
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
        self.fixed_mask = None if config.mask is None else self._read_mask()
        self.index = torch.arange(len(particles), device=self.device)
        self.half_index = self._half_index()
        self.moves_shift = config.shift_range > 0
        if state.noise_power is not None:
            observations.set_noise_power(state.noise_power)

    def advance(self) -> None:
        """Do the next step: between two steps the state is whole."""
        {"search": self._search, "focus": self._focus, "halves": self._halves, "joint": self._joint}[self.state.phase]()

    def prepare(self) -> None:
        """Enter the first phase that the settings need."""
        if self.config.poses != "unknown":
            rotation, shift = self.particles.require_poses()
            self.state.rotation = rotation.float().to(self.device)
            self.state.shift = shift.float().to(self.device)
            self.state.max_probability = torch.ones(len(self.particles), device=self.device)
            self.state.phase = "focus"
        elif self.config.reference is not None:
            self.state.coarse, self.state.radius = self._read_reference()
            self.state.phase = "focus"

    # --- a coarse map -----------------------------------------------------------------------------

    def _search(self) -> None:
        state, start = self.state, self.state.step
        index = self._search_index()
        result = random_start(
            self.observations,
            index,
            self.space,
            seed=self.config.seed,
            start=start,
            progress=lambda name, value: self._tell(
                f"start {start + 1} of {self.config.n_starts}", f"{name}, log-likelihood {value:.2f}", 0.001, {}
            ),
        )
        best = max(state.log_likelihoods, default=float("-inf"))
        state.log_likelihoods.append(result.log_evidence)
        if result.log_evidence > best:
            state.coarse, state.radius = result.volume, result.radius
        state.step += 1
        self._tell(
            "search",
            f"start {state.step} of {self.config.n_starts}: log-likelihood {result.log_evidence:.2f}",
            0.25 * state.step / self.config.n_starts,
            {"start": state.step, "log_likelihood": result.log_evidence},
        )
        if state.step == self.config.n_starts:
            state.phase, state.step = "focus", 0

    def _focus(self) -> None:
        """One map of all images at the last radius that they share, and the networks' first look at it."""
        equations, prior, mask, radius = (
            self._focus_on_search() if self.config.poses == "unknown" else self._focus_on_input()
        )
        state = self.state
        for name in (*HALVES, "joint"):
            network = NetworkMap.draw(
                self.box_size, self.config.hidden_dim, generator=spawn(self.config.seed, name), device=self.device
            )
            finest = network.scale_for(radius)
            for scale in range(1, finest + 1):
                network.fit(equations, mask, prior, scale=scale, steps=COARSE_STEPS)
            with torch.no_grad():
                state.references[name] = resized(network.decode(equations.grid, finest) * mask, self.box_size)
            state.networks[name] = network.state()
        state.radius = state.split_radius = radius
        state.phase, state.step = "halves", 0
        self._tell("focus", f"common map to {self._resolution(radius):.1f} Å; networks of both halves begin", 0.35, {})

    def _focus_on_search(self) -> tuple[NormalEquations, Tensor, Tensor, float]:
        state, generator = self.state, spawn(self.config.seed, "focus")
        volume = _required(state.coarse)
        shift = torch.zeros(len(self.index), 2, device=self.device)
        start = SearchResult.from_map(volume, state.radius, shift)
        if self.config.shift_range > 0:
            start = self._center(start, generator)
        result = run_stage(
            self.observations,
            self.index,
            self.space,
            FOCUS_STAGE,
            start,
            generator=generator,
            progress=lambda name, value: self._tell("focus", f"{name}, log-likelihood {value:.2f}", 0.3, {}),
            n_top=N_LISTED,
        )
        state.candidate_rotation, state.candidate_shift = distinct_candidates(result)
        state.rotation, state.shift = state.candidate_rotation[:, 0], state.candidate_shift[:, 0]
        state.max_probability = result.posterior.max_probability
        state.coarse = result.volume
        grid = MapGrid(self.box_size, result.volume.shape[0])
        pixels = self.observations.pixels[: self.observations.n_pixels(result.radius)]
        equations = equations_of(result.posterior, result.rotations, pixels, grid)
        mask = sphere_on(grid, self.space, self.device)
        prior = power_prior(result.volume, mask, int(result.radius) + 1)
        return equations, prior, mask, result.radius

    def _center(self, start: SearchResult, generator: torch.Generator) -> SearchResult:
        """Find every image's shift, over the whole range, with the map that the starts left."""
        stage = START_STAGES[-1]
        radius = stage_radius(stage, self.observations, self.space)
        return run_stage(
            self.observations,
            self.index,
            self.space,
            stage.once(),
            start,
            generator=generator,
            offsets=first_offsets(self.observations, radius, self.space),
            progress=lambda name, value: self._tell("centering", f"{name}, log-likelihood {value:.2f}", 0.27, {}),
        )

    def _focus_on_input(self) -> tuple[NormalEquations, Tensor, Tensor, float]:
        radius = stage_radius(FOCUS_STAGE, self.observations, self.space)
        grid = MapGrid.for_radius(self.box_size, radius)
        mask = sphere_on(grid, self.space, self.device)
        everyone = Branch(self.index, self._poses())
        equations = NormalEquations(insert_images(self.observations, everyone, grid, radius))
        weak = 0.3 * equations.shell_weights()[: int(radius) + 1]
        prior = power_prior(equations.solve(mask, weak), mask, int(radius) + 1)
        return equations, prior, mask, radius

    # --- rounds -----------------------------------------------------------------------------------

    def _halves(self) -> None:
        """One round of both halves, each with its own images, poses and network."""
        state = self.state
        moves = self.config.poses != "fixed"
        radius = self._round_radius(moves)
        plan = self._plan(radius, moves)
        grid = MapGrid.for_radius(self.box_size, radius)
        mask = self.mask_on(grid)
        branches = [self._branch(name) for name in HALVES]
        reports = [self._move(branch, name, plan) for name, branch in zip(HALVES, branches, strict=True)]
        if moves:
            self._update_noise(reports)
        sums = [insert_images(self.observations, branch, grid, radius) for branch in branches]
        fits = [
            self._fit(name, NormalEquations(part), mask, plan, halves_in=1)
            for name, part in zip(HALVES, sums, strict=True)
        ]
        self._keep_poses(branches)
        first, second = (resized(state.references[name], grid.size) for name in HALVES)
        state.fsc = half_map_fsc(first, second, radius)
        state.resolutions.append(self._fsc_resolution(state.fsc))
        turn = max(report.pose_change for report in reports)
        state.radius, state.step = radius, state.step + 1
        self._tell_round("halves", 0.35 + 0.4 * min(1, state.step / 9), radius, reports, fits)
        rounds = MOST_ROUNDS if moves else 3
        if state.step == rounds or (moves and self._has_settled(turn)):
            state.phase, state.step = "joint", 0

    def _joint(self) -> None:
        """One round of all images together; the last one also ends the halves' fits."""
        state = self.state
        moves = self.config.poses != "fixed" and state.step > 0
        last = state.step == (JOINT_ROUNDS if self.config.poses != "fixed" else 1)
        plan = self._plan(state.radius, moves, self.config.network_steps if last else 2 * ROUND_STEPS)
        grid = MapGrid.for_radius(self.box_size, state.radius)
        mask = self.mask_on(grid)
        if last:
            for name in HALVES:
                part = insert_images(self.observations, self._branch(name), grid, state.radius)
                self._fit(name, NormalEquations(part), mask, plan, halves_in=1)
            state.fsc = half_map_fsc(*(resized(state.references[name], grid.size) for name in HALVES), state.radius)
        branch = Branch(self.index, self._poses())
        reports = [self._move(branch, "joint", plan)]
        equations = NormalEquations(insert_images(self.observations, branch, grid, state.radius))
        fits = [self._fit("joint", equations, mask, plan, halves_in=2)]
        self._keep_poses([branch])
        state.step += 1
        self._tell_round("joint", 0.75 + 0.06 * state.step, state.radius, reports, fits)
        if last:
            state.phase, state.step = "done", 0

    def _move(self, branch: Branch, name: str, plan: RoundPlan) -> RoundReport:
        """Move the poses of a branch against its own network's map."""
        state = self.state
        if plan.iterations == 0:
            return RoundReport(0.0, 0.0, float("nan"), torch.ones(1, device=self.device))
        grid = MapGrid.for_radius(self.box_size, plan.radius)
        volume = resized(state.references[name], grid.size)
        if state.phase == "halves" and self.config.poses == "unknown":
            candidates = None
            if state.step == 0:
                candidates = (
                    _required(state.candidate_rotation)[branch.index],
                    _required(state.candidate_shift)[branch.index],
                )
            elif state.step == RECHECK_ROUND:
                candidates = self._search_again(branch, name)
            if candidates is not None:
                model = PoseModel(grid, grid.transform(volume), plan.radius, plan.moves_shift, plan.shift_spread)
                branch.poses = best_of(self.observations, branch.index, *candidates, model, plan.iterations)
        return move_poses(self.observations, branch, volume, plan)

    def _search_again(self, branch: Branch, name: str) -> tuple[Tensor, Tensor]:
        """Return the pose each image has, and the best ones elsewhere, by its own half's map."""
        start = SearchResult.from_map(self.state.references[name], self.state.radius, branch.poses.shift)
        result = run_stage(
            self.observations,
            branch.index,
            self.space,
            FOCUS_STAGE.once(),
            start,
            generator=spawn(self.config.seed, "recheck", name),
            progress=lambda *_: None,
            n_top=N_LISTED,
        )
        rotation, shift = distinct_candidates(result)
        here = branch.poses
        return torch.cat((here.rotation[:, None], rotation), 1), torch.cat((here.shift[:, None], shift), 1)

    def _fit(self, name: str, equations: NormalEquations, mask: Tensor, plan: RoundPlan, *, halves_in: int) -> float:
        """Fit a network to normal equations and keep its map as the next reference."""
        state = self.state
        network = NetworkMap.from_state(state.networks[name], device=self.device)
        n_shells = int(plan.radius) + 1
        if state.fsc is None:
            together = sum(resized(state.references[half], mask.shape[0]) for half in HALVES) / len(HALVES)
            prior = power_prior(together * mask, mask, n_shells)
        else:
            prior = fsc_prior(equations, state.fsc, n_shells, halves_in=halves_in)
        scale = network.scale_for(plan.radius)
        reached = network.fit(equations, mask, prior, scale=scale, steps=plan.network_steps)
        with torch.no_grad():
            state.references[name] = resized(network.decode(equations.grid, scale) * mask, self.box_size)
        state.networks[name] = network.state()
        return reached

    def _plan(self, radius: float, moves: bool, network_steps: int = ROUND_STEPS) -> RoundPlan:
        spread = None
        if self.moves_shift:
            spread = max(float(_required(self.state.shift).square().mean().sqrt()), 0.5 * self.pixel_size)
        return RoundPlan(radius, POSE_STEPS if moves else 0, network_steps, self.moves_shift, spread)

    def _round_radius(self, moves: bool) -> float:
        state, most = self.state, self.observations.radius_max
        if not moves:
            return most
        if state.fsc is None:
            return min(1.25 * state.radius + 1, most)
        return max(next_radius(state.fsc, state.radius, most), state.radius)

    def _has_settled(self, turn: float) -> bool:
        following = self._round_radius(moves=True)
        return following < 1.02 * self.state.radius and turn < SETTLED_TURN

    def _update_noise(self, reports: list[RoundReport]) -> None:
        """Correct the noise spectrum by what the maps leave unexplained."""
        residual = torch.stack([report.residual_power for report in reports]).mean(dim=0)
        power = self.observations.noise_power.clone()
        n_known = min(len(residual), len(power))
        factor = torch.where(residual > 0, residual, torch.ones_like(residual))[:n_known].clamp(0.5, 2)
        power[:n_known] *= factor
        self.observations.set_noise_power(power)
        self.state.noise_power = power

    # --- pieces -----------------------------------------------------------------------------------

    def mask_on(self, grid: MapGrid) -> Tensor:
        """Return the mask on a grid: the user's, or the shape of the halves' mean map at low resolution."""
        mask = self.fixed_mask
        if mask is None:
            mean = sum(self.state.references[name] for name in HALVES) / len(HALVES)
            mask = shape_mask(mean, self.sphere, self.pixel_size)
        return resized(mask, grid.size).clamp(0, 1)

    def _branch(self, name: str) -> Branch:
        index = self.half_index[HALVES.index(name)]
        return Branch(index, self._poses().select(index))

    def _poses(self) -> Poses:
        return Poses(_required(self.state.rotation), _required(self.state.shift))

    def _keep_poses(self, branches: list[Branch]) -> None:
        rotation, shift = _required(self.state.rotation).clone(), _required(self.state.shift).clone()
        for branch in branches:
            rotation[branch.index] = branch.poses.rotation
            shift[branch.index] = branch.poses.shift
        self.state.rotation, self.state.shift = rotation, shift

    def _half_index(self) -> tuple[Tensor, Tensor]:
        """Split the images: as rlnRandomSubset says where it is there, otherwise by chance."""
        table = self.particles.table
        if "rlnRandomSubset" in table:
            subset = torch.tensor([int(float(cell)) for cell in table.text("rlnRandomSubset")])
            if set(subset.tolist()) == {1, 2}:
                return (subset == 1).nonzero()[:, 0].to(self.device), (subset == 2).nonzero()[:, 0].to(self.device)
        order = torch.randperm(len(self.particles), generator=spawn(self.config.seed, "halves"))
        middle = len(order) // 2
        return order[:middle].sort().values.to(self.device), order[middle:].sort().values.to(self.device)

    def _search_index(self) -> Tensor:
        if len(self.index) <= N_SEARCH:
            return self.index
        order = torch.randperm(len(self.index), generator=spawn(self.config.seed, "search"))
        return order[:N_SEARCH].sort().values.to(self.device)

    def _read_reference(self) -> tuple[Tensor, float]:
        path = self.config.reference
        reference = read_map(_required(path))
        self._require_same_box(f"--reference {path}", reference.box_size, reference.pixel_size)
        radius = min(self.box_size * self.pixel_size / self.config.ini_high, self.observations.radius_max)
        volume = low_pass(reference.data.to(self.device), radius, 2.0) * self.sphere
        grid = MapGrid.for_radius(self.box_size, radius + 2)
        # Its grey scale is unknown: give it the strength that makes the images likeliest, roughly.
        volume = resize_map(volume, grid.size)
        return volume * self._reference_gain(volume, grid, radius), radius

    def _reference_gain(self, volume: Tensor, grid: MapGrid, radius: float) -> float:
        """Return the factor that gives slices of a map the power that the images have beyond their noise."""
        n_pixels = self.observations.n_pixels(radius)
        values, ctf = self.observations.batch(self._search_index(), n_pixels)
        signal = float((values.abs().square() - 1).mean().clamp_min(1e-6))
        rotation = Pipeline._even_views(self.device)
        slices = grid.slices(grid.transform(volume), rotation, self.observations.pixels[:n_pixels])
        expected = float((ctf.square().mean(dim=0) * slices.abs().square().mean(dim=0)).mean())
        if not expected > 0:
            raise InputError(f"--reference {self.config.reference} is empty inside the mask; give another map")
        return (signal / expected) ** 0.5

    @staticmethod
    def _even_views(device: torch.device) -> Tensor:
        from resmfn.rotations import super_fibonacci

        return super_fibonacci(200, device=device)

    def _read_mask(self) -> Tensor:
        path = _required(self.config.mask)
        mask = read_map(path)
        self._require_same_box(f"--mask {path}", mask.box_size, mask.pixel_size)
        if float(mask.data.min()) < -1e-3 or float(mask.data.max()) > 1 + 1e-3 or float(mask.data.max()) <= 0:
            raise InputError(
                f"--mask {path} must lie between 0 and 1, got {float(mask.data.min()):g} to "
                f"{float(mask.data.max()):g}; threshold the map and soften its edge first"
            )
        return mask.data.clamp(0, 1).to(self.device)

    def _require_same_box(self, name: str, box_size: int, pixel_size: float) -> None:
        if box_size != self.box_size or abs(pixel_size - self.pixel_size) > 0.01 * self.pixel_size:
            raise InputError(
                f"{name} must have the images' box of {self.box_size} pixels of {self.pixel_size:g} Å, got "
                f"{box_size} of {pixel_size:g} Å; resample it"
            )

    def _resolution(self, radius: float) -> float:
        return self.box_size * self.pixel_size / radius

    def _fsc_resolution(self, fsc: Tensor) -> float:
        frequency = torch.arange(len(fsc), device=fsc.device) / (self.box_size * self.pixel_size)
        return FscCurve(frequency, fsc).resolution_at(0.143)

    def _tell_round(
        self, stage: str, done: float, radius: float, reports: list[RoundReport], fits: list[float]
    ) -> None:
        turn = max(report.pose_change for report in reports)
        likelihood = sum(report.log_likelihood for report in reports) / len(reports)
        values = {
            "round": self.state.step,
            "radius": radius,
            "pose_change": turn,
            "shift_change": max(report.shift_change for report in reports),
            "log_likelihood": likelihood,
            "resolution": self.state.resolutions[-1],
            "network_fit": min(fits),
        }
        message = (
            f"round {self.state.step} to {self._resolution(radius):.1f} Å: half maps agree to "
            f"{values['resolution']:.2f} Å, poses moved {turn:.2f}°"
        )
        self._tell(stage, message, min(done, 0.99), values)

    def _tell(self, stage: str, message: str, done: float, values: dict[str, float]) -> None:
        self.listener(ProgressEvent(stage, message, done, values))


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


def _required(value):  # noqa: ANN001, ANN202 - any optional thing that an earlier phase has set
    if value is None:
        raise RuntimeError("a phase ran before the one it builds on")
    return value


def wall_clock() -> tuple[float, float]:
    """Return seconds of wall clock and of this process's CPU time."""
    return time.monotonic(), time.process_time()


__all__ = ["HALVES", "Pipeline", "ProgressEvent", "SliceSums", "mask_radius"]
