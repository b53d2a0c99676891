"""The files of a job that RELION's pipeline may give to the next job: RELION_OUTPUT_NODES.star.

RELION 3.1 reads a whole number for the kind of a file (rlnPipeLineNodeType), RELION 4 and later read a label
(rlnPipeLineNodeTypeLabel). Both are written. RELION 3.1 then says on standard error that it does not know the label,
and goes on. Numbers and labels are those of RELION's pipeline_jobs.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resmfn.core import InputError
from resmfn.data.star.tables import Table, quote, read_star, write_star

OUTPUT_NODES, JOB_SETTINGS = "RELION_OUTPUT_NODES.star", "job.star"
_RELION_5 = 50001
"""The format version from which on the label of particles is another one."""


@dataclass(frozen=True)
class NodeKind:
    """What a file is to RELION's pipeline."""

    number: int  #: of RELION 3.1
    label: str  #: of RELION 5 and later
    label_4: str | None = None  #: of RELION 4, where it is another one


PARTICLES = NodeKind(3, "ParticleGroupMetadata.star.relion", "ParticlesData.star.relion")
REFERENCE = NodeKind(6, "DensityMap.mrc")
MASK = NodeKind(7, "Mask3D.mrc")
HALF_MAP = NodeKind(10, "DensityMap.mrc.halfmap")
FINAL_MAP = NodeKind(11, "DensityMap.mrc")
LOCAL_RESOLUTION = NodeKind(12, "Image3D.mrc.localresmap")


def write_output_nodes(job: Path, nodes: Mapping[str, NodeKind]) -> Path:
    """Write the list of files that RELION adds to its pipeline when the job has succeeded.

    Parameters
    ----------
    job
        The job's folder. Its job.star, where there is one, tells which RELION has written it.
    nodes
        Path of each file from the project folder, and its kind.
    """
    is_relion_4 = _format_version(job / JOB_SETTINGS) < _RELION_5
    labels = [kind.label_4 if is_relion_4 and kind.label_4 else kind.label for kind in nodes.values()]
    table = Table(
        {
            "rlnPipeLineNodeName": [quote(name) for name in nodes],
            "rlnPipeLineNodeType": [str(kind.number) for kind in nodes.values()],
            "rlnPipeLineNodeTypeLabel": labels,
        }
    )
    write_star(job / OUTPUT_NODES, {"output_nodes": table})
    return job / OUTPUT_NODES


def _format_version(settings: Path) -> int:
    """Return the format version that a job.star names; the newest where there is none or it names none."""
    try:
        tables = read_star(settings) if settings.is_file() else {}
    except InputError:
        tables = {}
    versions = [int(table.version) for table in tables.values() if table.version is not None]
    return min(versions, default=_RELION_5)
