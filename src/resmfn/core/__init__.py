"""What every other folder may use: errors, seeded random streams, atomic files. Independent of images."""

from resmfn.core.atomic import atomic_folder, atomic_write
from resmfn.core.device import choose_device
from resmfn.core.errors import InputError, ResmfnError, ShapeError, StoppedError, one_line
from resmfn.core.random import make_generator, spawn

__all__ = [
    "InputError",
    "ResmfnError",
    "ShapeError",
    "StoppedError",
    "atomic_folder",
    "atomic_write",
    "choose_device",
    "make_generator",
    "one_line",
    "spawn",
]
