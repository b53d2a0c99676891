"""Fit fields to images or to a density map, coarse to fine, in a run folder that can be resumed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from resmfn.core import choose_device, spawn
from resmfn.core.digest import digest_of, require_same_input
from resmfn.core.progress import Listener, ProgressEvent
from resmfn.data import read_map
from resmfn.data.pictures.files import file_stem
from resmfn.data.pictures.image_sets import read_image_set
from resmfn.data.runs.event_log import EventLog
from resmfn.data.runs.file_names import SUMMARY
from resmfn.data.runs.progress_file import ProgressFile
from resmfn.data.runs.run_folder import RunFolder
from resmfn.fitting.config import FitConfig, ImageFitConfig, VolumeFitConfig
from resmfn.fitting.measures import Measures, measure, scale_values
from resmfn.fitting.network_stack import NetworkStack
from resmfn.fitting.outputs import (
    FIELDS,
    plain,
    summarize,
    table_text,
    write_field,
    write_snapshot,
    write_target,
)
from resmfn.fitting.samples import FitTarget, image_target, volume_target
from resmfn.fitting.trainer import Trainer, TrainingPlan
from resmfn.networks import MultiplicativeFilterNetwork, NetworkConfig

STEP = "step"
"""Stage of the events that are worth no line: something was measured on the way."""
CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints inside a fit."""


@dataclass(frozen=True)
class FitResult:
    """A finished run: its folder and its figures."""

    run: Path
    """The run folder."""
    summary: dict[str, Any]
    """Content of summary.json."""
    table: str
    """Content of table.md."""


@dataclass
class _Progress:
    """What a checkpoint keeps."""

    finished: dict[str, Measures] = field(default_factory=dict)
    trainer: dict[str, Any] | None = None
    """Of the fit under way, which are the first targets that are not finished."""
    n_metrics: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    training_seconds: float = 0.0
    """In optimizer steps alone."""
    input: dict[str, str] = field(default_factory=dict)
    """What the run was begun with: a digest of each target."""


def fit_image(config: ImageFitConfig, listener: Listener | None = None) -> FitResult:
    """Fit a field to each image of a set at half resolution, and test it at full resolution.

    The experiment of Shekarforoush et al., NeurIPS 2022 (arXiv 2206.00746), section 4.1, in any of its variants.

    Parameters
    ----------
    config
        What, and how.
    listener
        Called with each progress event.

    Returns
    -------
    FitResult
        The run folder, which holds metrics.jsonl, summary.json, table.md and the fields among others
        (docs/fit-image.md), and the summary.

    Raises
    ------
    InputError
        An image cannot be used; nothing is left behind then. Or a fit diverges.
    """
    images = read_image_set(config.all_sources, just_one=config.just_one)
    return _run(config, [image_target(image, crop=config.crop) for image in images], listener)


def fit_volume(config: VolumeFitConfig, listener: Listener | None = None) -> FitResult:
    """Fit a field to a density map, by default at half resolution, and test it at full; see :func:`fit_image`.

    A map that is not a cube is zero-padded to one.
    """
    density = read_map(config.map, config.pixel_size, pad=True)
    return _run(config, [volume_target(file_stem(config.map), density, downsample=config.downsample)], listener)


def _run(config: FitConfig, targets: Sequence[FitTarget], listener: Listener | None) -> FitResult:
    device = choose_device(config.device)
    config = replace(
        config,
        device="cuda" if device.type == "cuda" else "cpu",
        # On an H200 four at a time, 256 x 256 pixels and hidden 256, took twice as long for each (bench_fit_step.py).
        at_a_time=config.at_a_time or 1,
        stages=config.stage_starts()[1:] if config.training().staged else None,
    )
    with RunFolder(config) as folder:
        stored = folder.load()
        progress = _Progress(**stored) if stored else _Progress()
        found = {f"the values of {t.name}": digest_of([t.test.values.cpu().numpy()]) for t in targets}
        found = {"the names of what is fitted": digest_of(t.name for t in targets), **found}
        require_same_input("what is to be fitted", folder.path, progress.input, found)
        progress.input = found
        folder.begin()
        folder.keep_metrics(progress.n_metrics)
        with EventLog(folder.path / "tensorboard" if config.tensorboard else None) as events:
            run = _FitRun(config, targets, folder, progress, events, listener, device)
            run.fit_all()
        summary, table = run.results()
        folder.write_text("table.md", table)
        folder.write_json(SUMMARY, summary)
    return FitResult(folder.path, summary, table)


class _FitRun:
    """One run: its targets group by group, each group trained together."""

    def __init__(
        self,
        config: FitConfig,
        targets: Sequence[FitTarget],
        folder: RunFolder,
        progress: _Progress,
        events: EventLog,
        listener: Listener | None,
        device: torch.device,
    ) -> None:
        self.config, self.targets, self.folder, self.progress = config, targets, folder, progress
        self.events, self.listener, self.device = events, listener, device
        self.plan = TrainingPlan(
            variant=config.training(),
            starts=config.stage_starts(),
            epochs=config.epochs,
            lr=config.lr,
            lr_schedule=config.lr_schedule,
        )
        self._watched = ProgressFile(folder)
        self._watched.earlier_seconds = progress.seconds
        self._clock = (time.perf_counter(), time.process_time())
        self._saved = time.perf_counter()

    def fit_all(self) -> None:
        """Fit all targets that the checkpoint does not know as finished."""
        self._tell(f"fitting {len(self.targets)} as {self.plan.variant.name} on {self.device}", 0.0)
        while waiting := [t for t in self.targets if t.name not in self.progress.finished]:
            self._fit_group(_first_group(waiting, self.config.at_a_time or 1))

    def results(self) -> tuple[dict[str, Any], str]:
        """Give summary and table of the whole set."""
        records = {t.name: self.progress.finished[t.name] for t in self.targets}
        self._take_time()
        steps = self.config.epochs * len(records)
        summary = {
            **summarize(records),
            "variant": self.plan.variant.name,
            "n_images": len(records),
            "epochs": self.config.epochs,
            "stages": list(self.plan.starts[1:]),
            "seed": self.config.seed,
            "device": self.device.type,
            "seconds": round(self.progress.seconds, 2),
            "cpu_seconds": round(self.progress.cpu_seconds, 2),
            "ms_per_step": round(1e3 * self.progress.training_seconds / steps, 4),
            "fields": records,
        }
        return summary, table_text(records)

    def _fit_group(self, group: Sequence[FitTarget]) -> None:
        trainer = self._trainer(group)
        if self.progress.trainer is not None:
            trainer.load_state(self.progress.trainer)
            self._tell(f"{group[0].name}: resumed at epoch {trainer.epoch}", self._share(0))
        else:
            for target in group:
                write_target(self._place(target), target)
        for stop in self._stops(trainer.epoch):
            started = time.perf_counter()
            trainer.advance(stop - trainer.epoch)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.progress.training_seconds += time.perf_counter() - started
            self._measure(group, trainer)
            if stop < self.config.epochs and time.perf_counter() - self._saved > CHECKPOINT_SECONDS:
                self._save(trainer)
        self.progress.trainer = None
        self._save(None)

    def _trainer(self, group: Sequence[FitTarget]) -> Trainer:
        networks = [self._draw_network(t).to(self.device) for t in group]
        values = torch.stack([(t.train.values - t.offset) / t.gain for t in group]).to(self.device)
        coords = group[0].train.coords.to(self.device)
        backend = "inductor" if self.config.compiled else None
        return Trainer(NetworkStack(networks), coords, values, self.plan, compile_backend=backend)

    def _draw_network(self, target: FitTarget) -> MultiplicativeFilterNetwork:
        """Draw the network of a target; its numbers depend on seed and name, not on the rest of the set."""
        network_config = NetworkConfig(
            dim=target.dim,
            hidden_dim=self.config.hidden_dim,
            out_dim=target.channels,
            n_scales=self.config.hidden_layers,
            box_size=target.box_size,
            residual=self.plan.variant.skip,
            init=self.plan.variant.init,
            quantized=self.config.quantized,
        )
        generator = spawn(self.config.seed, "network", target.name)
        return MultiplicativeFilterNetwork(network_config, generator=generator, dtype=target.train.values.dtype)

    def _snapshot_epochs(self) -> set[int]:
        every = self.config.save_epoch
        return {*self.plan.starts, self.config.epochs, *(range(every, self.config.epochs, every) if every else ())} - {
            0
        }

    def _stops(self, done: int) -> list[int]:
        """Epochs after ``done`` at which something is measured."""
        logs = range(self.config.log_every, self.config.epochs, self.config.log_every)
        return sorted(e for e in {*logs, *self._snapshot_epochs()} if e > done)

    def _measure(self, group: Sequence[FitTarget], trainer: Trainer) -> None:
        """Record each network of a group; at snapshots and at the end also write what it looks like."""
        epoch, n_scales = trainer.epoch, self.plan.active_scales(trainer.epoch - 1)
        done = self._share(len(group) * epoch / self.config.epochs)
        snapshot, last = epoch in self._snapshot_epochs(), epoch == self.config.epochs
        for network, target in zip(trainer.stack.write_back(), group, strict=True):
            train, test = (scale_values(network, target, g, n_scales) for g in (target.train, target.test))
            measures = plain(measure(train, test, target, with_ssim=snapshot))
            self.folder.record(name=target.name, epoch=epoch, **measures)
            self.events.add(target.name, epoch, measures)
            if snapshot:
                write_snapshot(self._place(target), epoch, network, target, test)
            if last:
                write_field(self._place(target), network, target, test)
                self.progress.finished[target.name] = measures
            stage = "fitted" if last else STEP
            figures = f"PSNR train {measures['train_psnr'][-1]:.2f}, test {measures['test_psnr'][-1]:.2f} dB"
            self._tell(f"{target.name}: epoch {epoch}, scale {n_scales}, {figures}", done, stage=stage)

    def _share(self, under_way: float) -> float:
        """Share of the run that is done when ``under_way`` fits are added to those that are finished."""
        return (len(self.progress.finished) + under_way) / len(self.targets)

    def _place(self, target: FitTarget) -> Path:
        return self.folder.path / FIELDS / target.name

    def _save(self, trainer: Trainer | None) -> None:
        self._take_time()
        self._saved = time.perf_counter()
        self.progress.trainer = trainer.state() if trainer else None
        self.progress.n_metrics = self.folder.count_metrics()
        self.folder.save(vars(self.progress))

    def _take_time(self) -> None:
        now = (time.perf_counter(), time.process_time())
        self.progress.seconds += now[0] - self._clock[0]
        self.progress.cpu_seconds += now[1] - self._clock[1]
        self._clock = now

    def _tell(self, message: str, done: float, *, stage: str = "fit") -> None:
        if stage != STEP:
            self.folder.log(message)
        event = ProgressEvent(stage, message, done)
        self._watched(event)
        if self.listener:
            self.listener(event)


def _first_group(targets: Sequence[FitTarget], at_a_time: int) -> list[FitTarget]:
    """Targets that can be fitted together with the first: same grid, same number of channels."""
    first = targets[0]
    same = [t for t in targets if t.test.shape == first.test.shape and t.channels == first.channels]
    return same[:at_a_time]
