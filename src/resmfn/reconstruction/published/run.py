"""The published preset from a folder to a run folder that can be resumed after any epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from resmfn.core import choose_device
from resmfn.core.digest import digest_of_file, require_same_input
from resmfn.core.processes import Team
from resmfn.core.progress import Listener, ProgressEvent
from resmfn.data.particles.published import CTF_FILE, POSES_FILE, STACK_FILE
from resmfn.data.runs.event_log import EventLog
from resmfn.data.runs.run_folder import RunFolder
from resmfn.evaluation import align_poses
from resmfn.reconstruction.published.config import PublishedConfig
from resmfn.reconstruction.published.fitting import PublishedFit
from resmfn.reconstruction.published.images import PublishedImages, read_images
from resmfn.reconstruction.published.outputs import (
    LOST,
    write_epoch_maps,
    write_published_results,
    write_true_poses,
)
from resmfn.reconstruction.published.state import PublishedState
from resmfn.reconstruction.run.bookkeeping import Clock, ProgressReporter, add_costs, save
from resmfn.reconstruction.run.progress_files import write_provenance


@dataclass(frozen=True)
class PublishedResult:
    """A finished run: its folder and its figures."""

    run: Path
    summary: dict[str, object]
    """Content of summary.json."""


def reconstruct_published(config: PublishedConfig, listener: Listener | None = None) -> PublishedResult:
    """Reconstruct as the published cryo-EM script does, its faults repaired.

    Epochs over batches: the network takes Adam steps with poses fixed, then each image's pose takes Adam steps on a
    tangent perturbation with the network fixed; coarse to fine (Shekarforoush et al., NeurIPS 2022, arXiv 2206.00746).
    Not ab initio if ``init_from_truth`` is given; poses are judged against the truth either way.

    Parameters
    ----------
    config
        Settings.
    listener
        Called after each epoch.

    Returns
    -------
    PublishedResult
        The run folder, with map.mrc, particles.star, particles_true.star, summary.json, metrics.jsonl and maps/.

    Raises
    ------
    InputError
        The input cannot be used. Nothing is left behind then.
    """
    clock = Clock()
    device = choose_device(config.device)
    with RunFolder(config) as folder:
        images = read_images(config, device)
        stored = folder.load(PublishedState.format)
        state = PublishedState() if stored is None else PublishedState.from_dict(stored)
        found = _digest(config, len(images))
        require_same_input(config.folder, config.out, state.input, found)
        state.input = found
        fit = PublishedFit(config, images, state)
        folder.begin()
        folder.keep_metrics(state.n_metrics)
        write_provenance(folder, device)
        write_true_poses(folder.path, images)
        tell = ProgressReporter(folder, listener)
        tell(ProgressEvent("read", _describe(config, images, device), 0.0))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with EventLog(folder.path / "tensorboard") as events:
            while fit.epoch < config.epochs:
                _epoch(fit, state, folder, tell, events)
                fit.store(state)
                add_costs(state, clock, Team())
                save(folder, state)
        summary = write_published_results(folder, fit, state)
        tell(ProgressEvent("done", str(summary["verdict"]), 1.0))
    return PublishedResult(config.out, summary)


def _epoch(
    fit: PublishedFit, state: PublishedState, folder: RunFolder, tell: ProgressReporter, events: EventLog
) -> None:
    """Run one epoch, judge its poses, write its maps and its line of the log."""
    wall, cpu = time.monotonic(), time.process_time()
    values = fit.run_epoch()
    if fit.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.monotonic() - wall
    state.epoch_seconds += seconds
    state.epoch_cpu_seconds += time.process_time() - cpu
    errors = align_poses(fit.rotation.cpu(), fit.images.rotations).errors_deg
    values |= {
        "pose_error_median": float(errors.median()),
        "pose_error_mean": float(errors.mean()),
        "share_beyond_20": float((errors > LOST).double().mean()),
        "ms_per_image": 1000 * seconds / len(fit.images),
    }
    if fit.epoch % fit.config.save_every == 0 or fit.epoch == fit.config.epochs:
        write_epoch_maps(folder.path / "maps", fit)
    events.add_epoch(fit.epoch, values, {"pose_error": errors})
    message = (
        f"epoch {fit.epoch} of {fit.config.epochs}, scale {values['scale']}: loss {values['loss']:.4f}, poses "
        f"{values['pose_error_median']:.1f}° off (median), {100 * values['share_beyond_20']:.0f} % beyond 20°"
    )
    tell(ProgressEvent("epoch", message, fit.epoch / fit.config.epochs, values))


def _digest(config: PublishedConfig, n_images: int) -> dict[str, object]:
    """Return what the result depends on beside the settings; a file that is not there is as good as empty."""
    files = {name: config.folder / name for name in (STACK_FILE, POSES_FILE, CTF_FILE)}
    digests = {f"what {name} holds": digest_of_file(path) if path.is_file() else "" for name, path in files.items()}
    return {"the number of images": n_images, **digests}


def _describe(config: PublishedConfig, images: PublishedImages, device: torch.device) -> str:
    box = images.box_size
    start = (
        "random poses" if config.start_angles is None else f"TRUE poses perturbed by {config.init_from_truth} degrees"
    )
    return f"{len(images)} images of {box} x {box} pixels of {images.pixel_size:g} Å, {start}, on {device}"
