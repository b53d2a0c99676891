"""Milliseconds of one training step of one image, all scales active: eager, captured as a CUDA graph, compiled.

At the published size (256 x 256 training pixels, hidden 256, four scales, float32) a step is 103 GFLOP. On a GPU that
is the default; on a CPU a small size is, because a published step takes a second there.

    python benchmarks/bench_fit_step.py
    python benchmarks/bench_fit_step.py --precision tf32      # faster, and costs PSNR: for comparison alone
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from records import stamp

from resmfn.core import atomic_write, choose_device, spawn
from resmfn.core.captured_step import EAGER_STEPS
from resmfn.fitting.network_stack import NetworkStack
from resmfn.fitting.samples import pixel_center_coordinates
from resmfn.fitting.trainer import Trainer, TrainingPlan
from resmfn.networks import NetworkConfig, build_network, variant

N_SCALES, CHANNELS, VARIANT = 4, 3, "residual-mfn"


def main() -> None:
    """Time every way to take a step, print a table, write JSON if asked to."""
    options = parse_options()
    device = choose_device(options.device)
    on_gpu = device.type == "cuda"
    size = options.size or (256 if on_gpu else 48)
    hidden_dim = options.hidden_dim or (256 if on_gpu else 32)
    steps = options.steps or (200 if on_gpu else 20)
    torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")
    machine = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{size} x {size} pixels, hidden {hidden_dim}, {N_SCALES} scales, {options.precision}, {machine}")
    records = []
    for mode in ("eager", "captured", "compiled and captured") if on_gpu else ("eager",):
        for at_a_time in options.at_a_time:
            trainer = trainer_of(size, hidden_dim, at_a_time, device, mode)
            record = {"mode": mode, "at_a_time": at_a_time, "ms_per_step_and_image": time_steps(trainer, steps)}
            if on_gpu:
                record["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
                torch.cuda.reset_peak_memory_stats()
            records.append(record)
            print(f"{mode:<22} {at_a_time:2d} at a time: {record['ms_per_step_and_image']:8.3f} ms per step and image")
            del trainer
    if options.results:
        names = {"benchmark": "fit_step", "case": f"{device.type}-{size}-{hidden_dim}"}
        settings = {"size": size, "hidden_dim": hidden_dim, "precision": options.precision, "machine": machine}
        with atomic_write(options.results) as temporary:
            temporary.write_text(
                json.dumps({**names, "made_with": stamp(), **settings, "steps": records}, indent=1) + "\n"
            )


def trainer_of(size: int, hidden_dim: int, at_a_time: int, device: torch.device, mode: str) -> Trainer:
    """Make a trainer of random images whose scales are all active."""
    config = NetworkConfig(
        dim=2, hidden_dim=hidden_dim, out_dim=CHANNELS, n_scales=N_SCALES, box_size=size, quantized=False
    )
    networks = [build_network(VARIANT, config, generator=spawn(0, i)).to(device) for i in range(at_a_time)]
    coords = pixel_center_coordinates((size, size), (size, size)).to(device)
    values = torch.rand(at_a_time, size * size, CHANNELS, generator=spawn(0, "values")).to(device)
    plan = TrainingPlan(variant=variant(VARIANT), starts=(0,) * N_SCALES, epochs=10**6)
    backend = "inductor" if mode.startswith("compiled") else None
    return Trainer(NetworkStack(networks), coords, values, plan, compile_backend=backend, captured=mode != "eager")


def time_steps(trainer: Trainer, steps: int) -> float:
    """Mean time of a step and image after warming up, in milliseconds."""
    trainer.advance(EAGER_STEPS + 2)
    synchronize()
    start = time.perf_counter()
    trainer.advance(steps)
    synchronize()
    return round(1e3 * (time.perf_counter() - start) / steps / len(trainer.stack), 4)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=None, help="training pixels a side")
    parser.add_argument("--hidden-dim", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precision", choices=["fp32", "tf32"], default="fp32")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--results", type=Path, default=None, help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
