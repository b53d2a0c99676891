"""Files and what they hold: maps, image stacks, particle tables, molecular models."""

from resmfn.data.conversion import convert_particles
from resmfn.data.fsc_xml import write_fsc_xml
from resmfn.data.inspection import Inspection, inspect_particles
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
    "Inspection",
    "ParticleSet",
    "StackInfo",
    "Table",
    "check_images",
    "convert_particles",
    "inspect_particles",
    "read_map",
    "read_particles",
    "read_stack_images",
    "read_stack_info",
    "read_star",
    "write_fsc_xml",
    "write_map",
    "write_particles",
    "write_star",
]
