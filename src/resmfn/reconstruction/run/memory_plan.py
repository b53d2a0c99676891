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
    n_classes = config.most_classes
    # The last box may have any side that is quick to transform.
    quick = {quick_size(size) for size in range(boxes.first, boxes.largest)}
    sizes = sorted(size for size in quick | {boxes.first, boxes.largest} if size <= boxes.largest)
    needs = {
        flag: {size: _needed(flag, n_images, size, n_processes, boxes.image_size, n_classes) for size in sizes}
        for flag in given
    }
    fits = {flag: [size for size in sizes if needs[flag][size] <= given[flag]] for flag in given}
    flag = min(given, key=lambda name: len(fits[name]))  # the limit that allows the smaller box
    memory, needed, fitting = given[flag], needs[flag], fits[flag]
    if fitting and fitting[-1] == boxes.largest:
        return boxes, None
    asked = config.box_size is not None or config.final_resolution is not None
    size = boxes.largest if asked else boxes.first
    if asked or not fitting:
        finest = f", a --final-resolution of {_resolution(boxes, box, fitting[-1]):.1f} Å" if fitting else ""
        alone = f", or --processes 1, not {n_processes}" if n_processes > 1 else ""
        otherwise = alone if flag == "--memory" else ", or more processes"
        raise InputError(
            f"{flag} {memory:g}: {n_images} images in a box of {size} need about {needed[size]:.1f} GiB, "
            f"{needed[size] - memory:.1f} GiB more; give more{finest}, or fewer images{otherwise}"
        )
    return boxes.up_to(fitting[-1]), (
        f"{flag} {memory:g} holds the images to {_resolution(boxes, box, fitting[-1]):.1f} Å in a box of "
        f"{fitting[-1]} (about {needed[fitting[-1]]:.1f} GiB); all of them, in one of {boxes.largest}, would take "
        f"{needed[boxes.largest]:.1f} GiB"
    )


def _needed(flag: str, n_images: int, box_size: int, n_processes: int, image_size: int, n_classes: int) -> float:
    """Return the GiB that count against a limit: of all processes together, or of one of them on its GPU."""
    if flag == "--memory":
        return memory_needed(n_images, box_size, n_processes, image_size, n_classes) / _GIB
    alone = memory_needed(math.ceil(n_images / n_processes), box_size, 1, image_size, n_classes)
    return (alone + _MORE_ON_GPU * box_size**3) / _GIB


def _resolution(boxes: BoxPlan, box: WorkingBox, size: int) -> float:
    return box.side / boxes.radius_of(size)
