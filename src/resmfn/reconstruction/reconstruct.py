"""Particle images with unknown poses to a validated map, in a run folder that can be resumed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from resmfn.core import InputError, StoppedError, choose_device
from resmfn.core.chunked_work import refusing_when_out_of_memory
from resmfn.core.device import limit_gpu_memory
from resmfn.core.errors import NoMemoryError
from resmfn.core.processes import Team, team_of_environment
from resmfn.core.progress import ProgressEvent
from resmfn.data import ParticleSet, Supplement, read_particles
from resmfn.data.runs.file_names import CONFIG
from resmfn.data.runs.progress_file import ProgressFile
from resmfn.data.runs.result_files import recorded_results
from resmfn.data.runs.run_folder import RunFolder, classes_share_frame, settings_of
from resmfn.data.selection import class_numbers, images_of_classes
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.contrast import choose_contrast
from resmfn.reconstruction.images.observations import observe
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.phase_table import enter_first_phase, first_radius, take_step
from resmfn.reconstruction.results.classes import write_classes
from resmfn.reconstruction.results.outputs import write_results
from resmfn.reconstruction.run.bookkeeping import Clock, ProgressReporter, add_costs, save
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.context import RunContext
from resmfn.reconstruction.run.input_digest import NOISE, digest_input, require_same_images, require_same_noise
from resmfn.reconstruction.run.memory_plan import within_memory
from resmfn.reconstruction.run.preflight import refuse_early, require_memory_for_images, require_space, space_needed
from resmfn.reconstruction.run.progress_files import write_preview, write_provenance
from resmfn.reconstruction.run.state import RunState


@dataclass(frozen=True)
class ReconstructionResult:
    """A finished run: its folder and its figures."""

    run: Path
    """The run folder."""
    summary: dict[str, object]
    """Content of summary.json."""


def reconstruct(
    config: ReconstructionConfig,
    listener: Callable[[ProgressEvent], None] | None = None,
    *,
    stop: Callable[[], bool] | None = None,
) -> ReconstructionResult:
    """Reconstruct a map, and the poses of the images, from a RELION particle file.

    Coarse to fine: annealed starts on grids over SO(3); then rounds in which two independent half maps are solved
    and the poses of each half set are refined against its own map; then rounds of all images, and a residual
    multiplicative filter network (Shekarforoush et al., NeurIPS 2022) fitted to the final map.

    Parameters
    ----------
    config
        Settings.
    listener
        Called with each progress event.
    stop
        Called after every step, when all is saved; returns whether to stop.

    Returns
    -------
    ReconstructionResult
        The run folder, which holds map.mrc, half1.mrc, half2.mrc, particles.star and summary.json among others
        (docs/run-folder.md), and the summary.

    Raises
    ------
    InputError
        The input cannot be used. Nothing is left behind then.
    StoppedError
        The run was asked to stop, and did.
    """
    with team_of_environment(config.device) as team:
        try:
            with refusing_when_out_of_memory():
                return _reconstruct(config, listener, stop, team)
        except InputError as error:
            if team.leads:
                raise
            if isinstance(error, NoMemoryError):  # met here alone: the leading process sees that this one is lost
                raise NoMemoryError(f"process {team.rank + 1} of {team.size}: {error}") from None
            raise SystemExit(2) from None  # the leading process says why


def _reconstruct(
    config: ReconstructionConfig,
    listener: Callable[[ProgressEvent], None] | None,
    stop: Callable[[], bool] | None,
    team: Team,
) -> ReconstructionResult:
    started = Clock()
    particles = _read(config)
    device = choose_device(config.device)
    if config.gpu_memory is not None:
        limit_gpu_memory(device, config.gpu_memory)
    box = WorkingBox.of(config, particles)
    boxes = BoxPlan.of(config, box, first_radius(config, box))
    boxes, limit = within_memory(config, boxes, box, len(particles), team.size)
    config = _resolved(config, box, particles, device)
    radius = box.mask_radius(config.mask_diameter)  # as config.yaml says it, to the last digit
    refuse_early(config, particles, box)
    with ExitStack() as stack:
        with team.refusing_together():
            folder = stack.enter_context(_own_folder(config, team))
        state, resumed = _first_state(folder, team, device)
        state.map_size = state.map_size or boxes.first
        boxes.require_reached(state.map_size, config.out)
        held = boxes.radius_of(state.map_size)
        with team.refusing_together():
            if team.leads:
                _require_room(
                    folder, len(particles), box, held, config, here=device.type == "cpu" and team.shares_memory
                )
                _require_same_images(config, particles, state)
        progress = ProgressFile(folder)
        reporter = ProgressReporter(folder, progress, listener if team.leads else None)
        several = f", {team.size} processes" if team.size > 1 else ""
        described = f"{_describe(particles, box, state.map_size)} on {device}{several}"
        for line in (described, *particles.remarks.applied, *particles.remarks.notes, *([limit] if limit else [])):
            reporter(ProgressEvent("read", line, 0.0))
        observations = observe(
            particles, mask_radius=radius, device=device, box_size=box.box_size, radius_max=held, team=team
        )
        require_same_noise(config.out, particles, state.input.get(NOISE), observations.noise_level)
        state.input[NOISE] = observations.noise_level
        observations.chunked_work.listener = lambda message: reporter(ProgressEvent("memory", message))
        vote = choose_contrast(observations, config.contrast)
        reporter(ProgressEvent("read", vote.message, 0.0))
        run = RunContext(config, particles, observations, state, reporter, vote, boxes)
        if not resumed:
            enter_first_phase(run)
        folder.begin()  # all input was read by now: what it lacked left the folder as it was
        write_provenance(folder, device)
        progress.earlier_seconds = state.costs.seconds
        if resumed:
            folder.keep_metrics(state.n_metrics)
            reporter(ProgressEvent("resume", f"from phase {state.phase}, step {state.step}"))
        _take_steps(run, folder, started, stop)
        summary = team.from_leader(_write_results(folder, run) if team.leads else {})
        reporter(ProgressEvent("done", str(summary["verdict"]), 1.0))
    return ReconstructionResult(config.out, summary)


def _take_steps(run: RunContext, folder: RunFolder, started: Clock, stop: Callable[[], bool] | None) -> None:
    """Take the steps that are left, each of which is saved."""
    state, team = run.state, run.observations.team
    while state.phase != "done":
        take_step(run)
        add_costs(state, started, team)
        if team.leads:  # the others have the same state
            save(folder, state)
            write_preview(folder, run)
        _stop_if_asked(stop, folder, run)


def _require_room(
    folder: RunFolder, n_images: int, box: WorkingBox, radius: int, config: ReconstructionConfig, *, here: bool
) -> None:
    """Refuse a run that its disk has no room for or, where this machine holds all images, its memory."""
    if here:
        require_memory_for_images(n_images, box.box_size, radius)
    require_space(folder.path, space_needed(n_images, box.box_size, config.hidden_dim, config.most_classes))


def _read(config: ReconstructionConfig) -> ParticleSet:
    """Read the particle file; a run that is resumed finds its images where it found them before."""
    datadir = config.datadir
    if datadir is None and config.resume:
        before = settings_of(config.out).get("datadir")
        datadir = Path(before) if before is not None and Path(before).is_dir() else None
    particles = read_particles(
        config.particles,
        datadir,
        pixel_size=config.pixel_size,
        strip_prefix=config.strip_prefix,
        allow_outside=config.allow_outside,
        supplement=Supplement(
            passthrough=config.passthrough,
            voltage=config.voltage,
            spherical_aberration=config.spherical_aberration,
            amplitude_contrast=config.amplitude_contrast,
        ),
    )
    return _chosen(particles, config).in_common_frame()


def _chosen(particles: ParticleSet, config: ReconstructionConfig) -> ParticleSet:
    """Return the images of the classes that the settings name; all if they name none."""
    run = config.classes_from
    if run is None or config.classes is None:
        return particles
    takes_poses, numbers = config.poses != "unknown", class_numbers(config.classes)
    group = settings_of(run if run.is_dir() else run.parent).get("symmetry")
    if takes_poses and len(numbers) > 1 and not classes_share_frame(run):
        raise InputError(
            f"--classes {config.classes}: each class of {run} has poses in a frame, and of a hand, of its own; "
            f"name one class, or leave out --poses {config.poses}, so that poses are searched anew"
        )
    if takes_poses and group is not None and group != config.symmetry:
        raise InputError(
            f"--symmetry {config.symmetry}: the poses of {run} are of {group}, whose axes are not those of "
            f"{config.symmetry}; leave out --poses {config.poses}, so that poses are searched anew"
        )
    return images_of_classes(particles, run, numbers, with_poses=takes_poses)


def _write_results(folder: RunFolder, run: RunContext) -> dict[str, object]:
    if run.config.n_classes != 1:
        return write_classes(folder, run)
    with recorded_results(folder):
        return write_results(folder, run)


def _stop_if_asked(stop: Callable[[], bool] | None, folder: RunFolder, run: RunContext) -> None:
    if run.observations.team.from_leader(stop is not None and stop()):
        run.tell("stop", f"stopping on request; saved before phase {run.state.phase}, step {run.state.step}")
        raise StoppedError(
            "stopped after a complete step, everything is saved; continue with: resmfn reconstruct "
            f"--config {shlex.quote(str(folder.path / CONFIG))} --out {shlex.quote(str(folder.path))} --resume"
        )


@contextmanager
def _own_folder(config: ReconstructionConfig, team: Team) -> Iterator[RunFolder]:
    """Open the run folder, in the leading process; the others write into one that is thrown away."""
    with TemporaryDirectory() as passing:
        own = config if team.leads else replace(config, out=Path(passing) / "run")
        with RunFolder(own) as folder:
            yield folder


def _resolved(
    config: ReconstructionConfig, box: WorkingBox, particles: ParticleSet, device: torch.device
) -> ReconstructionConfig:
    """Return the settings with every default that depends on the data filled in."""
    return replace(
        config,
        mask_diameter=round(2 * box.mask_radius(config.mask_diameter) * box.pixel_size, 6),
        # Of optics groups that differ in it, each keeps its own when the run goes on.
        pixel_size=particles.pixel_size if particles.frame is None else config.pixel_size,
        datadir=config.datadir or (None if particles.images is None else particles.images.start),
        device="cuda" if device.type == "cuda" else "cpu",
    )


def _first_state(folder: RunFolder, team: Team, device: torch.device) -> tuple[RunState, bool]:
    with team.refusing_together():
        stored = folder.load(RunState.format)  # there is none but the leader's
    stored = team.from_leader(stored)
    if stored is None:
        return RunState(), False
    return RunState.from_dict(stored, device), True


def _require_same_images(config: ReconstructionConfig, particles: ParticleSet, state: RunState) -> None:
    """Compare the input with what the run was begun with, and keep what it is."""
    found = digest_input(config, particles)
    require_same_images(config.out, particles, state.input, found)
    state.input = found | {NOISE: state.input[NOISE]} if NOISE in state.input else found


def _describe(particles: ParticleSet, box: WorkingBox, map_size: int) -> str:
    native = particles.box_size
    text = f"{len(particles)} particles of {native} x {native} pixels of {particles.pixel_size:g} Å"
    text += " (to which those of other optics groups are resampled)" if particles.frame is not None else ""
    if box.box_size != native:
        text += f", cropped to {box.box_size} of {box.pixel_size:g} Å"
    elif map_size != native:
        text += f", maps at first of {map_size} voxels of {box.side / map_size:.3g} Å"
    return text
