"""What a STAR file without particle images is, recognized by its labels, for helpful messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from resmfn.core import InputError
from resmfn.data.star.tables import PARTICLE_COLUMN, Table

#: (label of a column, or name of a block) -> what a file with it is, the telling ones first.
_KINDS = {
    "rlnTomoParticlesFile": "a tomography optimisation set",
    "optimiser_general": "the state of a RELION run (optimiser.star; its particles are in _data.star)",
    "sampling_general": "the orientations that a RELION run samples (sampling.star)",
    "model_general": "the model of a RELION run (model.star; its particles are in _data.star)",
    "pipeline_general": "the list of a RELION project's jobs",
    "joboptions_values": "the options of a RELION job",
    "external_reconstruct_general": "the parameters of an external reconstruction",
    "rlnMtfValue": "the transfer function of a detector",
    "rlnFourierShellCorrelationCorrected": "a Fourier shell correlation, by postprocessing",
    "rlnFourierShellCorrelation": "a Fourier shell correlation",
    "rlnTomoTiltSeriesStarFile": "a list of tilt series",
    "rlnTomoTiltSeriesName": "a list of tomograms",
    "rlnTomoName": "a tomography file",
    "rlnTomoNominalStageTiltAngle": "the images of one tilt series",
    "wrpAxisAngle": "the images of one tilt series",
    "stopgap_wedgelist": "a STOPGAP wedge list",
    "rlnCoordinateX": "picked coordinates (extract the particles first)",
    "rlnCtfImage": "a list of micrographs with their CTF",
    "rlnMicrographName": "a list of micrographs",
}
_SUBTOMOGRAM_LABELS = ("rlnTomoName", "rlnTomoParticleName", "rlnTomoParticleId", "rlnTomoSubTomosAre2DStacks")


def describe_tables(tables: Mapping[str, Table]) -> str:
    """Say what the tables of a file are."""
    for label, kind in _KINDS.items():
        if label in tables or any(label in table for table in tables.values()):
            return kind
    if not any(len(table) for table in tables.values()):
        return "a STAR file without rows"
    columns = [column for table in tables.values() for column in table.columns]
    if not any(column.startswith("rln") for column in columns):
        return f"a STAR file of another program, with the columns {', '.join(columns[:4])}"
    return f"another RELION file, with the tables {', '.join(f'data_{name}' for name in list(tables)[:4])}"


def require_single_particles(path: Path, tables: Mapping[str, Table], block: str) -> None:
    """Raise InputError if the particles are volumes or tilt series, each row more than one image."""
    particles = tables[block]
    advice = "single-particle images are needed, one per row"
    label = next((name for name in _SUBTOMOGRAM_LABELS if any(name in table for table in tables.values())), None)
    if label is not None:
        raise InputError(f"{path}: the particles are subtomograms or tilt series ({label}); {advice}")
    dimensions = {cell for table in tables.values() for cell in table.columns.get("rlnImageDimensionality", [])}
    if dimensions - {"2", "2.0", "2.000000"}:
        raise InputError(f"{path}: the particles are subtomograms (rlnImageDimensionality must be 2); {advice}")
    is_numbered = PARTICLE_COLUMN not in particles or any("@" in cell for cell in particles[PARTICLE_COLUMN])
    if "rlnCoordinateZ" in particles and not is_numbered:
        raise InputError(
            f"{path}: the particles are subtomograms (rlnCoordinateZ, and a whole file for each rlnImageName); {advice}"
        )
