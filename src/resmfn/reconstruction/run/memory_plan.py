"""A run that keeps to a limit of memory: its box grows as far as that allows, which is known before images are read."""

from __future__ import annotations

import math

from resmfn.core.errors import InputError
from resmfn.fourier import quick_size
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.cost_model import memory_needed

_GIB = 2**30
_MORE_ON_GPU = 350
"""Bytes a voxel: 5,000 images of 256 pixels a side ended at a limit of 8 GiB, out of memory, when their maps came to
the whole box. The validation has taken less since, which was not measured on a GPU."""


def within_memory(
    config: ReconstructionConfig, boxes: BoxPlan, box: WorkingBox, n_images: int, n_processes: int
) -> tuple[BoxPlan, str | None]:
    """Return the plan that ends at the largest box that the memory allows, and a line that says so if it is another.

    The limit is that of all processes together. The memory of a GPU, of which each process has one, counts as well
    where it is limited.

    Raises
    ------
    InputError
        Not even the first box fits; or the box or the final resolution that was asked for does not.
    """
    limits = {"--memory": config.memory, "--gpu-memory": config.gpu_memory}
    given = {name: value for name, value in limits.items() if value is not None}
    if not given:
        return boxes, None
    flag, memory = min(given.items(), key=lambda pair: pair[1])
    # The last box may have any side that is quick to transform.
    sizes = sorted({quick_size(size) for size in range(boxes.first, boxes.largest)} | {boxes.first, boxes.largest})
    shared = (math.ceil(n_images / n_processes), 1) if flag == "--gpu-memory" else (n_images, n_processes)
    more = _MORE_ON_GPU if flag == "--gpu-memory" else 0
    needed = {
        size: (memory_needed(shared[0], size, shared[1], boxes.image_size) + more * size**3) / _GIB for size in sizes
    }
    fitting = [size for size in sizes if needed[size] <= memory and size <= boxes.largest]
    if fitting and fitting[-1] == boxes.largest:
        return boxes, None
    asked = config.box_size is not None or config.final_resolution is not None
    size = boxes.largest if asked else boxes.first
    if asked or not fitting:
        finest = f", a --final-resolution of {_resolution(boxes, box, fitting[-1]):.1f} Å" if fitting else ""
        fewer = f", or --processes 1, not {n_processes}" if n_processes > 1 else ""
        raise InputError(
            f"{flag} {memory:g}: {n_images} images in a box of {size} need about {needed[size]:.1f} GiB, "
            f"{needed[size] - memory:.1f} GiB more; give more{finest}, or fewer images{fewer}"
        )
    return boxes.up_to(fitting[-1]), (
        f"{flag} {memory:g} holds the images to {_resolution(boxes, box, fitting[-1]):.1f} Å in a box of "
        f"{fitting[-1]} (about {needed[fitting[-1]]:.1f} GiB); all of them, in one of {boxes.largest}, would take "
        f"{needed[boxes.largest]:.1f} GiB"
    )


def _resolution(boxes: BoxPlan, box: WorkingBox, size: int) -> float:
    return box.side / boxes.radius_of(size)
