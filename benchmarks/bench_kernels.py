"""The hot paths against what the hardware can do: scoring, slices, pose steps, network decode.

The ceilings are measured first: the rate of a large matrix product in fp32, and of a copy. Then each path is timed at
sizes of a real run, and its floor computed from the operations and bytes that it cannot avoid (docs/performance.md);
``share_of_floor`` is floor over time, 1 is all that the device can give.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from records import append, spread, stamp

from resmfn.core import make_generator
from resmfn.fourier import half_plane_pixels
from resmfn.reconstruction.images.observations import Observations
from resmfn.reconstruction.maps.map_grid import PADDING, MapGrid
from resmfn.reconstruction.maps.network_map import NetworkMap, default_width
from resmfn.reconstruction.maps.slice_sums import MapEquations
from resmfn.reconstruction.poses import pose_refinement
from resmfn.reconstruction.poses.grid_posterior import PoseGrid, grid_posterior
from resmfn.reconstruction.poses.pose_refinement import PoseModel, refine_poses
from resmfn.reconstruction.poses.posed_images import PosedImages, Poses, insert_images
from resmfn.rotations import random_rotations, super_fibonacci

COMPLEX, REAL = 8, 4
"""Bytes."""


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Time something, after one run to warm up; a single CPU thread by its own time, whatever else the machine does."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        start = clock()
        work()
        _wait(device)
        times.append(clock() - start)
    return times[1:]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ceilings(device: torch.device, repeats: int, side: int) -> dict[str, float]:
    """Return the best rates seen: FLOP/s of an fp32 product, bytes/s of a copy (read and written)."""
    generator = make_generator(0)
    a, b = (torch.randn(side, side, generator=generator).to(device) for _ in range(2))
    product = min(seconds(lambda: a @ b, device, repeats))
    large = torch.zeros(32 * side * side // 4, device=device)
    target = torch.empty_like(large)
    copy = min(seconds(lambda: target.copy_(large), device, repeats))
    return {"flops_per_s": 2 * side**3 / product, "bytes_per_s": 2 * large.numel() * REAL / copy}


def observations(n: int, box_size: int, device: torch.device) -> Observations:
    """Return images of noise: what they show costs nothing."""
    generator = make_generator(1)
    pixels = half_plane_pixels((box_size - 1) // 2, radius_min=0.5)
    values = torch.randn(n, len(pixels), dtype=torch.complex64, generator=generator)
    ctf = torch.rand(n, len(pixels), generator=generator)
    return Observations(
        values.to(device), ctf.to(device), pixels.to(device), box_size=box_size, pixel_size=1.5,
        noise_level=torch.ones(n, device=device),
    )  # fmt: skip


def scoring(n: int, box_size: int, device: torch.device) -> tuple[Callable[[], object], float, float]:
    """Every image against every rotation at the focus stage's radius: two products each way."""
    seen, radius, n_rotations = observations(n, box_size, device), 0.14 * box_size, 9216
    grid = MapGrid.for_radius(box_size, radius)
    n_pixels = seen.n_pixels(radius)
    volume = torch.randn(grid.size, grid.size, grid.size, generator=make_generator(2)).to(device)
    rotations = super_fibonacci(n_rotations, device=device)
    slices = grid.slices(grid.transform(volume), rotations, seen.pixels[:n_pixels])
    poses = PoseGrid(rotations, torch.zeros(1, 2, device=device))
    index, still = torch.arange(n, device=device), torch.zeros(n, 2, device=device)
    operations = 2 * 2 * n * n_rotations * 3 * n_pixels
    return lambda: grid_posterior(seen, index, slices, poses, still), operations, 0.0


def pose_steps(n: int, box_size: int, device: torch.device) -> tuple[Callable[[], object], float, float]:
    """Three Gauss-Newton steps of every image at full band: four gathers of slices with their slopes."""
    seen = observations(n, box_size, device)
    grid = MapGrid.for_radius(box_size, seen.radius_max)
    volume = torch.randn(grid.size, grid.size, grid.size, generator=make_generator(3)).to(device)
    model = PoseModel(grid, grid.transform(volume), seen.radius_max, moves_shift=True, shift_spread=1.0)
    poses = Poses(random_rotations(n, generator=make_generator(4)).to(device), torch.zeros(n, 2, device=device))
    index = torch.arange(n, device=device)
    pose_refinement._LEAST_GAIN = -math.inf  # or images at rest would not be looked at again
    # A gather reads eight neighbors and writes a value and three slopes.
    moved = 4 * n * len(seen.pixels) * (8 + 4) * COMPLEX
    return lambda: refine_poses(seen, index, poses, model, 3), 0.0, moved


def insertion(n: int, box_size: int, device: torch.device) -> tuple[Callable[[], object], float, float]:
    """All images into Fourier space, the gather's adjoint: values and weights."""
    seen = observations(n, box_size, device)
    grid = MapGrid.for_radius(box_size, seen.radius_max)
    poses = Poses(random_rotations(n, generator=make_generator(5)).to(device), torch.zeros(n, 2, device=device))
    posed = PosedImages(torch.arange(n, device=device), poses)
    # A pixel's value and weight are read, and added to eight neighbors (read and written).
    moved = n * len(seen.pixels) * (COMPLEX + REAL) * (1 + 2 * 8)
    return lambda: insert_images(seen, posed, grid, seen.radius_max), 0.0, moved


def network_step(box_size: int, device: torch.device) -> tuple[Callable[[], object], float, float]:
    """One step of a network's fit: decode on the full grid, the quadratic, and back."""
    width = default_width(box_size)
    network = NetworkMap.draw(box_size, width, generator=make_generator(6), device=device)
    network.amplitude = 1.0
    seen = observations(50, box_size, device)
    poses = Poses(random_rotations(50, generator=make_generator(7)).to(device), torch.zeros(50, 2, device=device))
    grid = MapGrid.for_radius(box_size, seen.radius_max)
    equations = MapEquations(insert_images(seen, PosedImages(torch.arange(50, device=device), poses), grid, 1e9))

    def step() -> None:
        equations.objective(network.decode(grid)).backward()

    width_of = [round(sine.half_width) for sine in network.network.filters]
    below = [(2 * sum(width_of[: i + 1]) + 1) ** 3 for i in range(len(width_of) - 1)]
    # Forth, and twice as much back. Each scale: a matrix product over the coefficients of the one below, and four
    # moved copies of those, read and added. Then the series, the map and the doubled grid, forth and back.
    operations = 3 * 2 * width**2 * sum(below)
    grids = 2 * grid.size**3 + 2 * (PADDING * grid.size) ** 3
    moved = 3.0 * (width * sum(below) * (1 + 2 * 4) + 2 * grids) * REAL
    return step, operations, moved


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--n", type=int, help="images [default: 1,000 on a CPU, 20,000 on a GPU]")
    parser.add_argument("--box-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/kernels.jsonl"))
    given, _ = parser.parse_known_args()
    device, box_size = torch.device(given.device), given.box_size
    n = given.n or (20_000 if device.type == "cuda" else 1_000)
    best = ceilings(device, given.repeats, 8192 if device.type == "cuda" else 1024)
    record: dict[str, object] = {"benchmark": "kernels", "case": f"{device.type}-{n}x{box_size}", "made_with": stamp()}
    record["threads"] = torch.get_num_threads()
    record["ceilings"] = {name: round(value) for name, value in best.items()}
    cases = {
        "scoring": scoring(n, box_size, device),
        "pose_steps": pose_steps(n, box_size, device),
        "insertion": insertion(n, box_size, device),
        "network_step": network_step(box_size, device),
    }
    for name, (work, operations, moved) in cases.items():
        found = spread([1000 * value for value in seconds(work, device, given.repeats)])
        floor = 1000 * (operations / best["flops_per_s"] + moved / best["bytes_per_s"])
        record[name] = {
            "time_ms": found,
            "floor_ms": round(floor, 4),
            "share_of_floor": round(floor / found["median"], 4),
        }
        print(f"{name:14} {found['median']:10.2f} ms   floor {floor:8.2f} ms   {100 * floor / found['median']:5.1f} %")
    append(given.results, record)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
