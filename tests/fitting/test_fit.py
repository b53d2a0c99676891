"""Whole fits at a tiny size: every file, resuming, several images together, what is refused."""

import json
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fitting.conftest import picture
from resmfn.core import InputError
from resmfn.data import read_map, write_map
from resmfn.data.pictures.files import read_image, write_image
from resmfn.data.runs.own_files import own_files
from resmfn.data.runs.spectra import read_spectra
from resmfn.fitting import ImageFitConfig, VolumeFitConfig, fit_image, fit_volume, load_field
from resmfn.fitting import fit as fit_module
from resmfn.physics.phantoms.blobs import GaussianBlobs

LISTS = [f"{part}_{kind}" for part in ("train", "test") for kind in ("psnr", "ssim", "mse")]


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three images: two of one size, one odd and grey."""
    (tmp_path / "images").mkdir()
    for name, shape in (("a", (24, 24, 3)), ("b", (24, 24, 3)), ("c", (23, 31, 1))):
        write_image(tmp_path / "images" / f"{name}.png", picture(*shape))
    return tmp_path / "images"


@pytest.fixture
def config(folder, tmp_path):
    return ImageFitConfig(
        sources=(str(folder),),
        out=tmp_path / "run",
        epochs=12,
        stages=(2, 5),
        hidden_dim=8,
        hidden_layers=3,
        log_every=4,
        device="cpu",
        tensorboard=False,
    )


def same_files(a, b, names):
    return all((a / n).read_bytes() == (b / n).read_bytes() for n in names)


def test_a_fit_says_how_far_it_is_for_those_who_watch(config):
    seen = []
    fit_image(config, lambda _: seen.append(json.loads((config.out / "progress.json").read_text())))
    done = [progress["done"] for progress in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0.0, 1.0)
    assert len(set(done)) > 3
    assert "epoch 12" in seen[-1]["message"]
    assert seen[-1]["seconds"] >= seen[0]["seconds"]


def test_a_fit_leaves_what_the_manual_says(config, folder):
    events = []
    result = fit_image(replace(config, tensorboard=True), events.append)
    run = config.out
    files = {path for path in run.rglob("*") if path.is_file()}
    assert files - set(own_files(run)) == {run / "config.yaml", run / ".lock"}  # --overwrite knows all others
    summary = json.loads((run / "summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary))
    for key in LISTS:
        assert len(summary[key]) == len(summary[f"{key}_std"]) == 3
        for scale in range(3):
            values = [summary["fields"][name][key][scale] for name in "abc"]
            assert summary[key][scale] == pytest.approx(sum(values) / 3)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = [(2, 1), (4, 2), (5, 2), (8, 3), (12, 3)]
    assert [(line["epoch"], len(line["train_psnr"])) for line in lines if line["name"] == "c"] == expected
    assert ["test_ssim" in line for line in lines if line["name"] == "c"] == [True, False, True, False, True]
    assert "| **mean** |" in result.table
    assert result.table == (run / "table.md").read_text()
    for epoch, n_scales in ((2, 1), (5, 2), (12, 3)):
        place = run / "fields" / "c" / f"epoch_{epoch:06d}"
        assert sorted(f.name for f in place.glob("*.png")) == [f"scale{i}.png" for i in range(1, n_scales + 1)]
        assert read_spectra(place / "spectra.npz").scales.shape == (n_scales, 23, 31)
    field = load_field(run / "fields" / "c" / "field.pt")
    last = read_image(run / "fields" / "c" / "epoch_000012" / "scale2.png")
    torch.testing.assert_close(field.sample(scale=2).clamp(0, 1), last, atol=0.51 / 255, rtol=0)
    truth = read_image(folder / "c.png")
    assert (field.sample() - truth).square().mean().item() == pytest.approx(
        summary["fields"]["c"]["test_mse"][-1], rel=1e-4
    )
    assert [e.done for e in events] == sorted(e.done for e in events)
    assert events[-1].done == 1
    accumulator = EventAccumulator(str(run / "tensorboard")).Reload()
    assert accumulator.Scalars("c/test_psnr/scale3")[-1].step == 12


def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(config, monkeypatch):
    fit_image(replace(config, out=config.out.with_name("whole")))
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    measure, left = fit_module.measure, 0

    def measure_or_die(*arguments, **settings):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return measure(*arguments, **settings)

    for limit in (3, 4, 5):  # measurements until the process dies, again and again
        left = limit
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(fit_module, "measure", measure_or_die)
            fit_image(replace(config, resume=True))
    fit_image(replace(config, resume=True))
    names = ["metrics.jsonl", "table.md", *(f"fields/{n}/epoch_000012/scale3.png" for n in "abc")]
    assert same_files(config.out, config.out.with_name("whole"), names)
    for name in "abc":
        fields = [load_field(run / "fields" / name / "field.pt") for run in (config.out, config.out.with_name("whole"))]
        assert torch.equal(fields[0].sample(), fields[1].sample())


def test_a_finished_run_is_refused_or_replaced_or_left_as_it_is(config):
    first = fit_image(config)
    with pytest.raises(InputError, match="holds a run; give --resume"):
        fit_image(config)
    with pytest.raises(InputError, match="begun with --epochs 12, not 13"):
        fit_image(replace(config, epochs=13, resume=True))
    before = (config.out / "metrics.jsonl").read_bytes()
    again = fit_image(replace(config, resume=True))
    assert again.summary["test_psnr"] == first.summary["test_psnr"]
    assert (config.out / "metrics.jsonl").read_bytes() == before
    assert fit_image(replace(config, seed=1, overwrite=True)).summary["test_psnr"] != first.summary["test_psnr"]


def test_a_run_is_resumed_with_the_images_that_it_was_begun_with(config, folder):
    fit_image(config)
    image = read_image(folder / "b.png")
    write_image(folder / "b.png", image.flip(0))
    with pytest.raises(InputError, match=r"has changed since .*run was begun \(the values of b\)"):
        fit_image(replace(config, resume=True))
    write_image(folder / "b.png", image)
    write_image(folder / "d.png", image)
    with pytest.raises(InputError, match=r"\(the names of what is fitted\)"):
        fit_image(replace(config, resume=True))


def test_an_images_figures_depend_on_seed_and_name_not_on_its_company(config, folder):
    together = fit_image(replace(config, at_a_time=4)).summary["fields"]["b"]
    alone = fit_image(replace(config, sources=(str(folder / "b.png"),), out=config.out.with_name("alone")))
    assert alone.summary["fields"]["b"]["train_psnr"] == pytest.approx(together["train_psnr"], abs=1e-3)
    other = fit_image(
        replace(config, sources=(str(folder / "b.png"),), out=config.out.with_name("seed"), seed=7, just_one=True)
    )
    assert other.summary["train_psnr"] != pytest.approx(together["train_psnr"], abs=1e-3)


def test_save_epoch_keeps_more_and_just_one_fits_less(config):
    fit_image(replace(config, save_epoch=3, just_one=True))
    kept = sorted(p.name for p in (config.out / "fields" / "a").glob("epoch_*"))
    assert kept == [f"epoch_{e:06d}" for e in (2, 3, 5, 6, 9, 12)]
    assert [p.name for p in (config.out / "fields").iterdir()] == ["a"]


def test_a_fit_that_diverges_is_told(config):
    with pytest.raises(InputError, match="has diverged.*lower --lr"):
        fit_image(replace(config, lr=1e30))


def test_input_that_is_refused_leaves_nothing_behind(config, tmp_path):
    write_image(tmp_path / "small.png", picture(20, 30))
    with pytest.raises(InputError, match="small is 30 x 20 pixels"):
        fit_image(replace(config, sources=(str(tmp_path / "small.png"),)))
    assert not config.out.exists()


def test_a_map_is_fitted_and_every_scale_written_as_one(tmp_path, generator):
    phantom = GaussianBlobs.random(12, generator=generator, radius=7.0)
    write_map(tmp_path / "map.mrc", phantom.volume(24).to(torch.float32), 2.0)
    config = VolumeFitConfig(
        tmp_path / "map.mrc", out=tmp_path / "run", epochs=60, hidden_dim=16, device="cpu", tensorboard=False, lr=0.01
    )
    summary = fit_volume(config).summary
    assert summary["train_psnr"][-1] > 20
    folder = tmp_path / "run" / "fields" / "map"
    written = read_map(folder / "scale3.mrc")
    assert written.pixel_size == 2.0
    torch.testing.assert_close(written.data, load_field(folder / "field.pt").sample(), rtol=1e-4, atol=1e-5)
    mse = (written.data - read_map(tmp_path / "map.mrc").data).square().mean().item()
    assert mse == pytest.approx(summary["test_mse"][-1], rel=1e-3)
    assert (folder / "epoch_000060" / "scale3.png").exists()
