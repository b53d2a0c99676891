"""A small project of RELION on disk, as an Extract job leaves it, and its pipeliner."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from reconstruction.conftest import SMALL_BOX, small_blobs
from reconstruction.scenes import PIXEL_SIZE, varied_optics
from resmfn.core import make_generator
from resmfn.data import ImageStackWriter, Table, write_star
from resmfn.data.star.tables import format_cells
from resmfn.physics import FourierSliceProjector, ImageFormation
from resmfn.rotations import random_rotations

N = 120
PARTICLES = "Extract/job001/particles.star"
EMPTY_PIPELINE = "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       2\n\n"
FAST = {"n_starts": "1", "network_steps": "20", "hidden-dim": "8", "shift-range": "0", "flip-hand": "No"}
"""Parameters of the form for a run of seconds, in the spellings that people use."""


def make_project(folder: Path) -> Path:
    """Write images of blobs with CTF as an Extract job would, two micrographs, and an empty pipeline."""
    job = folder / PARTICLES
    (job.parent / "Micrographs").mkdir(parents=True)
    generator = make_generator(5)
    rotation, optics = random_rotations(N, generator=generator), varied_optics(N)
    formation = ImageFormation(FourierSliceProjector(SMALL_BOX), PIXEL_SIZE)
    clean = formation(small_blobs().volume(SMALL_BOX), rotation, torch.zeros(N, 2), optics)
    images = clean + 0.7 * clean.std() * torch.randn(clean.shape, generator=generator)
    half = N // 2
    for i, part in enumerate(images.split(half)):
        with ImageStackWriter(job.parent / f"Micrographs/mic{i}.mrcs", half, SMALL_BOX, PIXEL_SIZE) as stack:
            stack.write(part)
    particles = {
        "rlnCoordinateX": format_cells([10.5 * i for i in range(N)]),
        "rlnImageName": [f"{i % half + 1:06d}@{PARTICLES[:14]}/Micrographs/mic{i // half}.mrcs" for i in range(N)],
        "rlnMicrographName": [f"MotionCorr/job001/mic{i // half}.mrc" for i in range(N)],
        "rlnOpticsGroup": ["1"] * N,
        "rlnDefocusU": format_cells(optics.defocus_u.double()),
        "rlnDefocusV": format_cells(optics.defocus_v.double()),
        "rlnDefocusAngle": format_cells(optics.defocus_angle.double()),
    }
    group = {
        "rlnOpticsGroup": ["1"], "rlnOpticsGroupName": ["opticsGroup1"], "rlnVoltage": ["300"],
        "rlnSphericalAberration": ["2.7"], "rlnAmplitudeContrast": ["0.1"], "rlnImagePixelSize": [f"{PIXEL_SIZE:g}"],
        "rlnImageSize": [str(SMALL_BOX)], "rlnImageDimensionality": ["2"],
    }  # fmt: skip
    tables = {"optics": Table(group, version="30001"), "particles": Table(particles, version="30001")}
    write_star(job, tables)
    (folder / "default_pipeline.star").write_text(EMPTY_PIPELINE)
    return folder


def add_job(project: Path, kind: str, **fields: str) -> None:
    """Schedule a job, fields of its form as given."""
    text = ";".join(f"{name} == {value}" for name, value in fields.items())
    pipeliner(project, "--addJob", kind, "--addJobOptions", text).check_returncode()


def add_resmfn(project: Path, parameters: dict[str, str]) -> None:
    """Schedule resmfn on the extracted particles, as the form of an External job is filled in."""
    fields = {}
    for i, (label, value) in enumerate(parameters.items(), start=1):
        fields |= {f"param{i}_label": label, f"param{i}_value": value}
    program = f"{sys.executable} -m resmfn relion-job"
    add_job(project, "External", fn_exe=program, in_part=PARTICLES, nr_threads="1", **fields)


def pipeliner(project: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("relion_pipeliner", *flags), cwd=project, capture_output=True, text=True, env=environment())


def schedule(project: Path, name: str, *jobs: str) -> "subprocess.Popen[str]":
    """Start the pipeliner on scheduled jobs, one after the other."""
    listed = " ".join(jobs) + " "  # it drops what no space follows
    command = ["relion_pipeliner", "--RunJobs", listed, "--schedule", name, "--sec_wait_after", "0"]
    return subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )


def environment() -> dict[str, str]:
    source = Path(__file__).resolve().parents[2] / "src"
    return {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
