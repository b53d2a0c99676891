"""A finished run in few kilobytes, its images beside it."""

import json
from functools import cache
from pathlib import Path

import torch
import yaml

from resmfn.data import ImageStackWriter, Table, write_fsc_xml, write_map, write_star
from resmfn.data.star.tables import format_cells
from resmfn.evaluation import FscCurve, fsc_csv_text, validate_halves
from resmfn.fourier import soft_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.rotations import euler_from_matrix, random_rotations

BOX, PIXEL, N = 24, 3.0, 12
SUMMARY = {
    "resolution_half_0143": 7.2, "resolution_split": 15.5, "n_particles": N, "n_bad": 2, "box_size": BOX,
    "pixel_size": PIXEL, "image_box_size": BOX, "image_pixel_size": PIXEL, "symmetry": "C1", "flipped": False,
    "contrast": "white", "structure_found": True, "resolved": True, "log_likelihood": [9.1, 9.2], "warnings": [],
    "verdict": "half maps agree to 7.20 Å",
}  # fmt: skip


def random_poses() -> tuple[torch.Tensor, torch.Tensor]:
    """Return rotations and shifts, float64."""
    generator = torch.Generator().manual_seed(4)
    rotation = random_rotations(N, generator=generator, dtype=torch.float64)
    return rotation, 4 * torch.randn(N, 2, generator=generator, dtype=torch.float64)


def particle_columns() -> dict[str, list[str]]:
    """Return columns as RELION has them: two stacks, two optics groups, some that only it knows, and poses."""
    rotation, shift = random_poses()
    rot, tilt, psi = euler_from_matrix(rotation).T
    return {
        "rlnImageName": [f"{i // 2 + 1:06d}@Extract/job007/mic{i % 2}.mrcs" for i in range(N)],
        "rlnMicrographName": [f"'MotionCorr/job002/mic {i % 2}.mrc'" for i in range(N)],
        "rlnCoordinateX": format_cells([100.25 + i for i in range(N)]),
        "rlnOpticsGroup": [str(1 + i % 2) for i in range(N)],
        "rlnDefocusU": format_cells([15000.5 + 10 * i for i in range(N)]),
        "rlnDefocusV": format_cells([14800.25 + 10 * i for i in range(N)]),
        "rlnDefocusAngle": format_cells([30.0 + i for i in range(N)]),
        "rlnAngleRot": format_cells(rot), "rlnAngleTilt": format_cells(tilt), "rlnAnglePsi": format_cells(psi),
        "rlnOriginXAngst": format_cells(shift[:, 0]), "rlnOriginYAngst": format_cells(shift[:, 1]),
        "rlnRandomSubset": [str(1 + i // 6) for i in range(N)],
    }  # fmt: skip


def write_particles_star(path: Path, **more: list[str]) -> None:
    optics = {
        "rlnOpticsGroup": ["1", "2"], "rlnOpticsGroupName": ["one", "two"], "rlnVoltage": ["300", "200"],
        "rlnSphericalAberration": ["2.7", "1.4"], "rlnAmplitudeContrast": ["0.1", "0.07"],
        "rlnImagePixelSize": ["3.0"] * 2, "rlnImageSize": [str(BOX)] * 2, "rlnImageDimensionality": ["2"] * 2,
    }  # fmt: skip
    tables = {"optics": Table(optics, version="30001"), "particles": Table(particle_columns() | more, version="30001")}
    write_star(path, tables)


def write_maps(folder: Path) -> None:
    """Write what the end of a run writes of its half maps."""
    maps, curves, figures = _validated_maps()
    for name, data in maps.items():
        write_map(folder / f"{name}.mrc", data, PIXEL)
    (folder / "fsc.csv").write_text(fsc_csv_text(curves))
    corrected = curves["corrected"]
    write_fsc_xml(folder / "fsc.xml", corrected.frequency.tolist(), corrected.correlation.tolist(), "half maps")
    (folder / "validation.json").write_text(json.dumps(figures))


@cache
def _validated_maps() -> tuple[dict[str, torch.Tensor], dict[str, FscCurve], dict[str, object]]:
    generator = torch.Generator().manual_seed(3)
    blobs = GaussianBlobs.random(12, radius=4, width=1.4, generator=generator).volume(BOX)
    halves = [blobs + 0.05 * torch.randn(blobs.shape, generator=generator) for _ in range(2)]
    mask = soft_sphere(BOX, 5.0, 2.0)  # few windows of local resolution: they take the time
    found = validate_halves(*halves, mask, PIXEL, generator=generator)
    maps = {
        "map": (halves[0] + halves[1]) / 2 * mask, "map_filtered": blobs * mask, "map_sharpened": found.sharpened,
        "mask": mask, "half1_unfil": halves[0], "half2_unfil": halves[1], "local_resolution": found.local,
    }  # fmt: skip
    return maps, found.halves.curves.by_name(), found.figures()


def make_finished(folder: Path, **summary: object) -> Path:
    """Write a run folder, ``run``, and the images that its particles name, in ``project``."""
    run, project = folder / "run", folder / "project"
    (project / "Extract/job007").mkdir(parents=True)
    run.mkdir()
    for i in range(2):
        with ImageStackWriter(project / f"Extract/job007/mic{i}.mrcs", N // 2, BOX, PIXEL) as stack:
            stack.write(torch.randn(N // 2, BOX, BOX, generator=torch.Generator().manual_seed(i)))
    settings = {
        "out": str(run), "particles": str(project / "particles.star"), "datadir": str(project), "seed": 5,
        "poses": "unknown", "reference": None, "ini_high": 30.0, "mask": None, "mask_diameter": 60.0, "n_starts": 2,
    }  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "summary.json").write_text(json.dumps(SUMMARY | summary))
    versions = {"resmfn": "0.1.0", "torch": "2.13.0", "python": "3.11.7", "numpy": "2.4.6", "gpu": None}
    (run / "provenance.json").write_text(
        json.dumps({"command": "resmfn reconstruct particles.star --out run"} | versions)
    )
    write_particles_star(run / "particles.star")
    write_maps(run)
    return run
