"""Several processes against one: the same reconstruction by 1 and by N processes of one thread each, on CPUs.

Wall time is what counts on an idle machine. Where others compute as well, the CPU seconds of the busiest process stand
for it: ``speedup_by_cpu`` is those of the one process over those of the busiest of the team. Sums in another order are
rounded otherwise, so that the two may come to rest after different numbers of rounds, which are recorded.

Cores share caches and memory, often with other machines. What N processes could have saved at best, if nothing at all
had to be done twice or waited for, is measured in the same minutes: ``ceiling`` is N times the time of the one process
over that of N of them at once, each with a whole reconstruction of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench_scaling import simulate
from records import append, stamp

NOT_RESOLVED = 4
"""Exit code of a run that has a result, though one that says little."""


def reconstruct(star: Path, out: Path, n_processes: int) -> dict[str, float]:
    """Run the command in as many processes; return wall and the busiest's CPU seconds, and the rounds of the halves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        names = {"WORLD_SIZE": n_processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": probe.getsockname()[1]}
    members = [(out, names | {"RANK": rank, "LOCAL_RANK": rank}) for rank in range(n_processes)]
    wall, cpu = timed(star, members)
    stages = [json.loads(line)["stage"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {"wall_s": round(wall, 1), "busiest_cpu_s": round(cpu, 1), "rounds": stages.count("halves")}


def timed(star: Path, members: list[tuple[Path, dict[str, object]]]) -> tuple[float, float]:
    """Run the command for each run folder and environment, all at once; return wall and the busiest's CPU seconds."""
    flags = ["--mask-diameter", "84", "--shift-range", "0", "--device", "cpu"]
    start, started = time.monotonic(), []
    for out, names in members:
        command = [sys.executable, "-m", "resmfn", "reconstruct", str(star), "--out", str(out), *flags]
        environment = os.environ | {name: str(value) for name, value in names.items()} | {"OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    cpu = []
    for member in started:
        _, status, usage = os.wait4(member.pid, 0)
        member.returncode = os.waitstatus_to_exitcode(status)
        if member.returncode not in (0, NOT_RESOLVED):
            raise SystemExit(f"{shlex.join(member.args)} failed")
        cpu.append(usage.ru_utime + usage.ru_stime)
    return time.monotonic() - start, max(cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--box-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/processes.jsonl"))
    given, _ = parser.parse_known_args()
    folder = given.out / "processes"
    shutil.rmtree(folder, ignore_errors=True)
    star = simulate(given.n, given.box_size, folder / "data")
    one, several = (reconstruct(star, folder / f"run{count}", count) for count in (1, given.processes))
    apart, _ = timed(star, [(folder / f"apart{number}", {"WORLD_SIZE": 1}) for number in range(given.processes)])
    record = {
        "benchmark": "processes",
        "case": f"{given.processes}-{given.n}x{given.box_size}",
        "made_with": stamp(),
        "one": one,
        "several": several,
        "apart_wall_s": round(apart, 1),
        "ceiling": round(given.processes * one["wall_s"] / apart, 3),
        "speedup": round(one["wall_s"] / several["wall_s"], 3),
        "speedup_by_cpu": round(one["busiest_cpu_s"] / several["busiest_cpu_s"], 3),
    }
    shutil.rmtree(folder)
    append(given.results, record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
