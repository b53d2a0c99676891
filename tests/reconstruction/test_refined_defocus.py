"""Whole runs that refine the defocus: what they find, keep, write and refuse."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.test_processes import run_team
from reconstruction.conftest import build_context
from reconstruction.scenes import varied_optics, write_particle_files
from resmfn.core import InputError, StoppedError, make_generator
from resmfn.data import Table, read_map, read_particles, write_particles, write_star
from resmfn.evaluation import fourier_shell_correlation
from resmfn.fourier.grids import centered_indices
from resmfn.fourier.transforms import fft2_centered, ifft2_centered
from resmfn.physics import GaussianBlobs, compute_ctf
from resmfn.reconstruction import ReconstructionConfig, reconstruct
from resmfn.reconstruction.images.observations import observe
from resmfn.reconstruction.phase_table import enter_first_phase, take_step
from resmfn.reconstruction.phases import rounds
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.results import validation_files
from resmfn.reconstruction.run.context import HALVES
from resmfn.rotations import random_rotations

BOX, N, PIXEL = 24, 150, 1.0
WRONG_BY = 150.0
"""Å, standard deviation: a radian and a half of phase at 2.5 Å."""
SAME = ("map.mrc", "half1.mrc", "half2.mrc", "particles.star", "fsc.csv")


def molecule() -> GaussianBlobs:
    return GaussianBlobs.random(40, radius=0.28 * BOX, width=0.7, generator=make_generator(62))


def wrong_by() -> torch.Tensor:
    return WRONG_BY * torch.randn(N, generator=make_generator(5))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_files, "SMALLEST_BOX", 1000)  # no search of symmetry


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return images of the molecule with their true defocus, and the same with one that is too small by some Å."""
    generator = make_generator(61)
    rotation, optics = random_rotations(N, generator=generator), varied_optics(N)
    optics = replace(optics, defocus_u=optics.defocus_u - 6000, defocus_v=optics.defocus_v - 6000)
    axis = centered_indices(BOX) / (BOX * PIXEL)
    frequencies = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    clean = molecule().project(rotation, BOX)
    clean = ifft2_centered(fft2_centered(clean) * compute_ctf(optics, frequencies)).real
    images = clean / clean.std() + 0.7 * torch.randn(clean.shape, generator=generator)
    folder, poses = tmp_path_factory.mktemp("defocus"), Poses(rotation, torch.zeros(N, 2))
    wrong = optics.with_defocus(-wrong_by())
    written = [
        write_particle_files(folder / name, images, pixel_size=PIXEL, optics=its, poses=poses, subset=subset())
        for name, its in (("right", optics), ("wrong", wrong))
    ]
    return written[0], written[1]


def subset() -> torch.Tensor:
    return torch.arange(N) % 2 + 1


def config_of(particles: Path, out: Path, **more: object) -> ReconstructionConfig:
    settings = {
        "particles": particles, "out": out, "network_steps": 5, "hidden_dim": 16, "shift_range": 0.0, "device": "cpu",
        "poses": "fixed", "refine_defocus": True, "mask_diameter": 0.8 * BOX * PIXEL,
    } | more  # fmt: skip
    return ReconstructionConfig(**settings)


@pytest.fixture(scope="module")
def refined(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refined") / "run"
    reconstruct(config_of(files[1], out))
    return out


def similarity(run: Path) -> float:
    """Return how well the map of a run agrees with the truth."""
    return fourier_shell_correlation(read_map(run / "map.mrc").data, molecule().volume(BOX), PIXEL).area()


def offsets(run: Path, particles: Path) -> torch.Tensor:
    found, said = (read_particles(path, with_images=False).optics for path in (run / "particles.star", particles))
    torch.testing.assert_close(found.defocus_u - found.defocus_v, said.defocus_u - said.defocus_v, rtol=0, atol=0.01)
    return found.defocus_u - said.defocus_u


def test_particles_star_has_the_defocus_that_was_found_and_the_summary_says_so(files, refined) -> None:
    found, truth = offsets(refined, files[1]), wrong_by()
    assert float(np.corrcoef(found, truth)[0, 1]) > 0.9
    assert float((found - truth).square().mean()) < 0.2 * WRONG_BY**2
    said = json.loads((refined / "summary.json").read_text())["defocus"]
    assert said["refined"]
    assert set(said["spread"]) == {*HALVES, "joint"}
    assert said["spread"]["joint"] == pytest.approx(WRONG_BY, rel=0.2)
    assert said["median_change"] == pytest.approx(float(offsets(refined, files[1]).abs().median()), abs=0.2)
    assert 0.5 * N < said["n_told"] <= N
    assert said["verdict"].startswith("off from that of the file by 1")
    assert ", defocus off by 1" in (refined / "run.log").read_text()


def test_what_is_written_for_cryosparc_has_it_too(refined, tmp_path) -> None:
    particles = read_particles(refined / "particles.star", with_images=False)
    write_particles(tmp_path / "particles.cs", particles)
    records = np.load(tmp_path / "particles.cs")
    np.testing.assert_allclose(records["ctf/df1_A"], particles.optics.defocus_u, atol=0.01)
    np.testing.assert_allclose(records["ctf/df2_A"], particles.optics.defocus_v, atol=0.01)


def test_a_wrong_defocus_costs_less_where_it_is_refined_and_a_right_one_is_not_harmed(files, refined, tmp_path) -> None:
    right, wrong = files
    for name, particles, refines in (("r", right, False), ("w", wrong, False), ("rr", right, True)):
        reconstruct(config_of(particles, tmp_path / name, refine_defocus=refines))
    of_right, of_wrong, of_right_refined = (similarity(tmp_path / name) for name in ("r", "w", "rr"))
    assert of_right - of_wrong > 0.03
    assert similarity(refined) > of_wrong + 0.7 * (of_right - of_wrong)
    assert of_right_refined > of_right - 0.1 * (of_right - of_wrong)
    assert float(offsets(tmp_path / "rr", right).abs().median()) < 0.1 * WRONG_BY
    assert "defocus" not in json.loads((tmp_path / "r" / "summary.json").read_text())
    assert not offsets(tmp_path / "w", wrong).any()


def test_a_run_stopped_after_every_step_ends_with_the_same_bits(files, refined, tmp_path) -> None:
    config = config_of(files[1], tmp_path / "often")
    for _ in range(30):
        try:
            reconstruct(config, stop=lambda: True)
        except StoppedError:
            config = replace(config, resume=True)
        else:
            break
    for name in SAME:
        assert (tmp_path / "often" / name).read_bytes() == (refined / name).read_bytes(), name


def test_two_processes_find_what_one_finds(files, refined, tmp_path) -> None:
    flags = {"network-steps": 5, "hidden-dim": 16, "shift-range": 0, "device": "cpu", "poses": "fixed"}
    flags["mask-diameter"] = 0.8 * BOX * PIXEL
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    tokens = ["reconstruct", str(files[1]), "--out", str(tmp_path / "two"), *words, "--refine-defocus"]
    ended, _, error = run_team("command", 2, tokens=tokens)
    assert set(ended) <= {0, 4}, error
    assert float((offsets(tmp_path / "two", files[1]) - offsets(refined, files[1])).abs().max()) < 1.0


def test_a_larger_box_has_the_offsets_that_the_smaller_one_had(files) -> None:
    particles = read_particles(files[1])
    offset, device = wrong_by(), torch.device("cpu")
    grown = observe(particles, mask_radius=8.0, device=device, radius_max=6)
    grown.set_defocus(offset)
    grown.read_again(particles, mask_radius=8.0, radius_max=11)
    full = observe(read_particles(files[0]), mask_radius=8.0, device=device, radius_max=11)
    index = torch.arange(N)
    n_pixels = full.n_pixels(11)
    torch.testing.assert_close(grown.batch(index, n_pixels)[1], full.batch(index, n_pixels)[1], rtol=1e-3, atol=1e-3)


def test_the_defocus_of_a_half_is_found_without_the_map_of_the_other(files, tmp_path) -> None:
    found = []
    for name in ("first", "second"):
        run = build_context(
            files[1], tmp_path / name, poses="fixed", refine_defocus=True, mask_diameter=0.8 * BOX * PIXEL
        )
        enter_first_phase(run)
        while run.state.phase != "halves":
            take_step(run)
        take_step(run)
        if name == "second":
            noise = torch.randn(BOX, BOX, BOX, generator=make_generator(1))
            run.state.maps = run.state.maps.with_references({"half2": noise})
        rounds.refine_defocus_against(run, {half: run.half(half) for half in HALVES}, 10.0)
        found.append(run.state.defocus)
    of_first, other = (defocus.offset[subset() == 1] for defocus in found)
    assert torch.equal(of_first, other)
    assert found[0].spread["half1"] == found[1].spread["half1"]
    assert not torch.equal(found[0].offset, found[1].offset)


@pytest.mark.parametrize("column", ["rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped"])
def test_images_processed_by_their_ctf_are_refused(files, tmp_path, column) -> None:
    particles = read_particles(files[1]).with_columns({"rlnOpticsGroup": torch.ones(N, dtype=torch.int64)})
    optics = Table({"rlnOpticsGroup": ["1"], column: ["1"]})
    (tmp_path / "particles.mrcs").symlink_to(files[1].parent / "particles.mrcs")
    write_star(tmp_path / "particles.star", {"optics": optics, **particles.tables})
    with pytest.raises(InputError, match="--refine-defocus: images of .* of the defocus that the file says"):
        reconstruct(config_of(tmp_path / "particles.star", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_images_without_ctf_and_several_classes_are_refused(small_files, tmp_path) -> None:
    with pytest.raises(InputError, match="has no rlnDefocusU: its images have no CTF"):
        reconstruct(config_of(small_files, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    for classes in (2, "auto"):
        with pytest.raises(InputError, match=f"excludes --n-classes {classes}; give only one"):
            config_of(small_files, tmp_path / "run", poses="unknown", n_classes=classes)
