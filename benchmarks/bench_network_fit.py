"""What the network adds to the explicit map beside it, and what it costs: same quadratic, mask and prior.

Images of adenylate kinase at known poses (SNR 0.1, CTF, no shifts) are inserted; both halves and all of them are solved
by conjugate gradients on the grid, and fitted by networks, as a run does it at its end. One JSON object a case: FSC of
both maps of all images against the truth, median local resolution of both pairs of half maps, CPU seconds.

    python benchmarks/bench_network_fit.py --n 500 2000 10000
    python benchmarks/bench_network_fit.py --n 1000 --box 128 --pixel-size 0.75 --no-halves
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from records import append, stamp
from torch import Tensor

from resmfn.core import spawn
from resmfn.data.models import BUILT_IN_MOLECULES
from resmfn.evaluation import fourier_shell_correlation, local_resolution
from resmfn.fourier import half_plane_pixels, resize_map, soft_sphere
from resmfn.reconstruction.maps.map_grid import MapGrid
from resmfn.reconstruction.maps.network_map import NetworkMap, default_width
from resmfn.reconstruction.maps.priors import fsc_prior
from resmfn.reconstruction.maps.slice_sums import MapEquations, SliceSums
from resmfn.rotations import random_rotations
from resmfn.simulation.sources import load_density

SNR, AT_A_TIME, CPU = 0.1, 250, torch.device("cpu")
EXPLICIT_STEPS = 12


def main() -> None:
    """Measure every case."""
    options = parse_options()
    torch.set_num_threads(1)
    truth = load_density(BUILT_IN_MOLECULES[0], options.box, options.pixel_size, 40.0).data
    for n in options.n:
        record = {"benchmark": "network_fit", "case": f"n{n}-box{options.box}", "made_with": stamp()}
        record |= measure(truth, n, options)
        print(json.dumps(record), flush=True)
        if options.results:
            append(options.results, record)


def measure(truth: Tensor, n: int, options: argparse.Namespace) -> dict[str, object]:
    """Solve and fit, from n images."""
    grid = MapGrid(options.box, options.box)
    radius = (options.box - 1) // 2
    truth, halves = insert(truth, grid, n, radius, options.pixel_size)
    mask = soft_sphere(grid.size, 42 / options.pixel_size, 6 / options.pixel_size)
    fsc = expected_fsc(truth, halves, mask, options.pixel_size, radius)
    result: dict[str, object] = {"n": n, "box": options.box, "pixel_size": options.pixel_size}
    result |= both_ways(halves[0] + halves[1], mask, fsc, radius, 2, options, truth)[2]
    if not options.no_halves:
        pairs = [both_ways(half, mask, fsc, radius, 1, options)[:2] for half in halves]
        for name, first, second in zip(("explicit", "network"), *pairs, strict=True):
            local = local_resolution(first, second, mask, options.pixel_size, generator=spawn(0, "local"))
            result[f"{name}_local_resolution_A"] = round(float(local[local > 0].median()), 2)
    return result


def insert(truth: Tensor, grid: MapGrid, n: int, radius: float, pixel_size: float) -> tuple[Tensor, list[SliceSums]]:
    """Return the map in the scale of whitened images, and the sums of two halves of n images."""
    generator, size = spawn(0, "images", n), grid.box_size
    pixels = half_plane_pixels(radius)
    frequency = pixels.float().norm(dim=1) / (size * pixel_size)
    transform = grid.transform(truth)
    sample = grid.slices(transform, random_rotations(50, generator=generator), pixels)
    factor = float((SNR / (2 * sample.abs().square().sum(1) / size**2).mean()).sqrt())
    halves = [SliceSums(grid, CPU), SliceSums(grid, CPU)]
    for first in range(0, n, AT_A_TIME):
        rotation = random_rotations(min(AT_A_TIME, n - first), generator=generator)
        defocus = 1e4 + 1.5e4 * torch.rand(len(rotation), 1, generator=generator)
        ctf = torch.sin(torch.pi * 0.0197 * defocus * frequency.square() + 0.1)
        noise = torch.randn(*ctf.shape, 2, generator=generator) / 2**0.5
        values = ctf * (ctf * grid.slices(transform, rotation, pixels) * factor + torch.view_as_complex(noise))
        for half, sums in enumerate(halves):
            pick = slice(half, None, 2)
            sums.add(values[pick], ctf[pick].square(), rotation[pick], pixels)
    return truth * factor, halves


def expected_fsc(truth: Tensor, halves: list[SliceSums], mask: Tensor, pixel_size: float, radius: int) -> Tensor:
    """Return what half maps have in common, from how a half, solved with a flat prior, correlates with the truth."""
    equations = MapEquations(halves[0], mask)
    solved = equations.solve(mask, equations.shell_weights()[: radius + 1])
    against = fourier_shell_correlation(solved, truth * mask, pixel_size).correlation[: radius + 1]
    return against.square().float().clamp(0.001, 0.999)


def both_ways(
    sums: SliceSums,
    mask: Tensor,
    fsc: Tensor,
    radius: int,
    halves_in: int,
    options: argparse.Namespace,
    truth: Tensor | None = None,
) -> tuple[Tensor, Tensor, dict[str, object]]:
    """Return the explicit map and the network's, with figures."""
    start = time.process_time()
    equations = MapEquations(sums, mask)
    explicit = equations.solve(
        mask, fsc_prior(equations, fsc, radius + 1, halves_in=halves_in), iterations=EXPLICIT_STEPS
    )
    middle = time.process_time()
    fitted, reached = fit(sums, mask, fsc, radius, halves_in, options)
    figures: dict[str, object] = {
        "explicit_cpu_s": round(middle - start, 2),
        "network_cpu_s": round(time.process_time() - middle, 2),
        "reached": round(reached, 4),
        "width": options.hidden_dim or default_width(options.box),
    }
    if truth is None:
        return explicit, fitted, figures
    for name, volume in (("explicit", explicit), ("network", fitted)):
        curve = fourier_shell_correlation(volume, truth, options.pixel_size)
        figures[f"{name}_fsc05_A"] = round(curve.resolution_at(0.5), 3)
        figures[f"{name}_mean_fsc"] = round(float(curve.correlation[1 : radius + 1].mean()), 4)
    return explicit, fitted, figures


def fit(
    sums: SliceSums, mask: Tensor, fsc: Tensor, radius: int, halves_in: int, options: argparse.Namespace
) -> tuple[Tensor, float]:
    """Fit a network scale by scale, as a run does; return its masked map and the share of the gain reached."""
    width = options.hidden_dim or default_width(options.box)
    network, reached = NetworkMap.draw(options.box, width, generator=spawn(0, "network"), device=CPU), 0.0
    for scale in range(1, network.n_scales + 1):
        finest = scale == network.n_scales
        its_radius = radius if finest else int(network.network.half_width(scale))
        grid = sums.grid if finest else MapGrid.for_radius(options.box, its_radius)
        its_mask = mask if finest else resize_map(mask, grid.size).clamp(0, 1)
        equations = MapEquations(sums if finest else sums.within(grid), its_mask)
        prior = fsc_prior(equations, fsc, its_radius + 1, halves_in=halves_in)
        reached = network.fit(equations, its_mask, prior, scale=scale, steps=options.steps)
    with torch.no_grad():
        return network.decode(sums.grid) * mask, reached


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[500, 2000, 10000], help="images")
    parser.add_argument("--box", type=int, default=64, help="pixels")
    parser.add_argument("--pixel-size", type=float, default=1.5, help="A")
    parser.add_argument("--hidden-dim", type=int, help="width of the network; by default a run's")
    parser.add_argument("--steps", type=int, default=30, help="conjugate gradient steps of each scale")
    parser.add_argument("--no-halves", action="store_true", help="only the map of all images")
    parser.add_argument("--results", type=Path, help="append records to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
