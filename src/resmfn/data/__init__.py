"""Files and what they hold: maps, image stacks, particle tables, molecular models."""

from resmfn.data.mrc import (
    DensityMap,
    ImageStackWriter,
    StackInfo,
    read_map,
    read_stack_images,
    read_stack_info,
    write_map,
)
from resmfn.data.particles import ParticleSet, check_images, read_particles, write_particles
from resmfn.data.star import Table, read_star, write_star

__all__ = [
    "DensityMap",
    "ImageStackWriter",
    "ParticleSet",
    "StackInfo",
    "Table",
    "check_images",
    "read_map",
    "read_particles",
    "read_stack_images",
    "read_stack_info",
    "read_star",
    "write_map",
    "write_particles",
    "write_star",
]
