"""Files and what they hold: maps, image stacks, particle tables, molecular models."""

from resmfn.data.conversion import convert_particles
from resmfn.data.fsc_xml import write_fsc_xml
from resmfn.data.inspection import Inspection, inspect_particles
from resmfn.data.map_inspection import MapInspection, inspect_map
from resmfn.data.maps import DensityMap, StoredMap, is_map_file, read_map, read_stored_map, write_map
from resmfn.data.mrc import ImageStackWriter, StackInfo, read_stack_images, read_stack_info
from resmfn.data.particles import ParticleSet, check_images, read_particles, write_particles
from resmfn.data.star import Table, read_star, write_star

__all__ = [
    "DensityMap",
    "ImageStackWriter",
    "Inspection",
    "MapInspection",
    "ParticleSet",
    "StackInfo",
    "StoredMap",
    "Table",
    "check_images",
    "convert_particles",
    "inspect_map",
    "inspect_particles",
    "is_map_file",
    "read_map",
    "read_particles",
    "read_stack_images",
    "read_stack_info",
    "read_star",
    "read_stored_map",
    "write_fsc_xml",
    "write_map",
    "write_particles",
    "write_star",
]
