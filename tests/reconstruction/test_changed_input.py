"""A run is resumed with the images that it was begun with, or not at all; what has changed is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, stored_images, varied_optics, write_particle_files
from resmfn.core import InputError, StoppedError, make_generator
from resmfn.data import read_star, write_map, write_star
from resmfn.data.star.tables import Table
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import random_rotations

BOX, N = 16, 60
SETTINGS = {"poses": "from-input", "shift_range": 3.0, "hidden_dim": 8, "network_steps": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data and a run that stopped after its first step; must not be written to."""
    folder = tmp_path_factory.mktemp("begun")
    generator = make_generator(5)
    rotation = random_rotations(N, generator=generator)
    blobs = GaussianBlobs.random(20, radius=0.28 * BOX, width=0.8, generator=generator)
    images = blobs.project(rotation, BOX)
    images = images / images.std() + 0.7 * torch.randn(images.shape, generator=generator)
    write_particle_files(
        folder / "data",
        images,
        optics=varied_optics(N),
        poses=Poses(rotation, torch.zeros(N, 2)),
        subset=torch.arange(N) % 2 + 1,
    )
    write_map(folder / "mask.mrc", torch.ones(BOX, BOX, BOX), PIXEL_SIZE)
    step(folder)
    assert (folder / "run" / "checkpoint.pt").exists()
    return folder


def config(folder: Path, **settings: object) -> ReconstructionConfig:
    """Return the settings of a folder's run."""
    files = {"particles": folder / "data" / "particles.star", "out": folder / "run", "mask": folder / "mask.mrc"}
    return ReconstructionConfig(**files, **SETTINGS, **settings)


def step(folder: Path, **settings: object) -> None:
    """Take one step of the run of a folder."""
    with pytest.raises(StoppedError):
        reconstruct(config(folder, **settings), stop=lambda: True)


def rows(change: Callable[[list[int]], list[int]]) -> Callable[[Path], None]:
    """Return what lists other rows, or the same in another order."""

    def apply(folder: Path) -> None:
        table = read_star(folder / "particles.star")["particles"]
        kept = change(list(range(len(table))))
        columns = {name: [cells[row] for row in kept] for name, cells in table.columns.items()}
        write_star(folder / "particles.star", {"particles": Table(columns, version=table.version)})

    return apply


def cell(column: str, value: str, row: int = 7) -> Callable[[Path], None]:
    """Return what changes one cell."""

    def apply(folder: Path) -> None:
        table = read_star(folder / "particles.star")["particles"]
        cells = list(table.columns[column])
        assert cells[row] != value
        cells[row] = value
        write_star(folder / "particles.star", {"particles": table.with_columns({column: cells})})

    return apply


def column_everywhere(column: str, value: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = read_star(folder / "particles.star")["particles"]
        write_star(folder / "particles.star", {"particles": table.with_columns({column: [value] * len(table)})})

    return apply


def pixels(change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    """Return what changes images in place: name and size stay."""

    def apply(folder: Path) -> None:
        images = stored_images(folder / "particles.mrcs")
        change(images)
        images.flush()

    return apply


def negate(images: np.ndarray) -> None:
    images[:] = -images


def exchange(images: np.ndarray) -> None:
    images[:] = np.roll(images, 1, axis=0)


def other_mask(folder: Path) -> None:
    write_map(folder.parent / "mask.mrc", 0.5 * torch.ones(BOX, BOX, BOX), PIXEL_SIZE)


CHANGES = {
    "reversed rows": (rows(lambda all_rows: all_rows[::-1]), "the order of the rows"),
    "two rows exchanged": (rows(lambda all_rows: [1, 0, *all_rows[2:]]), "the order of the rows"),
    "fewer rows": (rows(lambda all_rows: all_rows[:-2]), "the number of images from 60 to 58"),
    "a row twice": (rows(lambda all_rows: [*all_rows, 3]), "the number of images from 60 to 61"),
    "a row for another": (rows(lambda all_rows: [*all_rows[:-1], 3]), "the names of the images"),
    "a defocus": (cell("rlnDefocusU", "12345.000000"), "the defocus u"),
    "an astigmatism angle": (cell("rlnDefocusAngle", "77.000000"), "the defocus angle"),
    "the voltage": (column_everywhere("rlnVoltage", "200.000000"), "the voltage"),
    "the amplitude contrast": (column_everywhere("rlnAmplitudeContrast", "0.070000"), "the amplitude contrast"),
    "an angle": (cell("rlnAngleTilt", "12.000000"), "the angles"),
    "a shift": (cell("rlnOriginXAngst", "1.500000"), "the shifts"),
    "a half set": (cell("rlnRandomSubset", "1"), "the half sets"),
    "inverted images": (pixels(negate), "the pixels of the images"),
    "images in another order in the stack": (pixels(exchange), "the pixels of the images"),
    "the mask": (other_mask, "what the mask holds"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("flip_hand", [False, True])
def test_a_changed_input_is_refused_by_what_changed(begun: Path, tmp_path: Path, change: str, flip_hand: bool) -> None:
    apply, named = CHANGES[change]
    folder = moved(begun, tmp_path)
    apply(folder / "data")
    before = contents(folder / "run")
    with pytest.raises(InputError, match=r"particles\.star has changed since .*run was begun") as refused:
        reconstruct(config(folder, resume=True, flip_hand=flip_hand))
    assert f"({named})" in str(refused.value)
    assert contents(folder / "run") == before


def test_one_image_that_is_not_sampled_is_told_by_its_noise(begun: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("resmfn.reconstruction.run.input_digest.SAMPLED_IMAGES", 2)
    folder = moved(begun, tmp_path)
    shutil.rmtree(folder / "run")
    step(folder)
    images = stored_images(folder / "data" / "particles.mrcs")
    images[30] = images[31]
    images.flush()
    with pytest.raises(InputError, match=r"the pixels of the image in row 31, 000031@particles\.mrcs, and of 0 others"):
        reconstruct(config(folder, resume=True))


def test_the_same_images_go_on(begun: Path, tmp_path: Path) -> None:
    folder = moved(begun, tmp_path)
    table = read_star(folder / "data" / "particles.star")["particles"]
    (folder / "data" / "particles.star").unlink()
    unused = table.with_columns({"rlnMicrographName": ["renamed"] * N})  # what the result does not depend on
    write_star(folder / "data" / "particles.star", {"particles": unused})
    step(folder, resume=True)
    assert "resume: from phase" in (folder / "run" / "run.log").read_text()


def moved(begun: Path, tmp_path: Path) -> Path:
    """Return a copy of a run and its data whose settings name the copy."""
    folder = tmp_path / "copy"
    shutil.copytree(begun, folder)
    settings = folder / "run" / "config.yaml"
    settings.write_text(settings.read_text().replace(str(begun), str(folder)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
