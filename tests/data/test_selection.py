"""Images are chosen by the classes of a run, whatever box they were extracted in."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import InputError, make_generator
from resmfn.data import ParticleSet, read_particles
from resmfn.data.particles.particle_writer import write_particles
from resmfn.data.selection import images_of_classes, select_particles
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.rotations import random_rotations

N = 12
CLASS = torch.arange(N) % 3 + 1
HALF = torch.arange(N) // 3 % 2 + 1
SURE = torch.where(torch.arange(N) == 3, 0.4, 0.9)
"""One image of the first class is likelier to show nothing."""
OF_FIRST = [0, 6, 9]


def noise(box_size: int) -> Tensor:
    return torch.randn(N, box_size, box_size, generator=make_generator(3))


def poses() -> Poses:
    return Poses(random_rotations(N, generator=make_generator(1)), torch.linspace(-5, 5, 2 * N).reshape(N, 2))


def picked(particles: ParticleSet) -> ParticleSet:
    """Say where each particle was picked: three micrographs, no two of one at the same place."""
    return particles.with_columns(
        {"rlnCoordinateX": torch.arange(N).double() * 40, "rlnCoordinateY": torch.full((N,), 7.5).double()}
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return what a run of three classes leaves of the images of a small box."""
    folder = tmp_path / "run"
    found = picked(read_particles(write_particle_files(tmp_path / "small", noise(16), poses=poses())))
    found = found.with_columns(
        {
            "rlnClassNumber": CLASS,
            "rlnClassProbability": torch.ones(N).double(),
            "rlnParticleFigureOfMerit": SURE.double(),
            "rlnRandomSubset": HALF,
        }
    )
    folder.mkdir()
    write_particles(folder / "particles.star", found)
    return folder


def test_the_images_that_a_run_read_are_found_by_name(run: Path, tmp_path: Path) -> None:
    everyone = read_particles(tmp_path / "small" / "particles.star")
    chosen = images_of_classes(everyone, run, {1})
    assert chosen.table.text("rlnImageName") == [everyone.table.text("rlnImageName")[row] for row in OF_FIRST]
    assert chosen.metadata.numbers("rlnRandomSubset").tolist() == HALF[OF_FIRST].tolist()
    assert torch.equal(chosen.read_images(slice(None)), everyone.read_images(torch.tensor(OF_FIRST)))
    assert chosen.remarks.applied[-1] == f"3 of {N} particles: class 1 of {run}"
    written, _ = select_particles(run, tmp_path / "select.star", classes={1})
    assert written.table.text("rlnImageName") == chosen.table.text("rlnImageName")


def test_particles_extracted_anew_are_found_by_micrograph_and_place_with_shifts_in_angstroms(
    run: Path, tmp_path: Path
) -> None:
    order = torch.randperm(N, generator=make_generator(8))
    path = write_particle_files(tmp_path / "large", noise(24)[order], pixel_size=PIXEL_SIZE / 2)
    anew = read_particles(path)
    again = anew.table.text("rlnImageName")
    anew = picked(anew).select(torch.arange(N))
    columns = {
        "rlnImageName": [name.replace("particles", "../large/particles") for name in again],
        "rlnMicrographName": [f"raw/micrograph {int(row) % 3}" for row in order],
        "rlnCoordinateX": order.double() * 40,
    }
    anew = anew.with_columns(columns)
    chosen = images_of_classes(anew, run, {1}, with_poses=True)
    rows = [int((order == row).nonzero()) for row in OF_FIRST]
    assert torch.equal(chosen.read_images(slice(None)), anew.read_images(torch.tensor(rows)))
    rotation, shift = chosen.require_poses()
    torch.testing.assert_close(rotation, poses().rotation[OF_FIRST], atol=1e-5, rtol=0)
    torch.testing.assert_close(shift, poses().shift[OF_FIRST], atol=1e-5, rtol=0)
    assert chosen.pixel_size == PIXEL_SIZE / 2


def test_poses_are_left_alone_where_they_are_not_asked_for(run: Path, tmp_path: Path) -> None:
    path = write_particle_files(tmp_path / "small", noise(16))
    assert images_of_classes(read_particles(path), run, {2}).rotations is None


def test_images_that_cannot_be_told_are_refused(run: Path, tmp_path: Path) -> None:
    everyone = read_particles(tmp_path / "small" / "particles.star")
    with pytest.raises(InputError, match=r"lacks the image 000007@\S*particles.mrcs, which .* has"):
        images_of_classes(everyone.select(torch.arange(6)), run, {1})
    twice = everyone.select(torch.cat((torch.arange(N), torch.tensor([0]))))
    with pytest.raises(InputError, match="lists an image more than once"):
        images_of_classes(twice, run, {1})
    with pytest.raises(InputError, match="--classes 4: .* has classes 1, 2, 3"):
        images_of_classes(everyone, run, {4})


def test_other_particles_under_the_same_names_are_refused(run: Path, tmp_path: Path) -> None:
    everyone = picked(read_particles(tmp_path / "small" / "particles.star"))
    here = everyone.with_columns({"rlnMicrographName": [f"m{row % 3}" for row in range(N)]})
    rounded = here.with_columns({"rlnCoordinateX": torch.arange(N).double() * 40 + 0.4})
    assert len(images_of_classes(rounded, run, {1})) == len(OF_FIRST)
    elsewhere = here.with_columns({"rlnCoordinateX": torch.arange(N).double() * 40 + 5})
    with pytest.raises(InputError, match=r"both have the image 000001@\S+, with other coordinates: another particle"):
        images_of_classes(elsewhere, run, {1})
