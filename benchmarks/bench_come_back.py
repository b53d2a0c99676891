"""Kill runs at random moments, or let them fill their disk, and resume them: the same bytes must come out.

Moments are counted in the killed process's own CPU time, from the end of the step before, against that of an
undisturbed run: on a busy machine they fall as they do on an idle one. Half of them are equally likely anywhere in
the run, half in each of its phases in turn, for the files at the end are written in a small part of the time.

Needs no data, and Linux. Filling a disk needs root, for a small tmpfs; without, that part says so and is left
out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from records import append, stamp

from resmfn import SimulationConfig, simulate
from resmfn.core import ResmfnError
from resmfn.core.progress import ProgressEvent
from resmfn.reconstruction import ReconstructionConfig, reconstruct

VARYING = {".lock", "checkpoint.pt", "checkpoint_previous.pt", "config.yaml", "progress.json", "provenance.json",
           "run.log", "summary.json"}  # fmt: skip
"""Files that hold times, or the folder's own name; every other file must be the same."""
COSTS = ("seconds", "cpu_seconds", "peak_memory")
"""What may differ in the summary."""
OK, REFUSED, DEFECT = 0, 2, 1
Moment = tuple[int, float]
"""Steps that are done, and CPU seconds since."""


def started(settings: dict[str, object], errors: Path, marks: Path) -> int:
    """Run in a forked process, which has everything imported and nothing computed; return its id.

    Parameters
    ----------
    settings
        Of the run.
    errors
        File for the message, if it is refused.
    marks
        File for the stage and the CPU seconds so far, a line at the end of each step.
    """
    child = os.fork()
    if child:
        return child
    code = DEFECT
    marks.write_text("")

    def listen(event: ProgressEvent) -> None:
        if event.done is not None:
            with marks.open("a") as file:
                file.write(f"{event.stage} {time.process_time()}\n")

    try:
        torch.set_num_threads(1)
        # The disk is to fill in the middle of the run, which a run refuses to begin with if it can tell.
        sys.modules["resmfn.reconstruction.reconstruct"].__dict__["require_space"] = lambda *_: None
        reconstruct(ReconstructionConfig(**settings), listen)
        code = OK
    except ResmfnError as error:
        errors.write_text(str(error))
        code = REFUSED
    except OSError as error:
        errors.write_text(f"{error.filename}: {error.strerror}")
        code = REFUSED
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_running(child: int) -> bool:
    """Say whether a process has not ended; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def read_marks(marks: Path) -> list[tuple[str, float]]:
    """Return the stage and the CPU seconds of each step that is done."""
    lines = marks.read_text().splitlines() if marks.exists() else []
    return [(stage, float(seconds)) for stage, seconds in (line.split() for line in lines)]


def kill_at(child: int, marks: Path, moment: Moment) -> None:
    """Kill a process at a moment, if it is not through by then."""
    n_steps, seconds = moment
    clock = (~child << 3) | 2  # the CPU clock of a process, as clock_getcpuclockid(3) makes it on Linux
    while is_running(child):
        done = [0.0, *(at for _, at in read_marks(marks))]
        left = seconds if len(done) <= n_steps else done[n_steps] + seconds - time.clock_gettime(clock)
        if left <= 0:
            break
        time.sleep(max(0.001, 0.2 * left))
    os.kill(child, signal.SIGKILL)


def same(run: Path, other: Path) -> bool:
    """Say whether two runs left the same files, bit for bit, and the same figures but for what they cost."""
    names = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (run, other)]
    compared = {name for name in names[1] if name.name not in VARYING}
    if {name for name in names[0] if name.name not in VARYING} != compared:
        return False
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (run, other)]
    figures = [{name: value for name, value in summary.items() if name not in COSTS} for summary in summaries]
    return figures[0] == figures[1] and all((run / n).read_bytes() == (other / n).read_bytes() for n in compared)


def phase_of(run: Path) -> str:
    """Return the phase that a killed run was in, as its checkpoint says: done is the writing of the results."""
    checkpoint = run / "checkpoint.pt"
    if not checkpoint.exists():
        return "before the first checkpoint"
    phase = str(torch.load(checkpoint, map_location="cpu", weights_only=True)["phase"])
    return "writing" if phase == "done" else phase


def kill_once(
    settings: dict[str, object], moment: Moment, reference: Path, errors: Path, marks: Path
) -> dict[str, object]:
    """Kill a run at a moment and resume it."""
    run = Path(str(settings["out"]))
    shutil.rmtree(run, ignore_errors=True)
    marks.unlink(missing_ok=True)
    child = started(settings, errors, marks)
    kill_at(child, marks, moment)
    killed = ended(child) == -signal.SIGKILL
    phase = phase_of(run) if killed else "none: it was through"
    second = ended(started(settings | {"resume": True}, errors, marks))
    return {"step": moment[0], "cpu_s_into_it": round(moment[1], 3), "phase": phase, "killed": killed,
            "same": second == OK and same(run, reference)}  # fmt: skip


def moments(n: int, steps: list[tuple[str, float]], chance: random.Random) -> list[Moment]:
    """Draw moments: every other one anywhere in the run, the others in its phases in turn, the last phase first."""
    spans: dict[str, list[tuple[float, int]]] = {}
    ends = [0.0, *(at for _, at in steps)]
    for number, (stage, at) in enumerate(steps):
        spans.setdefault(stage, []).append((at - ends[number], number))
    whole, phases = [step for span in spans.values() for step in span], list(spans.values())[::-1]
    found = []
    for i in range(n):
        span = phases[i // 2 % len(phases)] if i % 2 else whole
        length, number = chance.choices(span, [length for length, _ in span])[0]
        found.append((number, chance.uniform(0, length)))
    return found


def fill_once(
    settings: dict[str, object], size: int, reference: Path, errors: Path, mount: Callable[[int, bool], None]
) -> dict[str, object]:
    """Run on a disk of so many bytes; make room and resume."""
    run = Path(str(settings["out"]))
    mount(size, True)
    errors.unlink(missing_ok=True)
    marks = errors.with_name("marks")
    code = ended(started(settings, errors, marks))
    message = errors.read_text() if errors.exists() else ""
    checkpoint = (run / "checkpoint.pt").exists()
    mount(64 << 20, False)
    second = ended(started(settings | {"resume": True}, errors, marks))
    return {"bytes": size, "refused": code == REFUSED, "one_line": "\n" not in message, "message": message[-160:],
            "had_checkpoint": checkpoint, "same": second == OK and same(run, reference)}  # fmt: skip


def disk_at(folder: Path) -> Callable[[int, bool], None]:
    """Return what makes a disk of a size there, fresh or grown."""

    def mount(size: int, fresh: bool) -> None:
        if fresh and os.path.ismount(folder):
            subprocess.run(["umount", str(folder)], check=True)
        option = f"size={size}" if fresh else f"remount,size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)], check=True)

    return mount


def main() -> None:
    """Measure and print a table; append to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--full-disks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "come_back.jsonl")
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(
            SimulationConfig(source="4ake", out=folder / "data", n_projections=60, box_size=16, pixel_size=6.0, snr=1.0)
        )
        settings: dict[str, object] = {
            "particles": folder / "data" / "particles.star",
            "n_starts": 2,
            "hidden_dim": 16,
            "network_steps": 5,
            "mask_diameter": 80.0,
            "device": "cpu",
        }
        errors, marks, reference = folder / "errors", folder / "marks", folder / "undisturbed"
        if ended(started(settings | {"out": reference}, errors, marks)) != OK:
            raise SystemExit(f"the undisturbed run failed: {errors.read_text() if errors.exists() else ''}")
        steps = read_marks(marks)
        kills = []
        for moment in moments(options.kills, steps, chance):
            kills.append(kill_once(settings | {"out": folder / "killed"}, moment, reference, errors, marks))
            print(f"kill {len(kills)}: {kills[-1]}", flush=True)
        fills = fill_disks(options.full_disks, settings, folder, reference)
    record = {
        "cpu_seconds": round(steps[-1][1], 2),
        "kills": len(kills),
        "killed_in_time": sum(bool(k["killed"]) for k in kills),
        "killed_in_phase": dict(Counter(str(k["phase"]) for k in kills)),
        "same_after_kill": sum(bool(k["same"]) for k in kills),
        "full_disks": len(fills),
        "clear_errors": sum(bool(f["refused"] and f["one_line"]) for f in fills),
        "full_after_a_checkpoint": sum(bool(f["had_checkpoint"]) for f in fills),
        "same_after_full_disk": sum(bool(f["same"]) for f in fills),
    }
    print(json.dumps(record, indent=1))
    append(options.results, {"benchmark": "come_back", "case": "tiny", **record, "made_with": stamp()})
    if record["same_after_kill"] < len(kills) or record["same_after_full_disk"] < len(fills):
        raise SystemExit("a resumed run ended with other files")
    if record["clear_errors"] < len(fills):
        raise SystemExit("a full disk did not end a run with one clear line")


def fill_disks(n: int, settings: dict[str, object], folder: Path, reference: Path) -> list[dict[str, object]]:
    """Fill disks of n sizes, from a twentieth of what a run leaves to nearly all of it."""
    disk, found = folder / "disk", []
    disk.mkdir()
    mount = disk_at(disk)
    if n == 0:
        return []
    try:
        mount(4096, True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"NOT MEASURED: full disks, because a small one cannot be mounted here, which needs root ({error})")
        return []
    # Pages are counted, not bytes; and two checkpoints lie side by side for a moment.
    most = sum(-(-path.stat().st_size // 4096) * 4096 for path in reference.rglob("*"))
    try:
        for number in range(n):
            size = int(most * (number + 1) / (n + 1)) // 4096 * 4096
            found.append(fill_once(settings | {"out": disk / "run"}, size, reference, folder / "errors", mount))
            print(f"full disk {number + 1}: {found[-1]}", flush=True)
    finally:
        if os.path.ismount(disk):
            subprocess.run(["umount", str(disk)], check=True)
    return found


if __name__ == "__main__":
    main()
