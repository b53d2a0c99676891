"""Images to map, whole runs: small enough for CI, too good for a broken search of poses; and what a run leaves."""

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import yaml

import resmfn
from reconstruction.conftest import SMALL_BOX, small_blobs
from reconstruction.scenes import PIXEL_SIZE, turned, write_particle_files
from resmfn.core import make_generator
from resmfn.data import ParticleSet, read_map, read_particles, read_star, write_map, write_particles
from resmfn.evaluation import Evaluation, fourier_shell_correlation
from resmfn.fourier import fftn_centered, radius_grid, shell_average
from resmfn.reconstruction import ProgressEvent, ReconstructionConfig, ReconstructionResult
from resmfn.reconstruction.maps.network_map import cutoffs_for
from resmfn.reconstruction.poses.posed_images import Poses
from resmfn.reconstruction.run.bookkeeping import Clock
from resmfn.reports.postprocess import postprocess
from resmfn.rotations import geodesic_degrees

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "run-folder.md"
BOX = 32
POSE_COLUMNS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst")
SET_COLUMNS = (
    *POSE_COLUMNS,
    "rlnRandomSubset",
    "rlnMaxValueProbDistribution",
    "rlnPoseEntropy",
    "rlnParticleFigureOfMerit",
)


@dataclass(frozen=True)
class Finished:
    """A run that is through, with what it came from."""

    data: Path
    run: Path
    result: ReconstructionResult
    events: list[ProgressEvent]
    scores: Evaluation


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Reconstruct 500 images of 4AKE of unknown pose, 32 x 32 pixels of 3 Å, from a file with columns of its own."""
    folder = tmp_path_factory.mktemp("4ake")
    data, alone, run = folder / "data", folder / "alone", folder / "run"
    resmfn.simulate(
        resmfn.SimulationConfig(source="4ake", out=data, n_projections=500, box_size=BOX, pixel_size=3.0, snr=0.5)
    )
    alone.mkdir()
    (data / "particles.mrcs").rename(alone / "particles.mrcs")  # the truth does not lie beside it
    (data / "particles.mrcs").symlink_to(alone / "particles.mrcs")
    particles = read_particles(data / "particles.star")
    columns = {
        "rlnMicrographName": [f"Movies/a name with spaces {i % 7}.mrc" for i in range(500)],
        "rlnGroupNumber": [1 + i % 5 for i in range(500)],
    }
    write_particles(alone / "particles.star", particles.with_columns(columns))
    events: list[ProgressEvent] = []
    config = ReconstructionConfig(
        particles=alone / "particles.star",
        out=run,
        mask_diameter=84.0,
        shift_range=0.0,
        n_starts=2,
        hidden_dim=96,
        network_steps=30,
    )
    result = resmfn.reconstruct(config, events.append)
    scores = resmfn.evaluate(run, reference=data / "volume.mrc", true_poses=data / "particles_true.star", figure=False)
    return Finished(alone, run, result, events, scores)


# --- is it right -------------------------------------------------------------------------------------


def test_readers_that_take_only_labels_of_relion_can_read_the_poses(finished) -> None:
    """Many scripts count columns that begin with rln: another prefix would leave them without a single row."""
    table = read_star(finished.run / "particles.star")["particles"]
    assert all(name.startswith("rln") for name in table.columns)


def test_the_poses_are_found(finished) -> None:
    errors = finished.scores.poses.errors
    assert errors.median < 3.5
    assert errors.share_within_10 > 0.93


def test_the_map_is_that_of_the_molecule(finished) -> None:
    curve = finished.scores.maps.unmasked
    assert curve.resolution_at(0.5) < 7.0
    assert curve.area() > 0.85
    assert finished.scores.maps.alignment.score > finished.scores.maps.alignment.score_other_hand + 0.2


def test_the_map_and_the_poses_belong_together(finished) -> None:
    """Map and poses are aligned to the truth each by itself: both must find the same rotation and hand."""
    poses, maps = finished.scores.poses.alignment, finished.scores.maps.alignment
    assert poses.hand == maps.hand
    assert float(geodesic_degrees(poses.rotation, maps.rotation)) < 2.0


def test_the_resolution_that_is_reported_is_no_better_than_the_true_one(finished) -> None:
    true = finished.scores.maps.unmasked.resolution_at(0.5)
    assert 0.9 * true < finished.result.summary["resolution_half_0143"] < 1.4 * true


def test_both_starts_found_the_molecule(finished) -> None:
    starts = finished.result.summary["log_likelihood"]
    assert len(starts) == 2
    assert min(starts) > max(starts) - 2.0
    assert "2 of 2 starts found the same coarse map" in finished.result.summary["verdict"]


# --- what it leaves ----------------------------------------------------------------------------------


def documented(section: str, column: int = 0) -> set[str]:
    """Return the names in the table of a section of docs/run-folder.md."""
    text = DOCUMENTATION.read_text().split(section)[1].split("\n## ")[0]
    rows = [line.split("|")[column + 1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_folder_holds_what_is_documented_and_nothing_else(finished) -> None:
    scales = {f"map_scale{i}.mrc" for i in range(1, len(cutoffs_for(BOX)) + 1)}
    evaluated = {"evaluation.json", "evaluation.png"}
    expected = {name for name in documented("# What a run folder holds") if not name.startswith("map_scale")}
    found = {path.name for path in finished.run.iterdir() if not path.name.startswith(".")}
    assert found | evaluated == expected | scales | evaluated
    assert not [path for path in finished.run.iterdir() if "tmp" in path.name]


def test_the_summary_has_the_keys_that_are_documented(finished) -> None:
    summary = json.loads((finished.run / "summary.json").read_text())
    assert set(summary) == documented("## summary.json") - {"defocus"}  # of runs that refine it
    assert summary == finished.result.summary
    assert summary["n_particles"] == 500
    assert summary["seconds"] > 0
    assert summary["cpu_seconds"] > 0
    assert 50e6 < summary["peak_memory"] < 4e9
    assert summary["resolution_split"] > summary["resolution_half_0143"]
    assert finished.result.run == finished.run


def test_rows_and_columns_of_the_particles_are_kept(finished) -> None:
    before, after = (read_star(folder / "particles.star") for folder in (finished.data, finished.run))
    assert list(after) == ["optics", "particles"]  # the particle table last
    assert after["optics"] == before["optics"]
    old, new = before["particles"], after["particles"]
    assert len(new) == 500
    assert list(new.columns)[: len(old.columns)] == list(old.columns)
    for name in old.columns:
        assert name in POSE_COLUMNS or new[name] == old[name], name
    assert set(new.columns) - set(old.columns) == set(SET_COLUMNS)
    assert documented("## particles.star") == set(SET_COLUMNS) | {"rlnDefocusU", "rlnDefocusV"}  # where refined
    assert set(new.text("rlnRandomSubset")) == {"1", "2"}
    assert abs(new.text("rlnRandomSubset").count("1") - 250) <= 1
    largest = torch.tensor([float(cell) for cell in new["rlnMaxValueProbDistribution"]])
    assert bool(((largest > 0) & (largest <= 1)).all())
    assert float(largest.std()) > 0


def test_image_names_lead_to_the_images_from_where_the_input_was(finished) -> None:
    again = read_particles(finished.run / "particles.star", finished.data)
    first = again.read_images(slice(0, 3))
    assert torch.equal(first, read_particles(finished.data / "particles.star").read_images(slice(0, 3)))


def test_maps_have_the_images_box_and_pixel_size(finished) -> None:
    names = ["map", "map_filtered", "half1", "half2", *(f"map_scale{i}" for i in range(1, len(cutoffs_for(BOX)) + 1))]
    for name in names:
        found = read_map(finished.run / f"{name}.mrc")
        assert found.data.shape == (BOX, BOX, BOX), name
        assert found.pixel_size == pytest.approx(3.0)
        assert float(found.data.std()) > 0


def test_maps_are_masked_filtered_or_bare_as_documented(finished) -> None:
    maps = {path.stem: read_map(path).data for path in finished.run.glob("*.mrc")}
    outside = radius_grid(BOX, 3) > 84.0 / 6 + 0.06 * BOX + 1
    scale = float(maps["map"].abs().max())
    for name in ("map", "half1", "half2"):
        assert float(maps[name][outside].abs().max()) < 0.05 * scale, name
    finest = maps[f"map_scale{len(cutoffs_for(BOX))}"]
    assert float(finest[outside].abs().max()) > 0.05 * scale
    power = {name: shell_average(fftn_centered(volume).abs().square(), BOX) for name, volume in maps.items()}
    cutoff = BOX * 3.0 / finished.result.summary["resolution_half_0143"]
    within = int(cutoff) - 1
    torch.testing.assert_close(power["map_filtered"][:within], power["map"][:within], rtol=1e-3, atol=0.0)
    assert bool((power["map_filtered"][math.ceil(cutoff) + 2 :] < 1e-6 * power["map"].max()).all())
    assert not torch.equal(maps["half1"], maps["half2"])


def test_coarse_scales_hold_the_low_frequencies_only(finished) -> None:
    maps = [read_map(finished.run / f"map_scale{i}.mrc").data for i in range(1, len(cutoffs_for(BOX)) + 1)]
    spectrum = [shell_average(fftn_centered(volume).abs().square(), BOX) for volume in maps]
    assert float(spectrum[0][10:].max()) < 1e-6 * float(spectrum[0].max())
    assert float(spectrum[-1][10:12].min()) > 1e-6 * float(spectrum[-1].max())


def test_the_fsc_is_that_of_the_half_maps(finished) -> None:
    with (finished.run / "fsc.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == BOX // 2 + 1
    assert {"corrected", "masked", "unmasked", "randomized"} <= set(rows[0])
    halves = [read_map(finished.run / f"half{i}_unfil.mrc").data for i in (1, 2)]
    expected = fourier_shell_correlation(*halves, 3.0).correlation
    found = torch.tensor([float(row["unmasked"]) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(found[1:-2], expected[1:-2], rtol=0.0, atol=1e-3)  # files hold single precision
    points = ElementTree.parse(finished.run / "fsc.xml").getroot().findall("coordinate")
    assert [float(point.findtext("y", "")) for point in points] == pytest.approx(
        [float(row["corrected"]) for row in rows], abs=1e-5
    )


def test_the_map_is_validated_by_the_run_itself(finished) -> None:
    validation = json.loads((finished.run / "validation.json").read_text())
    resolution = finished.result.summary["resolution_half_0143"]
    assert validation["resolution_0143"]["corrected"] == resolution
    assert validation["starts"]["correlation"] == finished.result.summary["start_agreement"]
    assert validation["fsc_area"]["unmasked"] < validation["fsc_area"]["corrected"]
    mask = read_map(finished.run / "mask.mrc").data
    local = read_map(finished.run / "local_resolution.mrc").data
    assert (float(mask.min()), float(mask.max())) == (0.0, 1.0)
    assert bool((local[mask == 0] == 0).all())
    assert validation["local_resolution"]["median"] == pytest.approx(resolution, rel=0.3)
    sharpened = read_map(finished.run / "map_sharpened.mrc").data
    assert float(sharpened[mask == 0].abs().max()) == 0
    with (finished.run / "fsc_directional.csv").open() as file:
        row = list(csv.DictReader(file))[4]
    assert float(row["lowest"]) <= min(float(row[f"along_{axis}"]) for axis in "xyz")
    assert float(row["lowest"]) < float(row["median"]) < float(row["highest"])


def test_halves_without_mask_show_the_molecule_and_the_noise_around_it(finished) -> None:
    """They were solved without a network, so that their agreement is the images' own."""
    mask = read_map(finished.run / "mask.mrc").data
    bare, masked = ([read_map(finished.run / f"half{i}{end}.mrc").data for i in (1, 2)] for end in ("_unfil", ""))
    outside = radius_grid(BOX, 3) > 0.45 * BOX
    for explicit, network in zip(bare, masked, strict=True):
        together = torch.stack((explicit * mask, network * mask)).flatten(1)
        assert float(torch.corrcoef(together)[0, 1]) > 0.9
        assert float(explicit[outside].std()) > 0.01 * float(explicit.std())
    noise = torch.corrcoef(torch.stack([volume[outside] for volume in bare]))[0, 1]
    assert abs(float(noise)) < 0.3


def test_postprocessing_needs_no_mask_and_says_the_same(finished, tmp_path) -> None:
    again = postprocess(finished.run, out=tmp_path / "again").validation
    before = json.loads((finished.run / "validation.json").read_text())
    assert again["resolution_0143"]["masked"] == pytest.approx(before["resolution_0143"]["masked"], abs=1e-3)
    for name, value in before["directional_resolution"].items():  # files hold single precision
        assert again["directional_resolution"][name] == pytest.approx(value, rel=0.01)


def test_metrics_are_json_of_every_step(finished) -> None:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    text = (finished.run / "metrics.jsonl").read_text()
    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    stages = [line["stage"] for line in lines]
    assert stages[:3] == ["search", "search", "control"]
    assert stages == sorted(stages, key=["search", "control", "focus", "halves", "validate", "joint"].index)
    for stage in ("halves", "joint"):
        rounds = [line for line in lines if line["stage"] == stage]
        assert [line["round"] for line in rounds] == list(range(1, len(rounds) + 1))
        assert {"radius", "pose_change", "log_likelihood", "resolution"} <= set(rounds[-1])
    assert "network_fit" in lines[-1]
    after_halves = [line["resolution"] for line in lines if line["stage"] in ("validate", "joint")]
    verdict = finished.result.summary["resolution_half_0143"]
    assert after_halves == pytest.approx([verdict] * len(after_halves), abs=1e-3)
    assert [line["log_likelihood"] for line in lines[:2]] == pytest.approx(
        finished.result.summary["log_likelihood"], abs=1e-3
    )


def test_settings_are_written_as_they_were_resolved(finished) -> None:
    settings = yaml.safe_load((finished.run / "config.yaml").read_text())
    assert set(settings) == set(ReconstructionConfig.__dataclass_fields__)
    assert settings["device"] == "cpu"
    assert settings["pixel_size"] == pytest.approx(3.0)
    assert settings["hidden_dim"] == 96
    assert settings["n_starts"] == 2


def test_progress_begins_at_once_and_only_goes_forward(finished) -> None:
    assert finished.events[0].stage == "read"
    done = [event.done for event in finished.events if event.done is not None]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0.0, 1.0)
    log = (finished.run / "run.log").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in log] == [f"{e.stage}: {e.message}" for e in finished.events]


# --- other ways to begin -----------------------------------------------------------------------------


def run_small(path: Path, out: Path, **settings: object) -> tuple[dict[str, object], ParticleSet, torch.Tensor]:
    """Return summary, particles and correlation of the map with the truth, in the frame that it came out in."""
    settings = {
        "shift_range": 0.0,
        "mask_diameter": 0.84 * SMALL_BOX * PIXEL_SIZE,
        "n_starts": 1,
        "network_steps": 40,
    } | settings
    result = resmfn.reconstruct(ReconstructionConfig(particles=path, out=out, **settings))
    volume = read_map(out / "map.mrc").data
    curve = fourier_shell_correlation(volume, small_blobs().volume(SMALL_BOX), PIXEL_SIZE)
    return result.summary, read_particles(out / "particles.star", path.parent), curve.correlation


def test_known_poses_are_kept_to_the_letter(small_files, tmp_path) -> None:
    summary, particles, correlation = run_small(small_files, tmp_path / "run", poses="fixed")
    before = read_star(small_files)["particles"]
    for name in POSE_COLUMNS:
        assert particles.table[name] == before[name]
    assert particles.table.text("rlnRandomSubset") == before.text("rlnRandomSubset")
    assert set(particles.table["rlnMaxValueProbDistribution"]) == {"1.000000"}
    assert float(correlation[1:7].min()) > 0.8
    assert summary["log_likelihood"] == []
    assert summary["structure_found"]
    assert not summary["resolved"]  # the images say what the poses say, and nobody knows what those were fitted to
    assert summary["resolution_split"] is None
    assert summary["verdict"].startswith("not confirmed: half maps agree to")


def test_poses_of_the_input_are_refined_from_where_they_are(small_files, tmp_path) -> None:
    known = read_particles(small_files)
    path = write_particle_files(
        tmp_path / "rough",
        known.read_images(slice(None)),
        poses=Poses(turned(known.rotations, 8.0), torch.zeros(160, 2)),
    )
    summary, particles, correlation = run_small(path, tmp_path / "run", poses="from-input")
    errors = geodesic_degrees(particles.rotations, known.rotations)
    assert float(errors.median()) < 5.0
    assert float(correlation[1:5].min()) > 0.8
    assert summary["log_likelihood"] == []


def test_a_reference_gives_frame_and_hand(small_files, tmp_path) -> None:
    """The input's poses are not looked at; the reference alone brings them back, in its own frame."""
    write_map(tmp_path / "reference.mrc", 7.0 * small_blobs().volume(SMALL_BOX), PIXEL_SIZE)
    known = read_particles(small_files)
    path = write_particle_files(tmp_path / "plain", known.read_images(slice(None)))
    summary, particles, correlation = run_small(
        path, tmp_path / "run", reference=tmp_path / "reference.mrc", ini_high=15.0
    )
    assert float(geodesic_degrees(particles.rotations, known.rotations).median()) < 8.0
    assert float(correlation[1:5].min()) > 0.8
    assert summary["log_likelihood"] == []


def test_a_reference_of_another_size_is_refused_and_leaves_nothing(small_files, tmp_path) -> None:
    write_map(tmp_path / "reference.mrc", torch.rand(24, 24, 24, generator=make_generator(1)), PIXEL_SIZE)
    with pytest.raises(resmfn.ResmfnError, match=r"--reference .*box of 20 pixels of 3 Å, got 24 of 3 Å"):
        run_small(small_files, tmp_path / "run", reference=tmp_path / "reference.mrc")
    assert not (tmp_path / "run").exists()


def test_an_empty_reference_is_refused_and_leaves_nothing(small_files, tmp_path) -> None:
    write_map(tmp_path / "reference.mrc", torch.zeros(SMALL_BOX, SMALL_BOX, SMALL_BOX), PIXEL_SIZE)
    with pytest.raises(resmfn.ResmfnError, match=r"--reference .* is constant; give another map"):
        run_small(small_files, tmp_path / "run", reference=tmp_path / "reference.mrc")
    assert not (tmp_path / "run").exists()


def test_cpu_seconds_of_a_second_run_do_not_count_the_first() -> None:
    Clock().lap()
    _, cpu_seconds = Clock().lap()
    assert cpu_seconds < 0.5


# --- longer ------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shifted_images_are_found_and_centered(tmp_path, seed: int) -> None:
    data = tmp_path / "data"
    resmfn.simulate(
        resmfn.SimulationConfig(
            source="4ake", out=data, n_projections=600, box_size=BOX, pixel_size=3.0, snr=0.3, shift_std=3.0, seed=seed
        )
    )
    resmfn.reconstruct(
        ReconstructionConfig(
            particles=data / "particles.star", out=tmp_path / "run", mask_diameter=84.0, n_starts=3, seed=seed
        )
    )
    scores = resmfn.evaluate(
        tmp_path / "run", reference=data / "volume.mrc", true_poses=data / "particles_true.star", figure=False
    )
    assert scores.poses.errors.median < 5.0
    assert scores.poses.shifts.rms < 1.2
    assert scores.maps.unmasked.resolution_at(0.5) < 7.5
