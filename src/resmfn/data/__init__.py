"""Files and what they hold: maps, image stacks, particle tables, molecular models."""

from resmfn.data.fsc_xml import write_fsc_xml
from resmfn.data.mrc.map_inspection import MapInspection, inspect_map
from resmfn.data.mrc.maps import DensityMap, StoredMap, is_map_file, read_map, read_stored_map, write_map
from resmfn.data.mrc.stacks import ImageStackWriter, StackInfo, read_stack_images, read_stack_info
from resmfn.data.particles.conversion import convert_particles
from resmfn.data.particles.half_sets import half_sets
from resmfn.data.particles.inspection import Inspection, inspect_particles
from resmfn.data.particles.particle_set import ParticleSet, check_images, read_particles
from resmfn.data.particles.particle_writer import write_particles
from resmfn.data.particles.sources import Supplement
from resmfn.data.selection import select_particles
from resmfn.data.star.tables import Table, read_star, write_star

__all__ = [
    "DensityMap",
    "ImageStackWriter",
    "Inspection",
    "MapInspection",
    "ParticleSet",
    "StackInfo",
    "StoredMap",
    "Supplement",
    "Table",
    "check_images",
    "convert_particles",
    "half_sets",
    "inspect_map",
    "inspect_particles",
    "is_map_file",
    "read_map",
    "read_particles",
    "read_stack_images",
    "read_stack_info",
    "read_star",
    "read_stored_map",
    "select_particles",
    "write_fsc_xml",
    "write_map",
    "write_particles",
    "write_star",
]
