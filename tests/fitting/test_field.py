"""Fitted fields: sampled anywhere, written and read bit for bit, in the unit of their image."""

import pytest
import torch

from resmfn.core import InputError
from resmfn.data import read_map
from resmfn.data.pictures.files import read_image
from resmfn.fitting import FittedField, load_field, render, save_field
from resmfn.fitting.field import evaluate_scales, with_affine_output
from resmfn.networks import VARIANTS, save_network


@pytest.fixture
def image_field(network):
    return FittedField(with_affine_output(network(out_dim=3), 0.05, 0.5), "image", (30, 40))


@pytest.fixture
def volume_field(network):
    return FittedField(network(dim=3, out_dim=1), "volume", (12, 12, 12), 1.5)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_affine_outputs_are_affine_at_every_scale(network, generator, variant):
    points = torch.rand(9, 2, generator=generator, dtype=torch.float64) - 0.5
    plain = network(variant)
    scaled = with_affine_output(plain, 3.0, 7.0)
    torch.testing.assert_close(evaluate_scales(scaled, points, 3), 3 * evaluate_scales(plain, points, 3) + 7)


def test_a_finer_image_passes_through_the_coarser_ones_points(image_field):
    """Pixel centers: every third pixel of a threefold finer image, from the second on, is one of the coarse image."""
    coarse, fine = image_field.sample(), image_field.sample((90, 120))
    assert coarse.shape == (30, 40, 3)
    torch.testing.assert_close(fine[1::3, 1::3], coarse)


def test_a_finer_map_passes_through_the_coarser_ones_voxels(volume_field):
    """Origin N // 2: every second voxel of a map twice as fine is one of the coarse map."""
    coarse, fine = volume_field.sample(scale=2), volume_field.sample((24, 24, 24), scale=2)
    torch.testing.assert_close(fine[::2, ::2, ::2], coarse)


def test_a_field_is_read_as_it_was_written(image_field, volume_field, tmp_path):
    for field in (image_field, volume_field):
        save_field(tmp_path / "field.pt", field)
        again = load_field(tmp_path / "field.pt")
        assert (again.kind, again.shape, again.pixel_size) == (field.kind, field.shape, field.pixel_size)
        assert torch.equal(again.sample(), field.sample())


def test_what_is_no_field_is_refused(network, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_field(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(InputError, match="not a readable fitted field"):
        load_field(tmp_path / "text.pt")
    save_network(tmp_path / "network.pt", network())
    with pytest.raises(InputError, match=r"must have format 'resmfn.field/1', got 'resmfn.network/1'"):
        load_field(tmp_path / "network.pt")
    torch.save({"format": "resmfn.field/1"}, tmp_path / "empty.pt")
    with pytest.raises(InputError, match="lacks 'network'"):
        load_field(tmp_path / "empty.pt")
    torch.save({"code": print}, tmp_path / "code.pt")
    with pytest.raises(InputError, match="holds code"):
        load_field(tmp_path / "code.pt")


def test_render_writes_images_of_any_size_and_scale(image_field, tmp_path):
    save_field(tmp_path / "field.pt", image_field)
    out = tmp_path / "out.png"
    assert render(tmp_path / "field.pt", out, size=20, scale=1, device="cpu") == (15, 20)
    expected = image_field.sample((15, 20), 1).clamp(0, 1).to(torch.float32)
    torch.testing.assert_close(read_image(out), expected, atol=0.51 / 255, rtol=0)
    with pytest.raises(InputError, match=r"out\.png: exists already; give another name, or --overwrite"):
        render(tmp_path / "field.pt", out, device="cpu")
    assert render(tmp_path / "field.pt", out, pixel_size=0.5, device="cpu", overwrite=True) == (60, 80)
    assert render(tmp_path / "field.pt", out, device="cpu", overwrite=True) == (30, 40)


def test_render_writes_maps_with_their_pixel_size(volume_field, tmp_path):
    save_field(tmp_path / "field.pt", volume_field)
    assert render(tmp_path / "field.pt", tmp_path / "out.mrc", pixel_size=0.9, device="cpu") == (20, 20, 20)
    density = read_map(tmp_path / "out.mrc")
    assert density.pixel_size == pytest.approx(0.9)
    torch.testing.assert_close(density.data, volume_field.sample((20, 20, 20)).to(torch.float32))


@pytest.mark.parametrize(
    ("out", "settings", "message"),
    [
        ("out.mrc", {}, r"must end in \.png"),
        ("out.png", {"size": 5, "pixel_size": 1.0}, "say the same thing"),
        ("out.png", {"size": 0}, "--size must be at least 1"),
        ("out.png", {"pixel_size": 0.0}, "--pixel-size must be positive"),
        ("out.png", {"scale": 4}, r"scale must lie in 1 \(coarsest\) \.\. 3"),
    ],
)
def test_render_refuses_what_it_cannot_do(image_field, tmp_path, out, settings, message):
    save_field(tmp_path / "field.pt", image_field)
    with pytest.raises(InputError, match=message):
        render(tmp_path / "field.pt", tmp_path / out, device="cpu", **settings)
    assert not (tmp_path / out).exists()
