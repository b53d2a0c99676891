"""Kill runs at random moments, or let them fill their disk, and resume them: the same bytes must come out.

Needs no data. Filling a disk needs root on Linux, for a small tmpfs; without, that part says so and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from records import append, stamp

from resmfn import SimulationConfig, simulate
from resmfn.core import ResmfnError
from resmfn.reconstruction import ReconstructionConfig, reconstruct

SAME = ("map.mrc", "map_filtered.mrc", "half1.mrc", "half2.mrc", "particles.star", "fsc.csv", "metrics.jsonl")
OK, REFUSED, DEFECT = 0, 2, 1


def started(settings: dict[str, object], errors: Path) -> int:
    """Run in a forked process, which has everything imported and nothing computed; return its id."""
    child = os.fork()
    if child:
        return child
    code = DEFECT
    try:
        torch.set_num_threads(1)
        reconstruct(ReconstructionConfig(**settings))
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


def same(run: Path, other: Path) -> bool:
    """Say whether two runs left the same files, bit for bit."""
    return all((run / name).read_bytes() == (other / name).read_bytes() for name in SAME)


def kill_once(settings: dict[str, object], moment: float, reference: Path, errors: Path) -> dict[str, object]:
    """Kill a run after so many seconds and resume it."""
    run = Path(str(settings["out"]))
    shutil.rmtree(run, ignore_errors=True)
    child = started(settings, errors)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    first = ended(child)
    checkpoint = (run / "checkpoint.pt").exists()
    second = ended(started(settings | {"resume": True}, errors))
    return {"moment_s": round(moment, 3), "killed": first == -signal.SIGKILL, "had_checkpoint": checkpoint,
            "same": second == OK and same(run, reference)}  # fmt: skip


def fill_once(
    settings: dict[str, object], size: int, reference: Path, errors: Path, mount: Callable[[int, bool], None]
) -> dict[str, object]:
    """Run on a disk of so many bytes; make room and resume."""
    run = Path(str(settings["out"]))
    mount(size, True)
    errors.unlink(missing_ok=True)
    code = ended(started(settings, errors))
    message = errors.read_text() if errors.exists() else ""
    checkpoint = (run / "checkpoint.pt").exists()
    mount(64 << 20, False)
    second = ended(started(settings | {"resume": True}, errors))
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
            SimulationConfig(
                source="4ake", out=folder / "data", n_projections=100, box_size=24, pixel_size=4.0, snr=1.0
            )
        )
        settings: dict[str, object] = {
            "particles": folder / "data" / "particles.star",
            "n_starts": 2,
            "hidden_dim": 16,
            "network_steps": 5,
            "mask_diameter": 80.0,
            "device": "cpu",
        }
        errors, reference = folder / "errors", folder / "undisturbed"
        begun = time.monotonic()
        if ended(started(settings | {"out": reference}, errors)) != OK:
            raise SystemExit(f"the undisturbed run failed: {errors.read_text()}")
        seconds = time.monotonic() - begun
        kills = []
        for number in range(options.kills):
            kills.append(
                kill_once(settings | {"out": folder / "killed"}, chance.uniform(0, seconds), reference, errors)
            )
            print(f"kill {number + 1}: {kills[-1]}", flush=True)
        fills = fill_disks(options.full_disks, settings, folder, reference)
    record = {
        "seconds": round(seconds, 2),
        "kills": len(kills),
        "killed_in_time": sum(bool(k["killed"]) for k in kills),
        "killed_after_a_checkpoint": sum(bool(k["had_checkpoint"]) for k in kills),
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


def fill_disks(n: int, settings: dict[str, object], folder: Path, reference: Path) -> list[dict[str, object]]:
    """Fill disks of n sizes, from a twentieth of what a run leaves to nearly all of it."""
    if n and os.geteuid() != 0:
        print("NOT MEASURED: full disks, because mounting a small one needs root")
        return []
    disk, found = folder / "disk", []
    disk.mkdir()
    mount = disk_at(disk)
    # Pages are counted, not bytes; and two checkpoints lie side by side for a moment.
    most = sum(-(-path.stat().st_size // 4096) * 4096 for path in reference.iterdir())
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
