"""What a simulation can start from, and how a map is brought to another sampling."""

import gzip
import shutil

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import DensityMap, write_map
from resmfn.physics import GaussianBlobs
from resmfn.simulation.sources import load_density, resample


def wide_blobs(scale=1.0):
    centers = torch.tensor([[3.0, -2.0, 1.0], [-4.0, 0.0, 2.0], [0.0, 5.0, -3.0]], dtype=torch.float64)
    widths = torch.tensor([3.0, 3.5, 4.0], dtype=torch.float64)
    amplitudes = torch.tensor([1.0, 0.7, 1.2], dtype=torch.float64)
    return GaussianBlobs(centers=centers * scale, widths=widths * scale, amplitudes=amplitudes)


@pytest.fixture
def density():
    return DensityMap(wide_blobs().volume(48), 1.5)


def test_maps_folders_and_packed_maps_are_the_same_source(map_file, tmp_path):
    shutil.copy(map_file, tmp_path / "volume.mrc")
    (tmp_path / "x.map.gz").write_bytes(gzip.compress(map_file.read_bytes()))
    direct = load_density(map_file, None, None, 0.0)
    for source in (tmp_path, str(tmp_path / "x.map.gz")):
        other = load_density(source, None, None, 0.0)
        assert torch.equal(other.data, direct.data)
        assert other.pixel_size == direct.pixel_size == 2.0


def test_a_map_keeps_its_own_sampling(density):
    kept = resample(density, None, None)
    assert torch.equal(kept.data, density.data)
    assert kept.pixel_size == 1.5


@pytest.mark.parametrize("box_size", [24, 25, 36, 60, 61])
def test_box_size_alone_keeps_the_field_of_view(density, box_size):
    resized = resample(density, box_size, None)
    assert resized.pixel_size == pytest.approx(48 * 1.5 / box_size)
    expected = wide_blobs(box_size / 48).volume(box_size)
    assert (resized.data - expected).abs().max() < 2e-3


@pytest.mark.parametrize(("pixel_size", "box_size"), [(3.0, 24), (1.0, 72), (2.0, 36), (1.7, 42), (1.37, 53)])
def test_pixel_size_alone_keeps_about_the_field_of_view(density, pixel_size, box_size):
    resized = resample(density, None, pixel_size)
    assert (resized.box_size, resized.pixel_size) == (box_size, pixel_size)
    assert (resized.data - wide_blobs(1.5 / pixel_size).volume(box_size)).abs().max() < 3e-3


@pytest.mark.parametrize(("box_size", "pixel_size"), [(64, 1.5), (40, 1.5), (32, 2.0), (33, 2.0), (50, 1.9)])
def test_both_resample_and_pad_or_crop(density, box_size, pixel_size):
    resized = resample(density, box_size, pixel_size)
    assert (resized.box_size, resized.pixel_size) == (box_size, pixel_size)
    assert (resized.data - wide_blobs(1.5 / pixel_size).volume(box_size)).abs().max() < 3e-3


def test_pixel_size_fills_in_what_a_header_lacks(map_file, tmp_path):
    raw = bytearray(map_file.read_bytes())
    raw[40:52] = bytes(12)  # the cell
    (tmp_path / "bare.mrc").write_bytes(raw)
    assert load_density(tmp_path / "bare.mrc", None, 2.5, 0.0).pixel_size == 2.5
    assert load_density(tmp_path / "bare.mrc", None, 2.5, 0.0).box_size == 24
    with pytest.raises(InputError, match="does not say the voxel size"):
        load_density(tmp_path / "bare.mrc", None, None, 0.0)


def test_pixel_size_resamples_where_the_header_has_one(map_file):
    finer = load_density(map_file, None, 1.0, 0.0)
    assert (finer.box_size, finer.pixel_size) == (48, 1.0)


def test_models_get_the_box_that_is_asked_for():
    density = load_density("4ake", 40, 3.0, 100.0)
    assert (density.box_size, density.pixel_size) == (40, 3.0)
    assert float(density.data.max()) < float(load_density("4ake", 40, 3.0, 20.0).data.max())


def test_sources_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"5ake: there is no such file; give a map, a model, a folder with volume\.mrc, or"
    ):
        load_density("5ake", None, None, 0.0)
    with pytest.raises(InputError, match=r"volume\.mrc: there is no such file"):
        load_density(tmp_path, None, None, 0.0)
    write_map(tmp_path / "flat.mrc", torch.full((8, 8, 8), 3.0), 1.0)
    with pytest.raises(InputError, match=r"flat\.mrc: the map is constant"):
        load_density(tmp_path / "flat.mrc", None, None, 0.0)


def test_a_box_that_memory_cannot_hold_is_refused_before_anything_is_made(monkeypatch) -> None:
    monkeypatch.setattr("resmfn.core.machine.available_memory", lambda: 2**30)
    with pytest.raises(InputError, match=r"out of memory: the voxels of a map of 2000 a side take 506\.6 GiB"):
        load_density("4ake", 2000, None, 40.0)
