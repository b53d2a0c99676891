"""A mixture of two structures, from images to class folders: whole runs, small enough for CI."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import resmfn
from core.test_processes import run_team
from reconstruction.conftest import SMALL_BOX
from reconstruction.scenes import PIXEL_SIZE, write_particle_files
from resmfn.cli.reconstruct import EXIT_NOT_RESOLVED
from resmfn.core import InputError, StoppedError, make_generator
from resmfn.data import read_map, read_particles, select_particles
from resmfn.physics import GaussianBlobs
from resmfn.reconstruction import ReconstructionConfig, ReconstructionResult
from resmfn.reports.postprocess import postprocess
from resmfn.rotations import point_group, random_rotations

N_EACH = 150
SAME = ("particles.star", "class1/map.mrc", "class2/half1_unfil.mrc", "class2/particles.star", "class1/fsc.csv")


def images_of(seed: int, n: int, symmetry: str = "C1") -> torch.Tensor:
    blobs = GaussianBlobs.random(30, radius=0.3 * SMALL_BOX, width=0.8, generator=make_generator(seed))
    group = point_group(symmetry).float()
    blobs = GaussianBlobs(
        centers=torch.cat([blobs.centers @ operator.T for operator in group]),
        widths=blobs.widths.repeat(len(group)),
        amplitudes=blobs.amplitudes.repeat(len(group)),
    )
    clean = blobs.project(random_rotations(n, generator=make_generator(seed + 1)), SMALL_BOX)
    return clean / float(clean.std())


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of images of two structures, every other one of the second."""
    clean = torch.stack((images_of(21, N_EACH), images_of(77, N_EACH)), dim=1).flatten(0, 1)
    noisy = clean + torch.randn(clean.shape, generator=make_generator(5))
    return write_particle_files(tmp_path_factory.mktemp("mixture"), noisy)


def settings(particles: Path, out: Path, **changed: object) -> ReconstructionConfig:
    diameter = 0.84 * SMALL_BOX * PIXEL_SIZE
    config = ReconstructionConfig(
        particles=particles,
        out=out,
        n_classes=3,
        shift_range=0.0,
        hidden_dim=8,
        mask_diameter=diameter,
        network_steps=20,
    )
    return replace(config, **changed)


@pytest.fixture(scope="module")
def finished(mixture: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReconstructionResult]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield resmfn.reconstruct(settings(mixture, tmp_path_factory.mktemp("classes") / "run"))
    torch.set_num_threads(threads)


def test_each_image_is_in_the_class_of_what_it_shows(finished: ReconstructionResult) -> None:
    found = read_particles(finished.run / "particles.star", with_images=False).metadata.numbers("rlnClassNumber")
    assert finished.summary["n_classes"] == 2
    assert "3 were allowed" in str(finished.summary["verdict"])
    agreed = ((found == 1) == (np.arange(2 * N_EACH) % 2 == 0)).mean()
    assert max(agreed, 1 - agreed) > 0.98


def test_a_class_folder_is_a_run_folder_with_images_of_its_own(finished: ReconstructionResult) -> None:
    everyone = read_particles(finished.run / "particles.star", with_images=False)
    of_image = everyone.metadata.numbers("rlnClassNumber")
    names = np.array(everyone.table.text("rlnImageName"))
    for number in (1, 2):
        folder = finished.run / f"class{number}"
        mine = read_particles(folder / "particles.star", with_images=False)
        assert set(mine.table.text("rlnImageName")) <= set(names[of_image == number])
        assert {"rlnRandomSubset", "rlnMicrographName", "rlnAngleRot"} <= set(mine.table.columns)
        again = postprocess(folder)
        assert again.found.halves.resolution == pytest.approx(
            finished.summary["classes"][number - 1]["resolution_half_0143"], rel=0.05
        )
    page = resmfn.report(finished.run).read_text()
    assert "class2/report.html" in page
    flow = np.array(finished.summary["class_flow"])
    assert flow.shape[1:] == (2, 2)
    assert (flow.sum(axis=(1, 2)) == 2 * N_EACH).all()
    assert f"{flow[-1][:, 0].sum()} (+{flow[-1][1, 0]} -{flow[-1][0, 1]})" in page
    assert (finished.run / "class2" / "report.html").is_file()
    view = (finished.run / "view.cxc").read_text()
    assert "class1/" in view and "class2/" in view
    maps = [read_map(finished.run / f"class{number}" / "map.mrc").data for number in (1, 2)]
    assert float(torch.corrcoef(torch.stack([volume.flatten() for volume in maps]))[0, 1]) < 0.9


def test_images_of_some_classes_are_selected_with_all_their_columns(
    finished: ReconstructionResult, tmp_path: Path
) -> None:
    chosen, n = select_particles(finished.run, tmp_path / "good.star", classes={2}, least_probability=0.9)
    assert n == 2 * N_EACH
    assert 0.8 * N_EACH < len(chosen) <= N_EACH + 5
    written = read_particles(tmp_path / "good.star", with_images=False)
    assert set(written.metadata.numbers("rlnClassNumber")) == {2.0}
    assert set(read_particles(finished.run / "particles.star", with_images=False).table.columns) == set(
        written.table.columns
    )
    with pytest.raises(InputError, match="classes 1, 2"):
        select_particles(finished.run, tmp_path / "none.star", classes={7})


def test_one_class_is_refined_alone_in_its_half_sets(
    finished: ReconstructionResult, mixture: Path, tmp_path: Path
) -> None:
    alone = settings(
        mixture, tmp_path / "alone", n_classes=1, poses="from-input", classes_from=finished.run, classes="2"
    )
    with pytest.raises(InputError, match="--symmetry C2: the poses of .* are of C1"):
        resmfn.reconstruct(replace(alone, symmetry="C2"))
    for source in (finished.run, finished.run / "particles.star"):
        with pytest.raises(InputError, match="--classes 1,2: each class of .* has poses in a frame, and of a hand"):
            resmfn.reconstruct(replace(alone, classes="1,2", classes_from=source))
    found = resmfn.reconstruct(alone)
    chosen, _ = select_particles(finished.run, tmp_path / "good.star", classes={2})
    of_file = replace(alone, particles=tmp_path / "good.star", out=tmp_path / "file", classes_from=None, classes=None)
    from_file = resmfn.reconstruct(replace(of_file, datadir=mixture.parent))
    assert found.summary["n_particles"] == len(chosen)
    for name in ("map.mrc", "half1_unfil.mrc"):
        assert (found.run / name).read_bytes() == (from_file.run / name).read_bytes(), name
    listed = read_particles(from_file.run / "particles.star", with_images=False)
    for column in ("rlnClassNumber", "rlnClassProbability"):  # of this run, no longer of the one before
        assert set(listed.metadata.numbers(column)) == {1.0}
    words = str(found.summary["resolution_half_0143"])
    assert words == str(from_file.summary["resolution_half_0143"])


def test_a_run_that_was_stopped_goes_on_to_the_same_classes(
    finished: ReconstructionResult, mixture: Path, tmp_path: Path
) -> None:
    out, stops, resume = tmp_path / "run", 0, False
    for after in (1, 2, 3, 4):  # in the branching, at the focus, in the rounds
        steps = iter(range(1000))
        with pytest.raises(StoppedError):
            resmfn.reconstruct(settings(mixture, out, resume=resume), stop=lambda: next(steps) + 1 >= after)  # noqa: B023
        stops, resume = stops + 1, True
    resmfn.reconstruct(settings(mixture, out, resume=True))
    for name in SAME:
        assert (out / name).read_bytes() == (finished.run / name).read_bytes(), name


def classes_of(run: Path) -> np.ndarray:
    return read_particles(run / "particles.star", with_images=False).metadata.numbers("rlnClassNumber")


def share_agreed(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the share of images (n,) in the class that is expected, whichever of the two is called the first."""
    agreed = float((found == expected).mean())
    return max(agreed, 1 - agreed)


@pytest.mark.long
def test_two_processes_find_the_classes_that_one_finds(
    finished: ReconstructionResult, mixture: Path, tmp_path: Path
) -> None:
    flags = {"n-classes": 3, "shift-range": 0, "hidden-dim": 8, "network-steps": 20, "device": "cpu"}
    flags["mask-diameter"] = 0.84 * SMALL_BOX * PIXEL_SIZE
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    tokens = ["reconstruct", str(mixture), "--out", str(tmp_path / "run"), *words]
    ended, _, error = run_team("command", 2, tokens=tokens)
    assert (ended, error) == ([0 if finished.summary["resolved"] else EXIT_NOT_RESOLVED] * 2, "")
    assert share_agreed(classes_of(tmp_path / "run"), classes_of(finished.run)) > 0.99


@pytest.mark.long
def test_symmetric_structures_come_apart_in_their_symmetry(tmp_path: Path) -> None:
    clean = torch.stack((images_of(21, N_EACH, "C2"), images_of(77, N_EACH, "C2")), dim=1).flatten(0, 1)
    noisy = clean + torch.randn(clean.shape, generator=make_generator(5))
    particles = write_particle_files(tmp_path / "mixture", noisy)
    found = resmfn.reconstruct(settings(particles, tmp_path / "run", symmetry="C2"))
    assert found.summary["n_classes"] == 2
    assert share_agreed(classes_of(found.run), 1 + np.arange(2 * N_EACH) % 2) > 0.98


@pytest.mark.parametrize("changed", [{"poses": "fixed"}, {"reference": Path("map.mrc")}])
def test_classes_go_with_a_search_only(mixture: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(InputError, match="--n-classes 3"):
        settings(mixture, tmp_path / "run", **changed)
    with pytest.raises(InputError, match="--n-classes"):
        settings(mixture, tmp_path / "run", n_classes=0)
