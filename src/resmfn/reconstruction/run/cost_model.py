"""What a run will cost: CPU seconds by phase, and memory, from the numbers of images and pixels.

The terms are those of docs/performance.md; each constant is the time of one operation on a core of an AMD EPYC that
multiplies matrices at 107 Gflop/s and gathers 540 million points a second from a small map, and is scaled by what this
machine does (:func:`machine_pace`).
Images are taken to tell their pose, and the map to reach the Nyquist frequency of its last box: images that are summed
over all poses cost more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from resmfn.physics.compiled import version_of_numba
from resmfn.reconstruction.maps.network_map import default_width
from resmfn.reconstruction.run.box_plan import BoxPlan

GEMM_FLOPS, GATHERED_POINTS = 107e9, 5.4e8
"""A second, of the machine that the constants are of. The map gathered from is one that a core's own cache holds:
beside other programs a larger one was gathered from at a sixth of the rate, while whole runs took a tenth longer."""
_TURNS = 4
_START_UP = 4.0
"""With the noise control."""
_READ = 6e-8
"""Seconds a pixel: reading, transforms, CTF."""
_N_SEARCH = 1_000
_SCORE, _START = 1.7e-10, 0.37
"""Seconds a Fourier pixel of an image at a rotation: scores, their softmax, the sums; and a start's maps."""
_STEPS = ((24, 2304, 14), (56, 4608, 16))
"""Fourier pixels, rotations and steps of the two stages of a start, for a mask of 0.42 of the box."""
_FOCUS = (126, 9216, 2.3)
_BOTH, _BOTH_IN_FOCUS = 13 * 2304 * 7.3e-9, 28 * 4608 * 7.3e-9
"""Seconds an image, where shifts are looked for over the default range together with rotations."""
_SCORE_WITH_SHIFT, _JOINT_STEPS, _NEIGHBORS_OF_SHIFT = 1.4, 2, 5
"""Of a centered image's scores, where shifts are found; last steps of a start and of focus, and one later, score each
rotation with so many shifts."""
_LOOK, _INSERT = 1.4e-7, 1.7e-7
"""Seconds a Fourier pixel of an image."""
_COMPILED = 0.5
"""Of both, where numba compiles the loops (docs/decisions/12-compiled-loops.md)."""
_LOOKS, _FULL_ROUNDS, _CANDIDATE_ROUNDS = 2.5, 7.0, 0.5
"""Of a round, at each image until it is at its peak; rounds of the halves by the pixels that they use; what candidates
add in the rounds that try them."""
_NEIGHBORS = 0.1
"""Of 8,000 images slices are nearer to each other in memory than of 1,000: pose steps take 0.75, insertion 0.55."""
_ROUNDS, _LAST_ROUNDS = 9, 3
"""Rounds of the halves, and those of them in the last box where the box grows; the others are on the way to it."""
_SOLVE = 0.18, 0.6 / 64**3
"""Seconds, and seconds a voxel: the four maps of a round, their comparison, mask, preview and checkpoint."""
_JOINT_ROUNDS = 1.2
_DEFOCUS = 1.4
"""Time that refining the defocus adds to rounds, over that of rounds whose loops are not compiled: tables of 65
offsets, and more rounds. 2,000 images of 128 x 128 at known poses took 372 CPU s in place of 202, when a round had four
looks."""
_NETWORK_STEP = 0.014 / (128 * 64**3)
"""Seconds a voxel and unit of width."""
_END = 0.5, 1.3 / 64**3
"""Seconds, and seconds a voxel: curves, local resolution, files."""
_BASE_BYTES, _MORE_BASE, _BYTES_OF_IMAGE, BYTES_OF_PIXEL = 500 * 2**20, 350 * 2**20, 1_000, 12
"""Program, 100 MiB of it numba and LLVM, which may be missing (a plan may not depend on that), and of each further
process, where libraries are shared; rows and poses of an image; value and CTF of a Fourier pixel."""
_BYTES_OF_VOXEL = 650
"""Of maps and transforms of each process, where the sums of all images become the equations of a map: 636 in a box of
216 that was resolved to its end. The network takes 385, the validation 350."""
_BYTES_OF_CLASS = 20, 200
"""Of each further class a voxel and an image: its five maps; its poses, candidates and weights. By what is held."""
_SYMMETRY = 500, 128
"""Bytes a voxel of the search for a symmetry, beside half of those, and the largest box that it works in."""
_BYTES_OF_WRITTEN_VOXEL = 36
"""Of a map that is padded to the images' box: its transform, three times."""
_HALF_PLANE = math.pi / 8
"""Fourier pixels of an image up to Nyquist, over its pixels."""


@dataclass(frozen=True)
class Cost:
    """CPU seconds of the phases of a run, in their order, and the most memory that it takes."""

    reading: float
    search: float
    focus: float
    rounds: float
    joint: float
    network: float
    end: float
    memory_bytes: float

    @property
    def cpu_seconds(self) -> float:
        """Seconds in all."""
        return sum(self._phases())

    def reading_images(self, n_images: int, image_size: int, readings: int, pace: Pace | None = None) -> Cost:
        """Return the same where images of another size than the box are read, so many times."""
        return replace(self, reading=_reading(n_images, image_size, readings, pace or Pace()))

    def refining_defocus(self, pace: Pace | None = None) -> Cost:
        """Return the same where the defocus of each image is refined, on a machine of some pace."""
        factor = 1 + _DEFOCUS / (pace or Pace()).slices
        return replace(self, rounds=factor * self.rounds, joint=factor * self.joint)

    def share(self, done: float) -> float:
        """Return the share of the time that is spent where the run's phases say that a share of them is done."""
        spent = torch.tensor(self._phases()).cumsum(0) / self.cpu_seconds
        for left, right, low, high in zip(_PLACES, _PLACES[1:], spent.tolist(), spent[1:].tolist(), strict=False):
            if done <= right:
                return low + (high - low) * (done - left) / (right - left)
        return 1.0

    def _phases(self) -> tuple[float, ...]:
        return (self.reading, self.search, self.focus, self.rounds, self.joint, self.network, self.end)


_PLACES = (0.0, 0.2, 0.3, 0.8, 0.9425, 0.99, 1.0)
"""How far phases say the run is after reading, search, focus, rounds, joint rounds, the network, the end."""


@dataclass(frozen=True)
class Pace:
    """How much longer a machine takes than the one that the constants are of."""

    products: float = 1.0
    """Of matrices."""
    passes: float = 1.0
    """Through images and maps, point by point."""
    slices: float = 1.0
    """Of the passes that read and add slices, over the others: less where their loops are compiled."""


def estimate_cost(
    n_images: int,
    box_size: int | tuple[int, int],
    *,
    shift_range: float = 10.0,
    n_starts: int = 4,
    network_steps: int = 30,
    hidden_dim: int | None = None,
    searches: bool = True,
    pace: Pace | None = None,
) -> Cost:
    """Return what a run will cost.

    Parameters
    ----------
    n_images, box_size
        How many images, and the box of the maps; of one that grows the first and the last.
    shift_range, n_starts, network_steps, hidden_dim
        The settings.
    searches
        Whether annealed starts are made.
    pace
        Of the machine; by default that of the machine that the constants are of.
    """
    pace = pace or Pace()
    first_box, box_size = box_size if isinstance(box_size, tuple) else (box_size, box_size)
    moved, voxels = shift_range > 0, box_size**3
    score = _SCORE * pace.products * (_SCORE_WITH_SHIFT if moved else 1.0)
    together = _BOTH * pace.products if moved else 0.0
    used = min(n_images, _N_SEARCH)
    extra = _JOINT_STEPS * _NEIGHBORS_OF_SHIFT * _SCORE * pace.products if moved else 0.0
    search = n_starts * (
        _START * pace.products + used * (score * sum(_of(stage) * stage[2] for stage in _STEPS) + 2 * together)
    )
    focus = n_images * (_of(_FOCUS) * (score * _FOCUS[2] + extra) + together * _BOTH_IN_FOCUS / _BOTH)
    of_image = _HALF_PLANE * box_size**2
    look = of_image * (_LOOKS * _LOOK + _INSERT) * pace.slices * max(n_images / 1_000, 1.0) ** -_NEIGHBORS
    solve = _SOLVE[0] + _SOLVE[1] * voxels
    on_the_way = _SOLVE[0] + _SOLVE[1] * (first_box * box_size) ** 1.5
    rounds = n_images * look * (_FULL_ROUNDS + _CANDIDATE_ROUNDS)
    rounds += _LAST_ROUNDS * solve + (_ROUNDS - _LAST_ROUNDS) * on_the_way
    joint = n_images * look * _JOINT_ROUNDS + _JOINT_ROUNDS * solve / 3
    network = network_steps * _NETWORK_STEP * (hidden_dim or default_width(box_size)) * voxels
    return Cost(
        reading=_reading(n_images, box_size, 1, pace),
        search=search if searches else 0.0,
        focus=focus if searches else 0.0,
        rounds=rounds * pace.passes,
        joint=joint * pace.passes,
        network=network * pace.products,
        end=(_END[0] + _END[1] * voxels) * pace.passes,
        memory_bytes=memory_needed(n_images, box_size),
    )


def _reading(n_images: int, image_size: int, readings: int, pace: Pace) -> float:
    return _START_UP + readings * n_images * image_size**2 * _READ * pace.passes


def memory_needed(n_images: int, box_size: int, n_processes: int = 1, image_size: int = 0, n_classes: int = 1) -> float:
    """Return the bytes that all processes take at most when maps have a box and images are held to its frequencies.

    The images' own size matters where maps are written in it.
    """
    further = n_processes - 1
    images = n_images * BYTES_OF_PIXEL * _HALF_PLANE * box_size**2
    maps = _BYTES_OF_VOXEL * box_size**3
    search = maps / 2 + _SYMMETRY[0] * min(box_size, _SYMMETRY[1]) ** 3
    of_first = max(maps, search, _BYTES_OF_WRITTEN_VOXEL * image_size**3)
    program = _BASE_BYTES + further * _MORE_BASE + n_processes * n_images * _BYTES_OF_IMAGE
    of_classes = (n_classes - 1) * n_processes * (_BYTES_OF_CLASS[0] * box_size**3 + _BYTES_OF_CLASS[1] * n_images)
    return program + images + of_first + further * maps + of_classes


def cost_by_box(n_images: int, boxes: BoxPlan, pace: Pace | None = None) -> dict[int, Cost]:
    """Return what a run with the default settings costs by the box that it ends in, from the first to the largest."""
    sizes = boxes.sizes()
    return {
        size: estimate_cost(n_images, (boxes.first, size), pace=pace).reading_images(
            n_images, boxes.image_size, readings, pace
        )
        for readings, size in enumerate(sizes, start=1)
    }


def _of(stage: tuple[int, int, float]) -> int:
    """Return the Fourier pixels of a stage times its rotations."""
    return stage[0] * stage[1]


def machine_pace() -> Pace:
    """Measure this machine for a second or two, on the threads that PyTorch uses.

    The best of many tries counts, of both kinds in turn: what other programs do lasts a second at a time.
    """
    a, b = torch.ones(1024, 1024), torch.empty(1024, 1024)
    grid = torch.ones(32**3, dtype=torch.complex64)
    points = torch.randint(len(grid), (2**16,), generator=torch.Generator().manual_seed(0))
    weights = torch.ones(len(points))
    products = passes = math.inf
    for _ in range(_TURNS):
        products = min(products, _best_seconds(lambda: torch.mm(a, a, out=b)))
        passes = min(passes, _best_seconds(lambda: grid[points] * weights))
    slices = 1.0 if version_of_numba() is None else _COMPILED
    return Pace(products * GEMM_FLOPS / (2 * 1024**3), passes * GATHERED_POINTS / len(points), slices)


def _best_seconds(work: Callable[[], object], seconds: float = 0.15) -> float:
    """Return the CPU seconds of the best try within a time."""
    best, end = math.inf, time.monotonic() + seconds
    while time.monotonic() < end or math.isinf(best):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best
