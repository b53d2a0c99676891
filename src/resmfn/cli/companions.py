"""Several processes of this computer at one run, which the command starts by itself.

Most of a run on CPUs is many small operations, which threads of one process hardly speed up: each process takes a
share of the images instead (docs/several-processes.md). They are started before anything heavy is imported, so that
all import at the same time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from cyclopts import Parameter

from resmfn.cli.published_flags import CHECK
from resmfn.core.errors import ResmfnError, StoppedError
from resmfn.core.machine import MEETING, allowed_cores
from resmfn.core.numbers import NumberRange

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from resmfn.reconstruction import ReconstructionConfig

MOST_BY_DEFAULT = 4
"""Processes. What each computes for itself (imports, sums, maps) makes 120 CPU seconds of 92 with two, 182 with four
and 300 with eight, of 2,000 images (docs/several-processes.md): more hardly end sooner. Further cores are threads."""
CORES = NumberRange(1, 1024, whole=True)
"""That a user may ask for."""
_LEAVE = signal.SIGHUP
"""Ends a further process, which then removes its temporary files. Ctrl-C and SIGTERM may reach all processes at once,
and only ask the first one to stop after the step."""
_TO_LEAVE = 2.0
"""Seconds that a process has to leave by itself."""
_GPU_DRIVER = Path("/proc/driver/nvidia")
_LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"
"""Variable by which PyTorch is told what its C++ parts may say on stderr; read when it is imported."""


def _refuse(_: object, value: object) -> None:
    fault = None if value == "auto" else CORES.fault(value)
    if fault is not None:
        raise ValueError(f"It must be auto or {fault}.")


Processes = Annotated[
    int | Literal["auto"],
    Parameter(
        help=f"Processes on this computer; auto: one a CPU core, at most {MOST_BY_DEFAULT}; one alone with a GPU or "
        "--memory.",
        group=("Parameters", CHECK),
        validator=_refuse,
    ),
]
"""Flag of the commands that reconstruct."""


class Companions:
    """Further processes of a run, as a context manager: they end with it, whatever happened.

    Parameters
    ----------
    wanted
        Processes, this one among them. auto: one a core on CPUs, of those that OMP_NUM_THREADS allows, at most
        ``MOST_BY_DEFAULT``; one alone with a GPU, where a launcher such as torchrun has started the processes, or where
        memory is limited: each process has maps of its own.
    device
        auto, cpu or cuda.
    cores
        That may be used [default: all, or OMP_NUM_THREADS].
    memory
        Limit of it, GiB; None: none.
    """

    def __init__(
        self, wanted: int | Literal["auto"], device: str, cores: int | None = None, *, memory: float | None = None
    ) -> None:
        cores = cores or allowed_cores()
        wanted = 1 if wanted == "auto" and memory is not None else wanted
        self._size = _size(wanted, device, cores)
        self._threads = max(1, cores // self._size)
        self._stack = ExitStack()
        self._started: list[tuple[SpawnProcess, Connection]] = []

    def __enter__(self) -> Self:
        if self._size > 1:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="resmfn-"))
            self._stack.enter_context(_environment(self._place(Path(folder) / "meeting")))
            self._stack.callback(self._end)
            self._started = [self._start(rank) for rank in range(1, self._size)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, settings: ReconstructionConfig) -> None:
        """Let the others begin the run that this process is about to begin.

        Raises
        ------
        ResmfnError
            One of them could not start.
        """
        import torch

        torch.set_num_threads(self._threads)
        for process, pipe in self._started:
            if pipe not in wait([pipe, process.sentinel]):
                raise ResmfnError(
                    f"a process of this run could not start (exit code {process.exitcode}); use --processes 1"
                )
            pipe.recv()
            pipe.send((settings, self._threads))

    def _place(self, meeting: Path) -> dict[str, str]:
        """Return the environment that all processes have in common; the first one's rank."""
        here = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(self._size), MEETING: str(meeting)}
        # Where all refuse an input, one may leave while another still meets it: Gloo says so beside our own line.
        here[_LOG_LEVEL] = os.environ.get(_LOG_LEVEL, "FATAL")
        # The processes are on one computer, whose name need not lead anywhere.
        return here | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})

    def _start(self, rank: int) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_accompany, args=(rank, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, mine

    def _end(self) -> None:
        for process, pipe in self._started:
            pipe.close()  # one that waits for its settings leaves
            process.join(timeout=_TO_LEAVE)
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, _LEAVE)
                process.join(timeout=_TO_LEAVE)
                process.kill()
            process.join()


def _accompany(rank: int, pipe: Connection) -> None:
    """Be one of the further processes: wait for the settings, and run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(_LEAVE, lambda *_: sys.exit(2))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    import torch

    from resmfn.reconstruction import reconstruct

    try:
        pipe.send("ready")
        settings, threads = pipe.recv()
    except (EOFError, BrokenPipeError):
        return  # the first process refused its input, or has gone
    torch.set_num_threads(threads)
    try:
        reconstruct(settings)
    except StoppedError:
        return
    except ResmfnError:
        sys.exit(2)  # the first process says why


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update({name: before[name] for name in variables.keys() & before.keys()})


def _size(wanted: int | Literal["auto"], device: str, cores: int) -> int:
    if "WORLD_SIZE" in os.environ:
        return 1
    if wanted != "auto":
        return wanted
    return 1 if device == "cuda" or (device == "auto" and _has_gpu()) else min(cores, MOST_BY_DEFAULT)


def _has_gpu() -> bool:
    if not _GPU_DRIVER.exists():
        return False
    import torch  # only where there may be one: it takes seconds to import

    return torch.cuda.is_available()
