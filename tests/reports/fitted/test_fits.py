"""Pictures of a fit are drawn from its run folder alone."""

import pytest
import torch

from resmfn.core import InputError
from resmfn.data.pictures.files import read_image, write_image
from resmfn.data.runs.spectra import ScaleSpectra, read_spectra, write_spectra
from resmfn.reports.fitted.fits import draw_fits


@pytest.fixture
def run(tmp_path, generator):
    """Return a run folder with one snapshot of two scales of a wide image."""
    place = tmp_path / "fields" / "photo" / "epoch_000500"
    place.mkdir(parents=True)
    for path in (place / "scale1.png", place / "scale2.png", place.parent / "target.png"):
        write_image(path, torch.rand(20, 40, 1, generator=generator))
    write_spectra(place / "spectra.npz", spectra(generator))
    return tmp_path


def spectra(generator):
    scales = -2 - 3 * torch.rand(2, 20, 40, generator=generator)
    return ScaleSpectra(scales, scales[1], torch.tensor([2.5, 8.0]), torch.tensor([0.5, 1.0]))


def test_every_snapshot_gets_a_picture(run):
    assert draw_fits(run) == 1
    picture = read_image(run / "fields" / "photo" / "epoch_000500" / "scales.png")
    height, width = picture.shape[:2]
    assert width > 1.5 * height > 200
    assert 0.2 < picture.mean() < 0.95


def test_bands_are_framed(run):
    """Half-widths of 2.5 and 8 cycles: a frame in each scale's spectrum, none in that of the truth."""
    draw_fits(run)
    picture = read_image(run / "fields" / "photo" / "epoch_000500" / "scales.png")
    orange = (picture - torch.tensor([1.0, 0.5, 0.165])).abs().amax(-1) < 0.15
    columns = orange.any(0).nonzero()[:, 0] / picture.shape[1]
    assert ((columns > 0.02) & (columns < 0.33)).any()
    assert ((columns > 0.34) & (columns < 0.66)).any()
    assert not (columns > 0.68).any()
    assert not orange[: picture.shape[0] // 2].any()


def test_spectra_come_back_to_three_digits(tmp_path, generator):
    written = spectra(generator)
    write_spectra(tmp_path / "s.npz", written)
    again = read_spectra(tmp_path / "s.npz")
    torch.testing.assert_close(again.scales, written.scales, atol=4e-3, rtol=0)
    torch.testing.assert_close(again.half_widths, written.half_widths)


def test_what_is_no_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="no snapshot of a fit"):
        draw_fits(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_spectra(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(InputError, match="does not hold spectra"):
        read_spectra(tmp_path / "text.npz")
