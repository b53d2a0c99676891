"""``resmfn simulate``: its flags are the fields of SimulationConfig; a progress bar, and what was written."""

import time
from typing import Annotated

from cyclopts import Parameter

from resmfn.cli.progress import image_progress
from resmfn.simulation.config import SimulationConfig


def simulate(config: Annotated[SimulationConfig, Parameter(name="*", negative_iterable=())]) -> None:
    """Simulate particle images of a map or a molecule at known poses, in RELION's format.

    Writes particles.mrcs, particles.star (optics, no poses), particles_true.star (with poses) and volume.mrc.
    """
    from resmfn.simulation.particles import simulate as run

    start = time.perf_counter()
    with image_progress("simulating") as progress:
        made = run(config, progress)
    print(
        f"{made.folder}: {made.n_images} images of {made.box_size} x {made.box_size} pixels, "
        f"{made.pixel_size:g} Å/pixel, in {time.perf_counter() - start:.1f} s"
    )
