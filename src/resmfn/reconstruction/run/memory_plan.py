"""A run that keeps to a limit of memory: its box grows as far as that allows, which is known before images are read."""

from __future__ import annotations

from resmfn.core.errors import InputError
from resmfn.fourier import quick_size
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.cost_model import memory_needed

_GIB = 2**30


def within_memory(
    config: ReconstructionConfig, boxes: BoxPlan, box: WorkingBox, n_images: int, n_processes: int
) -> tuple[BoxPlan, str | None]:
    """Return the plan that ends at the largest box that the memory allows, and a line that says so if it is another.

    Raises
    ------
    InputError
        Not even the first box fits; or the box or the final resolution that was asked for does not.
    """
    if config.memory is None:
        return boxes, None
    # The last box may have any side that is quick to transform.
    sizes = sorted({quick_size(size) for size in range(boxes.first, boxes.largest)} | {boxes.first, boxes.largest})
    needed = {size: memory_needed(n_images, size, n_processes, boxes.image_size) / _GIB for size in sizes}
    fitting = [size for size in sizes if needed[size] <= config.memory and size <= boxes.largest]
    if fitting and fitting[-1] == boxes.largest:
        return boxes, None
    asked = config.box_size is not None or config.final_resolution is not None
    size = boxes.largest if asked else boxes.first
    if asked or not fitting:
        finest = f", a --final-resolution of {_resolution(boxes, box, fitting[-1]):.1f} Å" if fitting else ""
        raise InputError(
            f"--memory {config.memory:g}: {n_images} images in a box of {size} need about {needed[size]:.1f} GiB, "
            f"{needed[size] - config.memory:.1f} GiB more; give more{finest}, fewer images, or more processes"
        )
    return boxes.up_to(fitting[-1]), (
        f"--memory {config.memory:g} holds the images to {_resolution(boxes, box, fitting[-1]):.1f} Å in a box of "
        f"{fitting[-1]} (about {needed[fitting[-1]]:.1f} GiB); all of them, in one of {boxes.largest}, would take "
        f"{needed[boxes.largest]:.1f} GiB"
    )


def _resolution(boxes: BoxPlan, box: WorkingBox, size: int) -> float:
    return box.side / boxes.radius_of(size)
