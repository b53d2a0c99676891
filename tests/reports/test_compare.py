"""Aligning and comparing map files."""

import csv

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import read_map, write_map
from resmfn.evaluation import fourier_shell_correlation
from resmfn.reports.compare import align, fsc


def test_an_aligned_map_lies_on_its_reference(finished_run, tmp_path):
    found = align(finished_run / "run" / "map.mrc", finished_run / "volume.mrc", tmp_path / "aligned.mrc")
    assert found.hand == -1
    aligned, reference = read_map(tmp_path / "aligned.mrc"), read_map(finished_run / "volume.mrc")
    assert aligned.pixel_size == reference.pixel_size
    assert fourier_shell_correlation(aligned.data, reference.data, 2.0).correlation[:7].min() > 0.95


def test_an_output_that_exists_is_kept_unless_told_otherwise(finished_run, tmp_path):
    maps = finished_run / "volume.mrc", finished_run / "volume.mrc"
    out = tmp_path / "taken.csv"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"taken\.csv: already exists; give another name, or --overwrite"):
        fsc(*maps, out=out)
    with pytest.raises(InputError, match="already exists"):
        align(*maps, out)
    assert out.read_text() == "mine"
    fsc(*maps, out=out, overwrite=True)
    assert out.read_text().startswith("shell,frequency,resolution,unmasked\n")


def test_an_output_in_no_folder_is_refused(finished_run, tmp_path):
    with pytest.raises(InputError, match=r"the folder .*absent does not exist; create it first"):
        align(finished_run / "volume.mrc", finished_run / "volume.mrc", tmp_path / "absent" / "a.mrc")


def test_curves_of_two_files(finished_run, tmp_path):
    a = finished_run / "volume.mrc"
    volume = read_map(a)
    generator = torch.Generator().manual_seed(0)
    write_map(tmp_path / "b.mrc", volume.data + 0.3 * torch.randn(volume.data.shape, generator=generator), 2.0)
    found = fsc(a, tmp_path / "b.mrc", mask_diameter=36.0, out=tmp_path / "fsc.csv")
    again = fsc(a, tmp_path / "b.mrc", mask_diameter=36.0)
    assert torch.equal(found.curves.corrected.correlation, again.curves.corrected.correlation)
    expected = fourier_shell_correlation(volume.data, read_map(tmp_path / "b.mrc").data, 2.0)
    torch.testing.assert_close(found.curves.unmasked.correlation, expected.correlation)
    with (tmp_path / "fsc.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["shell", "frequency", "resolution", "unmasked", "masked", "randomized", "corrected"]
    torch.testing.assert_close(
        torch.tensor([float(row["unmasked"]) for row in rows], dtype=torch.float64),
        expected.correlation,
        rtol=0,
        atol=1e-6,
    )
