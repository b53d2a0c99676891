"""Whole runs of the preset, at a size that CI can bear."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from resmfn.core import InputError
from resmfn.data import read_map, read_particles
from resmfn.data.runs.own_files import own_files
from resmfn.evaluation import align_poses
from resmfn.reconstruction.published import reconstruct_published
from resmfn.reconstruction.published.fitting import PublishedFit, starting_poses
from resmfn.reconstruction.published.images import read_images
from resmfn.rotations import geodesic_degrees

CPU = torch.device("cpu")


def test_a_run_finds_poses_and_leaves_all_files(settings, clear_data):
    quick = {"pose_lr": 0.02, "pose_iter": 10, "bacon_iter": 10, "batch_size": 50, "save_every": 5, "pose_searches": 0}
    result = reconstruct_published(settings(folder=clear_data, epochs=20, stages="2,10", **quick))
    summary, run = result.summary, result.run
    assert "NOT ab initio" in summary["verdict"]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == list(range(1, 21))
    assert [line["scale"] for line in metrics] == [1] * 2 + [2] * 8 + [3] * 10
    assert summary["pose_error_median"] == pytest.approx(metrics[-1]["pose_error_median"], abs=1e-3)
    assert summary["pose_error_median"] < 9
    assert len(list((run / "maps").glob("*.mrc"))) == 2 + 2 + 3 + 3
    assert torch.equal(read_map(run / "map.mrc").data, read_map(run / "maps" / "epoch020_scale3.mrc").data)
    estimated, true = (
        read_particles(run / f"{name}.star", with_images=False) for name in ("particles", "particles_true")
    )
    errors = align_poses(estimated.rotations, true.rotations).errors_deg
    assert float(errors.median()) == pytest.approx(summary["pose_error_median"], abs=0.05)
    assert json.loads((run / "summary.json").read_text()) == summary
    files = {path for path in run.rglob("*") if path.is_file()}
    assert files - set(own_files(run)) == {run / "config.yaml", run / ".lock"}


def test_the_search_over_the_sphere_brings_lost_images_home(settings, clear_data):
    changes = {"init_from_truth": "0,5", "stages": "1,4", "bacon_iter": 20, "batch_size": 50, "pose_searches": 1}
    config = settings(folder=clear_data, epochs=8, **changes)
    fit = PublishedFit(config, read_images(config, CPU))
    while fit.epoch < config.search_epochs[0]:
        fit.run_epoch()
    lost = torch.arange(len(fit.rotation)) % 5 == 0
    fit.rotation[lost] = fit.rotation[lost].roll(1, 0)
    before = geodesic_degrees(fit.rotation, fit.images.rotations)
    fit.run_epoch()
    after = geodesic_degrees(fit.rotation, fit.images.rotations)
    assert float(before[lost].median()) > 60
    assert float(after[lost].median()) < 15
    assert float(after[~lost].median()) < 15


def test_a_run_that_was_interrupted_goes_on_bit_for_bit(settings, tmp_path):
    whole = settings(out=tmp_path / "whole")
    reconstruct_published(whole)

    def interrupt(event) -> None:
        if event.values and event.values["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct_published(settings(), interrupt)
    reconstruct_published(settings(resume=True))
    for name in ("map.mrc", "particles.star", "maps/epoch003_scale2.mrc", "maps/epoch004_scale3.mrc"):
        assert (tmp_path / "run" / name).read_bytes()[1024:] == (whole.out / name).read_bytes()[1024:], name
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "run", whole.out)
    ]
    assert losses[0] == losses[1]


def test_a_run_is_resumed_with_its_own_settings_only(settings, tmp_path):
    reconstruct_published(settings(epochs=1))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["pose_iter"] == 8
    with pytest.raises(InputError, match="--pose-iter 8, not 9"):
        reconstruct_published(settings(epochs=1, pose_iter=9, resume=True))


@pytest.mark.parametrize("name", ["particle_stack.npy", "poses.npy", "ctf.npy"])
def test_a_run_is_resumed_with_the_data_that_it_was_begun_with(settings, data, tmp_path, name):
    folder = tmp_path / "own" / data.name
    shutil.copytree(data, folder)
    shutil.copy(data.parent / "volume.mrc", folder.parent)
    reconstruct_published(settings(folder=folder, epochs=1))
    values = np.load(folder / name)
    values[[3, 4]] = values[[4, 3]]
    np.save(folder / name, values)
    with pytest.raises(InputError, match=rf"has changed since .*run was begun \(what {name} holds\)"):
        reconstruct_published(settings(folder=folder, epochs=1, resume=True))


def test_starting_poses_are_turned_by_the_angles_asked_for(settings):
    images = read_images(settings(), CPU)
    start = starting_poses(settings(init_from_truth="45,90"), images)
    angles = geodesic_degrees(start, images.rotations)
    assert 45 <= float(angles.min()) < 60 < float(angles.median()) < 75 < float(angles.max()) <= 90.01


def test_random_starts_know_nothing_of_the_truth(settings):
    images = read_images(settings(), CPU)
    start = starting_poses(settings(init_from_truth=None), images)
    assert float(geodesic_degrees(start, images.rotations).median()) > 90
    images.rotations.copy_(images.rotations.flip(0))
    assert torch.equal(starting_poses(settings(init_from_truth=None), images), start)


def test_another_seed_gives_another_start(settings):
    images = read_images(settings(), CPU)
    assert not torch.equal(starting_poses(settings(seed=1), images), starting_poses(settings(), images))


@pytest.mark.parametrize("variant", ["staged", "staged-fair", "vanilla"])
def test_every_variant_runs(settings, variant):
    summary = reconstruct_published(settings(variant=variant, epochs=2, stages="1,5", warm_up=2)).summary
    assert summary["variant"] == variant
    assert summary["epochs"] == 2
