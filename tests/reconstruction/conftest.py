"""Particle files and a context that several tests of this folder begin from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import make_generator
from resmfn.data import read_particles
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction import ReconstructionConfig
from resmfn.reconstruction.images.observations import observe
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reconstruction.run.context import RunContext
from resmfn.reconstruction.run.state import RunState
from resmfn.rotations import random_rotations

SMALL_BOX = 20


@pytest.fixture(autouse=True, scope="module")
def _small_tensors(one_torch_thread: None) -> None:
    """Compute every test of this folder on one thread."""


def small_blobs() -> GaussianBlobs:
    """Return the molecule of the small runs: narrow blobs, as no shell may be empty; projections of deviation 1."""
    blobs = GaussianBlobs.random(30, radius=0.3 * SMALL_BOX, width=0.8, generator=make_generator(21))
    image = blobs.project(torch.eye(3)[None], SMALL_BOX)
    return replace(blobs, amplitudes=blobs.amplitudes / float(image.std()))


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a STAR file of 160 clear images without CTF, with poses and half sets; must not be written to."""
    generator = make_generator(31)
    rotation = random_rotations(160, generator=generator)
    clean = small_blobs().project(rotation, SMALL_BOX)
    images = clean + 1.5 * torch.randn(clean.shape, generator=generator)
    return write_particle_files(
        tmp_path_factory.mktemp("small"),
        images,
        poses=Poses(rotation, torch.zeros(160, 2)),
        subset=torch.arange(160) % 2 + 1,
    )


def build_context(
    particles: Path, folder: Path, state: RunState | None = None, boxes: BoxPlan | None = None, **settings: object
) -> RunContext:
    """Return a run that has not begun; its networks are narrow and its images centered unless settings say not."""
    settings = {"hidden_dim": 8, "shift_range": 0.0, "mask_diameter": 0.84 * SMALL_BOX * PIXEL_SIZE} | settings
    config = ReconstructionConfig(particles=particles, out=folder / "run", **settings)
    found = read_particles(particles, pixel_size=config.pixel_size)
    box = WorkingBox.of(config, found)
    radius = box.mask_radius(config.mask_diameter)
    held = None if boxes is None else boxes.radius_of(boxes.first)
    observations = observe(
        found, mask_radius=radius, device=torch.device("cpu"), box_size=box.box_size, radius_max=held
    )
    return RunContext(config, found, observations, state or RunState(), lambda event: None, boxes=boxes)


@pytest.fixture
def context(small_files: Path, tmp_path: Path) -> Callable[..., RunContext]:
    """Return a function from another STAR file, if need be, and settings to a run that has not begun."""

    def build(particles: Path = small_files, **settings: object) -> RunContext:
        return build_context(particles, tmp_path, **settings)

    return build
