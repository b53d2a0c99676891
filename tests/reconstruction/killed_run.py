"""Run a reconstruction again and again, each time killed at another moment, until it is let through.

As a program: ``python killed_run.py SETTINGS MOMENTS``, both JSON; MOMENTS is a list of lists of attempts' moments,
each ``[what, number]``: the n-th call of that kind in that attempt. Prints one line for each attempt: the signal
that ended it, or 0. Attempts are forked from one process that has imported everything and computed nothing.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

import torch

from resmfn.core import atomic
from resmfn.data.runs.run_folder import RunFolder
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.phases import annealing, focus, halves, rounds, starts
from resmfn.reconstruction.results import map_files, outputs

# For all runs that are compared: how good they are is not the question here.
halves.MOST_ROUNDS = 4
focus.FOCUS_STAGE = replace(annealing.FOCUS_STAGE, n_rotations=2000)
annealing.START_STAGES = starts.START_STAGES = focus.START_STAGES = tuple(
    replace(s, n_rotations=s.n_rotations // 4) for s in annealing.START_STAGES
)


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(folder: RunFolder, *_: object) -> None:
    """Stand in for what saves a checkpoint: die with half of a file on disk."""
    (folder.path / ".checkpoint.0123456789ab.tmp.pt").write_bytes(b"PK" + bytes(1000))
    die()


def on_call(owner: object, name: str, number: int, *, before: Callable | None = None, after: Callable | None = None):
    """Make the n-th call of a function end in something else."""
    original, calls = getattr(owner, name), [0]

    def counted(*arguments: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == number and before is not None:
            before(*arguments, **options)
        result = original(*arguments, **options)
        if calls[0] == number and after is not None:
            after()
        return result

    setattr(owner, name, counted)


def arm(what: str, number: int) -> None:
    """Choose the moment to die."""
    match what:
        case "log":
            on_call(RunFolder, "log", number, after=die)
        case "record":
            on_call(RunFolder, "record", number, after=die)
        case "half a line":
            on_call(RunFolder, "record", number, before=half_a_line)
        case "before save":
            on_call(RunFolder, "save", number, before=die)
        case "in save":
            on_call(RunFolder, "save", number, before=half_written)
        case "before rename":
            on_call(atomic, "_flush_to_disk", number, after=die)
        case "after save":
            on_call(RunFolder, "save", number, after=die)
        case "search":
            on_call(annealing, "grid_posterior", number, before=die)
        case "poses":
            on_call(rounds, "refine_poses", number, before=die)
        case "map":
            on_call(map_files, "write_map", number, before=die)
        case "star":
            on_call(outputs, "write_particles", number, before=die)
        case "summary":
            on_call(RunFolder, "write_json", number, before=die)
        case _:
            raise ValueError(what)


def half_a_line(folder: RunFolder, **_: object) -> None:
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "sear')
    die()


def attempt(settings: dict[str, object], moments: list[tuple[str, int]]) -> int:
    """Run in a forked process; return the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            for what, number in moments:
                arm(what, number)
            reconstruct(ReconstructionConfig(**settings))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


if __name__ == "__main__":
    wanted, attempts = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    for index, moments in enumerate(attempts):
        print(attempt(wanted | {"resume": index > 0 or wanted.get("resume", False)}, moments), flush=True)
