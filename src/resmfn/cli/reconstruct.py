"""``resmfn reconstruct``: flags, and progress for people."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from resmfn.cli.companions import Companions, Processes
from resmfn.cli.published_flags import CHECK, PublishedFlags
from resmfn.cli.real_data_flags import RealDataFlags
from resmfn.cli.search_flags import SearchFlags
from resmfn.cli.stopping import StopSignals
from resmfn.cli.terminal import QuietConsole
from resmfn.core.errors import StoppedError
from resmfn.core.progress import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from resmfn.reconstruction import ProgressEvent, ReconstructionResult

EXIT_NO_STRUCTURE = 3
EXIT_NOT_RESOLVED = 4
_FLAG = Parameter(negative="")
_NOTHING_SPECIAL = RealDataFlags()
_PLAIN_SEARCH = SearchFlags()
_AS_PUBLISHED = PublishedFlags()


def reconstruct(
    particles: Annotated[
        Path, Parameter(help="RELION STAR or cryoSPARC .cs file; for --preset published, the folder of the images.")
    ],
    *,
    out: Annotated[Path, Parameter(help="Run folder to create.")],
    preset: Annotated[
        Literal["search", "published"],
        Parameter(
            help="Search unknown poses, or follow the paper's published code (docs/reproduction.md).",
            group=("Parameters", CHECK),
        ),
    ] = "search",
    search: SearchFlags = _PLAIN_SEARCH,
    pixel_size: Annotated[float | None, Parameter(help="Pixel size in Å; overrides the files.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="auto takes a GPU if there is one.")] = "auto",
    processes: Processes = "auto",
    seed: Annotated[int, Parameter(help="Random seed of the run.")] = 0,
    real: RealDataFlags = _NOTHING_SPECIAL,
    published: PublishedFlags = _AS_PUBLISHED,
    config: Annotated[  # noqa: ARG001 - read before this function is called, by settings_file
        Path | None, Parameter(help="config.yaml of an earlier run; other flags override its settings.")
    ] = None,
    resume: Annotated[bool, _FLAG, Parameter(help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, _FLAG, Parameter(help="Replace an existing run folder.")] = False,
) -> int:
    """Reconstruct a map from particle images with unknown poses, coarse to fine, in two independent half sets.

    RUN/map.mrc and RUN/particles.star hold map and poses, RUN/summary.json the figures (docs/run-folder.md).
    `--config RUN/config.yaml --out NEW` alone repeats a run. Ctrl-C or SIGTERM stops it after the current step.
    Exit code 3: no structure was found, and the maps show noise. 4: a structure was found, but the half maps agree no
    further than the frequencies at which they were not yet independent, so there is no resolution to state.
    """
    show = ProgressDisplay()
    show.line("starting")  # PyTorch takes seconds to import: say at once that something happens
    shared: dict[str, Any] = {
        "out": out,
        "pixel_size": pixel_size,
        "device": device,
        "seed": seed,
        "resume": resume,
        "overwrite": overwrite,
    }
    if preset == "published":
        return _as_published(show, folder=particles, **vars(published), **shared)
    with Companions(processes, device, memory=real.memory) as companions:
        from resmfn.reconstruction import ReconstructionConfig
        from resmfn.reconstruction import reconstruct as run

        settings = ReconstructionConfig(particles=particles, **vars(search), **vars(real), **shared)
        companions.begin(settings)
        return run_to_exit_code(lambda listener, stop: run(settings, listener, stop=stop), show)


def run_to_exit_code(
    run: Callable[[Callable[[ProgressEvent], None], Callable[[], bool]], ReconstructionResult],
    show: ProgressDisplay,
    is_stop_requested: Callable[[], bool] = lambda: False,
) -> int:
    """Reconstruct, let signals and other requests end the run between two steps, and return the exit code."""
    with StopSignals() as stop:
        try:
            with show:
                result = run(show, lambda: stop() or is_stop_requested())
        except StoppedError as stopped:
            print(f"resmfn: {stopped}", file=sys.stderr)
            return stop.exit_code
    if _leads():
        print(_closing_lines(result))
    if not result.summary["structure_found"]:
        return EXIT_NO_STRUCTURE
    return 0 if result.summary["resolved"] else EXIT_NOT_RESOLVED


def _as_published(show: ProgressDisplay, **settings: Any) -> int:
    from resmfn.reconstruction.published import PublishedConfig, reconstruct_published

    config = PublishedConfig(**settings)
    with show:
        result = reconstruct_published(config, show)
    summary = result.summary
    print(
        f"\n{summary['verdict']}\n"
        f"fit                   {summary['ms_per_image_and_epoch']:.3f} ms per image and epoch\n"
        f"time                  {summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} s of CPU)\n"
        f"written               {result.run}/map.mrc, particles.star, particles_true.star, maps/, ..."
    )
    return 0


def _closing_lines(result: ReconstructionResult) -> str:
    summary = result.summary
    if "classes" in summary:
        return (
            f"\n{summary['verdict']}\n"
            f"{_table_of_classes(summary['classes'])}\n"
            f"time                  {summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} s of CPU)\n"
            f"written               {result.run}/class1/, ..., particles.star; good ones: resmfn select {result.run}"
        )
    resolution = summary["resolution_half_0143"]
    found = "none: they agree nowhere" if resolution is None else f"{resolution:.2f} Å"
    if not summary["structure_found"]:
        found = "none: noise agrees with noise"
    elif resolution is not None and summary.get("resolution_split", 0) is None:
        found += ", of halves that may share their poses' errors"
    return (
        f"\n{summary['verdict']}\n"
        f"half maps, FSC 0.143  {found}\n"
        f"time                  {summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} s of CPU)\n"
        f"written               {result.run}/map.mrc, map_filtered.mrc, half1.mrc, half2.mrc, particles.star, ..."
    )


def _table_of_classes(classes: Any) -> str:
    return "\n".join(
        f"{of_class['folder']:<21} {of_class['n_particles']:>7,} images, {of_class['verdict']}" for of_class in classes
    )


def _leads() -> bool:
    """Say whether this is the process that talks, if a launcher such as torchrun has started several."""
    return os.environ.get("RANK", "0") == "0"


class ProgressDisplay:
    """One line for each piece of progress and, on a terminal, a bar with the time that is left."""

    def __init__(self) -> None:
        self._console = QuietConsole(highlight=False, quiet=not _leads())
        self._start = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=1.0, left="")
        self._done = 0.0

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: ProgressEvent) -> None:
        """Show a piece of progress."""
        self._done = max(self._done, event.done or 0.0)
        elapsed = time.monotonic() - self._start
        left = f"about {duration(elapsed * (1 / self._done - 1))} left" if self._done > 0.1 else ""
        self._bar.update(self._task, completed=self._done, description=event.stage, left=left)
        if event.done is None:  # inside a piece of work: the bar's text is enough
            self._bar.update(self._task, description=f"{event.stage}: {event.message}")
            return
        share = "" if self._console.is_terminal else f"{100 * self._done:3.0f} %  {left:<19}"
        self.line(f"{share}{event.stage}: {event.message}")

    def line(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._console.print(f"[{time.monotonic() - self._start:6.1f} s] {text}", markup=False, soft_wrap=True)
