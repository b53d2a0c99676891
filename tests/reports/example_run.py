"""A run folder as a reconstruction leaves it, or as it stands midway, without a reconstruction."""

import base64
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml

from resmfn.data import Table, write_map, write_star
from resmfn.data.star.tables import format_cells
from resmfn.evaluation import fsc_csv_text, half_map_resolution, validate_halves
from resmfn.fourier import radius_grid, soft_sphere
from resmfn.physics.phantoms.blobs import GaussianBlobs
from resmfn.reports.html.pictures import png_uri
from resmfn.rotations import euler_from_matrix, random_rotations

BOX, PIXEL, N = 24, 3.0, 80
CENTERS = torch.tensor([[6.0, 0, 0], [0, 5.0, 0], [0, 0, 4.0], [0, 0, 0]])
"""x, y, z in voxels from the origin: brightest at +x, then +y, then +z."""
AMPLITUDES = torch.tensor([1.0, 0.8, 0.6, 0.3])


def phantom() -> torch.Tensor:
    """Return a map that tells its axes and its hand."""
    return GaussianBlobs(centers=CENTERS, widths=torch.full((4,), 1.6), amplitudes=AMPLITUDES).volume(BOX)


def make_run(folder: Path, *, done: bool = True, **summary: object) -> Path:
    """Write a run folder; keys of summary.json can be set."""
    generator = torch.Generator().manual_seed(3)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"particles": "p.star", "shift_range": 9.0, "poses": "unknown"}))
    rounds = [
        {"stage": stage, "round": i, "resolution": 20.0 / i, "pose_change": 5.0 / i, "log_likelihood": 10.0 + i,
         "network_fit": 0.99} for i, stage in enumerate(("halves", "halves", "halves", "joint"), start=1)
    ]  # fmt: skip
    starts = [{"stage": "search", "start": i, "log_likelihood": 9.0 + i / 10} for i in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*starts, *rounds[: 4 if done else 2]])
    )
    (folder / "run.log").write_text("2026-01-01 00:00:00  read: 80 particles <of> 24 x 24 pixels\n")
    progress = {"stage": "halves", "message": "round 2", "done": 0.5, "seconds": 60.0, "updated": 1000.0}
    (folder / "progress.json").write_text(json.dumps(progress))
    volume = phantom()
    if not done:
        write_map(folder / "preview.mrc", volume, PIXEL)
        return folder
    halves = [volume + 0.02 * torch.randn(volume.shape, generator=generator) for _ in range(2)]
    names = {"map": volume, "map_filtered": volume, "half1": halves[0], "half2": halves[1], "map_scale1": 0.5 * volume}
    for name, values in names.items():
        write_map(folder / f"{name}.mrc", values, PIXEL)
    result = half_map_resolution(*halves, torch.ones_like(volume), PIXEL, generator=generator)
    curves = {name: getattr(result.curves, name) for name in ("corrected", "masked", "unmasked", "randomized")}
    (folder / "fsc.csv").write_text(fsc_csv_text(curves))
    _write_validation(folder)
    _write_particles(folder / "particles.star", generator)
    pictures = torch.randn(2, 3, 12, 12, generator=generator).numpy()
    np.savez(
        folder / "examples.npz", particle=pictures[0], reprojection=pictures[1], row=np.array([0, 40, 79]),
        pixel_size=6.0, resolution=12.0,
    )  # fmt: skip
    found = {
        "resolution_half_0143": 6.9, "resolution_split": 12.0, "n_particles": 5000, "seconds": 61.0, "device": "cpu",
        "log_likelihood": [9.1, 9.2, 9.3], "start_agreement": [0.97, 0.95, 1.0],
        "box_size": BOX, "pixel_size": PIXEL, "peak_memory": 2**29,
        "verdict": "half maps agree to 6.90 Å",
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(found | summary))
    return folder


def _write_validation(folder: Path) -> None:
    """Write what a run says of its half maps; local resolution is 6 Å at x > 0 and 12 Å elsewhere, in a ball."""
    for name, text in _validation_texts().items():
        (folder / name).write_text(text)
    local = torch.full((BOX, BOX, BOX), 12.0)
    local[:, :, BOX // 2 + 1 :] = 6.0
    write_map(folder / "local_resolution.mrc", local * (radius_grid(BOX, 3) < 11), PIXEL)


@cache
def _validation_texts() -> dict[str, str]:
    generator = torch.Generator().manual_seed(4)
    halves = [phantom() + 0.02 * torch.randn(BOX, BOX, BOX, generator=generator) for _ in range(2)]
    validation = validate_halves(*halves, soft_sphere(BOX, 6.0, 4.0), PIXEL, generator=generator)
    starts = {"log_likelihood": [9.1, 9.2, 9.3], "correlation": [0.97, 0.95, 1.0]}
    figures = validation.figures() | {"starts": starts}
    return {
        "validation.json": json.dumps(figures),
        "fsc_directional.csv": fsc_csv_text(validation.directional_curves()),
    }


def _write_particles(path: Path, generator: torch.Generator) -> None:
    rot, tilt, psi = euler_from_matrix(random_rotations(N, generator=generator, dtype=torch.float64)).T
    shift = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    columns = {
        "rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(N)],
        "rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi,
        "rlnOriginXAngst": shift[:, 0], "rlnOriginYAngst": shift[:, 1],
        "rlnMaxValueProbDistribution": torch.rand(N, generator=generator), "rlnPixelSize": [PIXEL] * N,
        "rlnDefocusU": [15000.0] * N, "rlnDefocusV": [14800.0] * N, "rlnDefocusAngle": [30.0] * N,
        "rlnVoltage": [300.0] * N, "rlnSphericalAberration": [2.7] * N, "rlnAmplitudeContrast": [0.1] * N,
    }  # fmt: skip
    write_star(path, {"particles": Table({name: format_cells(values) for name, values in columns.items()})})


def make_fit(folder: Path, *, n_scales: int = 3, size: int = 32) -> Path:
    """Write the run folder of a fit of one image, ``photo <1>``, each scale another grey, two snapshots."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"sources": ["photo.png"], "epochs": 100}))
    place = folder / "fields" / "photo <1>"
    for epoch in (50, 100):
        snapshot = place / f"epoch_{epoch:06d}"
        snapshot.mkdir(parents=True)
        for i in range(1, n_scales + 1):
            grey = np.full((size, size), (60 * i + (epoch == 50)) % 256, np.uint8)
            (snapshot / f"scale{i}.png").write_bytes(picture_bytes(grey))
        np.savez(
            snapshot / "spectra.npz", scales=np.zeros((n_scales, size, size)), truth=np.ones((size, size)),
            half_widths=np.array([4.0 * i for i in range(1, n_scales + 1)]), extents=np.ones(2),
        )  # fmt: skip
    (place / "target.png").write_bytes(picture_bytes(np.full((size, size), 200, np.uint8)))
    measures = [[10.0 + i + e / 100 for i in range(n_scales)] for e in (50, 100)]
    rows = [{"name": "photo <1>", "epoch": 50 * (k + 1), "test_psnr": values} for k, values in enumerate(measures)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps({"test_psnr": measures[-1], "test_ssim": [0.5] * n_scales}))
    return folder


def picture_bytes(pixels: np.ndarray) -> bytes:
    """Return a PNG."""
    return base64.b64decode(png_uri(pixels).partition(",")[2])
