"""What can be refused is refused before the first image is read; what was found is found again from elsewhere."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import yaml

from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.core import InputError, StoppedError, machine, make_generator
from resmfn.data import write_map
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.run.preflight import space_needed

BOX, N = 16, 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project folder with images, and maps of several kinds beside it."""
    images = torch.randn(N, BOX, BOX, generator=make_generator(1))
    write_particle_files(tmp_path / "project", images)
    write_map(tmp_path / "mask.mrc", torch.ones(BOX, BOX, BOX), PIXEL_SIZE)
    write_map(tmp_path / "large.mrc", torch.rand(20, 20, 20, generator=make_generator(1)), PIXEL_SIZE)
    write_map(tmp_path / "bright.mrc", 3 * torch.ones(BOX, BOX, BOX), PIXEL_SIZE)
    write_map(tmp_path / "empty.mrc", torch.zeros(BOX, BOX, BOX), PIXEL_SIZE)
    (tmp_path / "notes.mrc").write_text("no map")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    return tmp_path / "project"


@pytest.fixture
def no_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it a failure to begin with the pixels."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("images were read")

    monkeypatch.setattr("resmfn.data.particles.locations.ImageLocations.read", fail)


@pytest.mark.usefixtures("no_image_is_read")
def test_a_half_set_of_next_to_no_images_is_refused(tmp_path: Path) -> None:
    images = torch.randn(N, BOX, BOX, generator=make_generator(1))
    star = write_particle_files(tmp_path / "uneven", images, subset=(torch.arange(N) < 9) + 1)
    with pytest.raises(InputError, match=rf"at least, got {N - 9} and 9; leave the column out"):
        reconstruct(ReconstructionConfig(particles=star, out=tmp_path / "run", device="cpu"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_image_is_read")
@pytest.mark.parametrize("poses", ["fixed", "from-input"])
def test_a_shift_that_puts_the_molecule_out_of_its_image(tmp_path: Path, poses: str) -> None:
    shift = torch.zeros(N, 2)
    shift[3, 1] = -24.5  # of a box of 48 Å
    images = torch.randn(N, BOX, BOX, generator=make_generator(1))
    star = write_particle_files(tmp_path / "far", images, poses=Poses(torch.eye(3).expand(N, 3, 3), shift))
    with pytest.raises(InputError, match=r"row 4: a shift of 24.5 Å puts the molecule out of its image"):
        reconstruct(ReconstructionConfig(particles=star, out=tmp_path / "run", poses=poses, device="cpu"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_image_is_read")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask": "absent.mrc"}, r"absent\.mrc"),
        ({"mask": "notes.mrc"}, r"notes\.mrc"),
        ({"mask": "large.mrc"}, "--mask .* must match the images' box"),
        ({"mask": "bright.mrc"}, "must lie between 0 and 1"),
        ({"reference": "absent.mrc"}, r"absent\.mrc"),
        ({"reference": "large.mrc"}, "--reference .* must match the images' box"),
        ({"reference": "empty.mrc"}, "--reference .* is constant"),
        ({"symmetry": "Td"}, "--symmetry Td"),
        ({"shift_range": 24.5}, "--shift-range must be at most half the box of 48 Å, got 24.5"),
        ({"mask_diameter": 60.0}, "--mask-diameter must lie between"),
        ({"box_size": 20}, "--box-size must be at most the images' box"),
        ({"poses": "fixed"}, "poses are needed"),
        ({"out": "thesis"}, "is not a run folder"),
        ({"out": "notes.mrc"}, "is not a run folder"),
        ({"out": "notes.mrc/run"}, "cannot make the run folder"),
    ],
)
def test_refused_before_the_first_image(project: Path, settings: dict[str, object], message: str) -> None:
    files = {name: project.parent / str(settings[name]) for name in ("mask", "reference", "out") if name in settings}
    before = sorted(project.parent.rglob("*"))
    with pytest.raises(InputError, match=message):
        reconstruct(
            ReconstructionConfig(
                **{"particles": project / "particles.star", "out": project.parent / "run", "device": "cpu"}
                | settings
                | files
            )
        )
    assert sorted(project.parent.rglob("*")) == before


@pytest.mark.usefixtures("no_image_is_read")
def test_a_disk_that_is_too_small_is_refused_before_the_first_image(project: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 1000, 1000))
    out = project.parent / "run"
    with pytest.raises(InputError, match=r"--out .*run: the disk has 0 MiB free, and the run needs about \d+ MiB"):
        reconstruct(ReconstructionConfig(particles=project / "particles.star", out=out, device="cpu"))
    assert not out.exists()


@pytest.mark.usefixtures("no_image_is_read")
def test_images_that_memory_cannot_hold_are_refused_before_the_first(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 60 * 16**2 * 4)
    config = ReconstructionConfig(particles=project / "particles.star", out=project.parent / "run", device="cpu")
    with pytest.raises(InputError, match=r"out of memory: the Fourier pixels of 60 images of box 16 take 0\.0 GiB"):
        reconstruct(config)
    assert not config.out.exists()


def test_the_space_that_is_asked_for_grows_with_images_and_box() -> None:
    assert space_needed(2000, 64, None) < space_needed(50_000, 64, None) < space_needed(50_000, 128, None) < 2**30
    assert space_needed(60, 16, None) > 2**20
    assert space_needed(60, 64, None, 4) > 3.5 * space_needed(60, 64, None)  # four classes


def test_a_run_goes_on_from_another_folder(project: Path, monkeypatch) -> None:
    """The names start from the project, five folders above the file: they are found from there only."""
    deep = project / "External/job012/out/iter/final"
    deep.mkdir(parents=True)
    (project / "particles.star").rename(deep / "run_data.star")
    settings = {"out": project / "run", "device": "cpu", "n_starts": 1, "shift_range": 0.0}
    monkeypatch.chdir(project)
    config = ReconstructionConfig(particles=deep / "run_data.star", **settings)
    with pytest.raises(StoppedError):
        reconstruct(config, stop=lambda: True)
    assert yaml.safe_load((project / "run" / "config.yaml").read_text())["datadir"] == str(project)
    monkeypatch.chdir(project.parent)
    with pytest.raises(StoppedError):
        reconstruct(ReconstructionConfig(particles=deep / "run_data.star", resume=True, **settings), stop=lambda: True)
    assert "resume: from phase" in (project / "run" / "run.log").read_text()
