"""A run whose box grows finds what one in the images' box finds, comes back bit for bit, and ends in that box."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.test_processes import run_team
from reconstruction.scenes import PIXEL_SIZE, varied_optics, write_particle_files
from resmfn.core import InputError, StoppedError, make_generator
from resmfn.data import read_map, read_particles
from resmfn.evaluation import fourier_shell_correlation
from resmfn.fourier import centered_indices, fft2_centered, ifft2_centered
from resmfn.physics import GaussianBlobs, compute_ctf
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.images.working_box import WorkingBox
from resmfn.reconstruction.phase_table import first_radius
from resmfn.reconstruction.phases import halves
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results import validation_files
from resmfn.reconstruction.run import box_plan
from resmfn.reconstruction.run.box_plan import BoxPlan
from resmfn.reports.postprocess import postprocess
from resmfn.reports.report import report
from resmfn.rotations import random_rotations

BOX, N = 48, 120
BOXES = (32, 40)
"""Small enough for tests; after them that of the images."""
MAPS = ("map.mrc", "map_filtered.mrc", "half1.mrc", "half2.mrc", "half1_unfil.mrc", "half2_unfil.mrc", "mask.mrc",
        "map_sharpened.mrc", "local_resolution.mrc", "map_scale1.mrc")  # fmt: skip


def molecule() -> GaussianBlobs:
    """Return narrow blobs, which have something to show at every frequency."""
    return GaussianBlobs.random(60, radius=0.28 * BOX, width=0.8, generator=make_generator(62))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of the molecule, with CTF and true poses."""
    generator, blobs = make_generator(61), molecule()
    rotation, optics = random_rotations(N, generator=generator), varied_optics(N)
    axis = centered_indices(BOX) / (BOX * PIXEL_SIZE)
    frequencies = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    clean = blobs.project(rotation, BOX)
    clean = ifft2_centered(fft2_centered(clean) * compute_ctf(optics, frequencies)).real
    images = clean / clean.std() + 0.5 * torch.randn(clean.shape, generator=generator)
    poses = Poses(rotation, torch.zeros(N, 2))
    return write_particle_files(tmp_path_factory.mktemp("grows") / "data", images, optics=optics, poses=poses)


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Make boxes small and runs short; how good they are is not the question here."""
    patch.setattr(box_plan, "SIZES", BOXES)
    patch.setattr(box_plan, "WORTH", 1.0)
    patch.setattr(halves, "MOST_ROUNDS", 4)
    patch.setattr(validation_files, "SMALLEST_BOX", 1000)  # no search of symmetry


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def through(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose box has grown twice."""
    out = tmp_path_factory.mktemp("through") / "run"
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        run(files, out)
    return out


def settings(files: Path, out: Path, **more: object) -> dict[str, object]:
    return {
        "particles": files, "out": out, "network_steps": 5, "hidden_dim": 16, "shift_range": 0.0, "device": "cpu",
        "poses": "from-input",
    } | more  # fmt: skip


def run(files: Path, out: Path, **more: object) -> dict[str, object]:
    return reconstruct(ReconstructionConfig(**settings(files, out, **more))).summary


def radii(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["radius"] for line in lines if line["stage"] == "halves"]


def boxes_of(out: Path) -> list[int]:
    lines = (out / "run.log").read_text().splitlines()
    return [int(line.split("maps now have ")[1].split()[0]) for line in lines if "maps now have" in line]


def test_it_finds_what_the_largest_box_finds(files, through, tmp_path, monkeypatch) -> None:
    grown = json.loads((through / "summary.json").read_text())
    assert boxes_of(through) == [40, 48]
    monkeypatch.setattr(box_plan, "SIZES", ())
    fixed = run(files, tmp_path / "fixed")
    assert boxes_of(tmp_path / "fixed") == []
    # The mask is made from maps in coarser voxels at first, so that rounds differ a little, and no more.
    assert radii(through) == pytest.approx(radii(tmp_path / "fixed"), rel=0.06)
    assert grown["resolution_half_0143"] == pytest.approx(fixed["resolution_half_0143"], rel=0.03)
    first, second = (read_map(folder / "map.mrc").data for folder in (through, tmp_path / "fixed"))
    assert float((first.std() / second.std()).log().abs()) < 0.05  # the same gray values
    truth = molecule().volume(BOX)
    of_grown, of_fixed = (fourier_shell_correlation(volume, truth, PIXEL_SIZE).area() for volume in (first, second))
    assert of_fixed > 0.3
    assert of_grown > of_fixed - 0.02


@pytest.mark.parametrize("name", MAPS)
def test_all_maps_have_the_box_of_the_images(grown_part_of_the_way, name) -> None:
    density = read_map(grown_part_of_the_way / name)
    assert (density.box_size, density.pixel_size) == (BOX, pytest.approx(PIXEL_SIZE))
    assert bool(density.data.isfinite().all())


@pytest.fixture(scope="module")
def grown_part_of_the_way(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that ended in a smaller box than that of the images."""
    out = tmp_path_factory.mktemp("part") / "run"
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        patch.setattr(halves, "MOST_ROUNDS", 2)
        run(files, out, final_resolution=8.5)
    return out


def test_a_final_resolution_at_which_no_pose_can_be_told_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--final-resolution must be finer than a quarter of the images' side"):
        run(files, tmp_path / "run", final_resolution=BOX * PIXEL_SIZE / 3.9)
    assert not (tmp_path / "run").exists()


def test_a_final_resolution_is_where_the_images_end(grown_part_of_the_way) -> None:
    summary = json.loads((grown_part_of_the_way / "summary.json").read_text())
    assert (summary["box_size"], summary["working_box_size"]) == (BOX, 36)
    assert max(radii(grown_part_of_the_way)) == int(BOX * PIXEL_SIZE / 8.5)
    power = np.abs(np.fft.fftn(read_map(grown_part_of_the_way / "half1_unfil.mrc").data.numpy())) ** 2
    k = np.fft.fftfreq(BOX, 1 / BOX)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    assert power[radius > 18].sum() < 1e-6 * power.sum()
    assert "final-resolution" in summary["verdict"]
    assert summary["resolution_half_0143"] >= BOX * PIXEL_SIZE / 16 - 1e-3


def test_what_reads_run_folders_reads_this_one(grown_part_of_the_way) -> None:
    summary = json.loads((grown_part_of_the_way / "summary.json").read_text())
    found = postprocess(grown_part_of_the_way).found
    assert found.halves.resolution == pytest.approx(summary["resolution_half_0143"], rel=0.12)
    examples = np.load(grown_part_of_the_way / "examples.npz")
    pairs = zip(examples["particle"], examples["reprojection"], strict=True)
    assert np.median([np.corrcoef(image.ravel(), view.ravel())[0, 1] for image, view in pairs]) > 0.5
    assert f"{summary['resolution_half_0143']:.2f}" in report(grown_part_of_the_way).read_text()


def test_poses_in_angstroms_stand_whatever_the_box(grown_part_of_the_way, files) -> None:
    """Of centered images without a search of shifts, and poses that are those of the input but for noise."""
    rotation, shift = read_particles(grown_part_of_the_way / "particles.star", with_images=False).require_poses()
    assert float(shift.abs().max()) == 0
    truth = read_particles(files, with_images=False).require_poses()[0]
    cosine = ((rotation * truth).sum(dim=(1, 2)) - 1) / 2
    assert float(cosine.clamp(-1, 1).arccos().rad2deg().median()) < 2.0


def test_a_run_stopped_before_and_after_every_change_of_box_ends_with_the_same_bits(files, through, tmp_path) -> None:
    stops = 0
    while True:
        config = ReconstructionConfig(**settings(files, tmp_path / "often", resume=stops > 0))
        try:
            reconstruct(config, stop=lambda: True)
        except StoppedError:
            stops += 1
        else:
            break
        if stops == 6:  # the rest at once
            reconstruct(replace(config, resume=True))
            break
    assert stops == 6
    assert boxes_of(tmp_path / "often") == [40, 48]
    for name in (*MAPS, "particles.star", "fsc.csv"):
        assert (tmp_path / "often" / name).read_bytes() == (through / name).read_bytes(), name


def test_poses_that_are_kept_begin_in_the_box_of_the_images_and_a_fine_reference_in_one_that_holds_it(files) -> None:
    box = WorkingBox(BOX, PIXEL_SIZE)

    def first(**more: object) -> int:
        config = ReconstructionConfig(particles=files, out=Path("run"), **more)
        return BoxPlan.of(config, box, first_radius(config, box)).first

    assert first() == first(reference="map.mrc") == 32
    assert first(reference="map.mrc", ini_high=10.0) == 40
    assert first(poses="fixed") == BOX
    assert first(mask_diameter=90.0) == 40


@pytest.mark.long
def test_two_processes_grow_together_and_find_what_one_finds(files, tmp_path) -> None:
    flags = ["--network-steps", "5", "--hidden-dim", "16", "--shift-range", "0", "--device", "cpu"]
    for size, name in ((1, "one"), (2, "two")):
        tokens = ["reconstruct", str(files), "--out", str(tmp_path / name), "--poses", "from-input", *flags]
        assert run_team("command", size, tokens=tokens, boxes=BOXES)[0] == [0] * size
        assert boxes_of(tmp_path / name) == [40, 48]
    assert radii(tmp_path / "two") == pytest.approx(radii(tmp_path / "one"), rel=0.01)
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert two["resolution_half_0143"] == pytest.approx(one["resolution_half_0143"], rel=0.01)
