"""The report of a fit: every scale with its spectrum and band."""

import re

import numpy as np
import pytest
import torch

from reports.example_run import make_fit
from resmfn.core import InputError
from resmfn.data import write_map
from resmfn.reports.fitted import fit_report
from resmfn.reports.fitted.fit_report import read_fields
from resmfn.reports.report import report


def test_each_scale_has_its_picture_spectrum_and_band(tmp_path) -> None:
    page = report(make_fit(tmp_path / "fit")).read_text()
    assert re.findall(r'<section id="(\w+)"', page) == ["quality", "scales", "progress", "settings"]
    assert "photo &lt;1&gt;, epoch 100" in page
    assert "photo <1>" not in page
    assert [float(band) for band in re.findall(r"Band: up to ([\d.]+) cycles", page)] == [4.0, 8.0, 12.0]
    assert len(re.findall(r'data-scale="\d"', page)) == 3
    assert "11.00" in page  # the test PSNR of the coarsest scale
    frames = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', page)
    assert [(float(x), float(width)) for x, width in frames] == [(12.0, 8.0), (8.0, 16.0), (4.0, 24.0)]


def test_scales_stand_in_the_order_of_their_numbers(tmp_path) -> None:
    run = make_fit(tmp_path / "fit", n_scales=11, size=8)
    (field,) = read_fields(run)
    assert [path.name for path in field.pictures] == [f"scale{i}.png" for i in range(1, 12)]


def test_maps_of_a_fitted_volume_are_shown_in_3d(tmp_path) -> None:
    run = make_fit(tmp_path / "fit")
    for i in (1, 2):
        volume = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(i))
        write_map(run / "fields" / "photo <1>" / f"scale{i}.mrc", volume, 2.0)
    page = report(run).read_text()
    assert page.index("photo &lt;1&gt;, scale 2") < page.index("photo &lt;1&gt;, scale 1")  # the finest first
    assert '<section id="map"' in page


def test_a_page_stays_small_however_many_fields_there_are(tmp_path, monkeypatch) -> None:
    run = make_fit(tmp_path / "fit")
    other = run / "fields" / "second"
    (run / "fields" / "photo <1>").rename(run / "fields" / "a")
    import shutil

    shutil.copytree(run / "fields" / "a", other)
    monkeypatch.setattr(fit_report, "MOST_BYTES", 10)
    assert "1 more are in the run folder" in report(run).read_text()


def test_a_fit_that_has_only_begun_has_a_page_and_a_broken_file_a_name(tmp_path) -> None:
    run = make_fit(tmp_path / "fit")
    (spectra,) = (run / "fields" / "photo <1>" / "epoch_000100").glob("*.npz")
    spectra.write_bytes(b"no")
    with pytest.raises(InputError, match="not hold spectra of a fit"):
        report(run)
    for name in ("summary.json", "metrics.jsonl"):
        (run / name).unlink()
    for path in (run / "fields" / "photo <1>").iterdir():
        if path.is_dir():
            (path / "spectra.npz").unlink()
    page = report(run).read_text()
    assert "No snapshot yet" in page
    assert "The figures appear when the fit is done" in page


def test_spectra_are_read_as_numbers(tmp_path) -> None:
    (field,) = read_fields(make_fit(tmp_path / "fit"))
    assert field.epoch == 100
    assert field.spectra["scales"].dtype == np.float64
