"""Fitted fields: sampled anywhere, written and read bit for bit, in the unit of their image."""

import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data import read_map
from resmfn.data.pictures.files import read_image
from resmfn.fitting import FittedField, load_field, render, save_field
from resmfn.fitting.field import band_between, evaluate_scales
from resmfn.networks import VARIANTS, LinearFilter, save_network, with_affine_output


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
    save_network(tmp_path / "network.pt", network(dim=1))
    with pytest.raises(InputError, match=r"network.pt: a network .* must have 2 dimensions .* got 1 and 1"):
        load_field(tmp_path / "network.pt")
    torch.save({"format": "resmfn.field/9"}, tmp_path / "new.pt")
    with pytest.raises(InputError, match=r"'resmfn.field/1' or 'resmfn.network/1', got 'resmfn.field/9'"):
        load_field(tmp_path / "new.pt")
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
    with pytest.raises(InputError, match=r"out\.png: already exists; give another name, or --overwrite"):
        render(tmp_path / "field.pt", out, device="cpu")
    assert render(tmp_path / "field.pt", out, pixel_size=0.5, device="cpu", overwrite=True) == (60, 80)
    assert render(tmp_path / "field.pt", out, device="cpu", overwrite=True) == (30, 40)


def test_render_writes_maps_with_their_pixel_size(volume_field, tmp_path):
    save_field(tmp_path / "field.pt", volume_field)
    assert render(tmp_path / "field.pt", tmp_path / "out.mrc", pixel_size=0.9, device="cpu") == (20, 20, 20)
    density = read_map(tmp_path / "out.mrc")
    assert density.pixel_size == pytest.approx(0.9)
    torch.testing.assert_close(density.data, volume_field.sample((20, 20, 20)).to(torch.float32))


@pytest.mark.parametrize("width", [1.5, 4.0])
def test_a_map_filtered_by_a_box_is_its_mean_over_cubes(network, width):
    """On a grid a third as coarse as the width the mean is that of the samples of a far finer grid, nearly."""
    field = FittedField(network(dim=3, out_dim=1, quantized=True, box_size=12), "volume", (12, 12, 12), 1.5)
    found = field.sample(kernel=LinearFilter("box", width))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    offsets = torch.as_tensor(nodes) * width / 2 / (12 * 1.5)  # Å to boxes
    axis = (torch.arange(12, dtype=torch.float64) - 6) / 12
    voxel = [2, 7, 9]
    points = torch.meshgrid(*[axis[i] + offsets for i in voxel], indexing="ij")
    share = torch.einsum("i,j,k->ijk", *[torch.as_tensor(weights) / 2] * 3).flatten()
    with torch.no_grad():
        values = field.network(torch.stack([p.flatten() for p in points], dim=1))[:, 0]
    torch.testing.assert_close(found[tuple(voxel)], share @ values)


def test_widths_are_in_pixels_of_an_image_and_samples_at_their_centers(network):
    """A mean over 2 x 2 pixels, at the centers of pixels twice as coarse: against the field's values in each."""
    field = FittedField(network(out_dim=3, quantized=True), "image", (30, 40))
    found = field.sample((15, 20), kernel=LinearFilter("box", 2.0))
    fine = field.sample((30 * 8, 40 * 8))
    mean = fine.view(15, 16, 20, 16, 3).mean(dim=(1, 3))
    torch.testing.assert_close(found, mean, rtol=0, atol=2e-3 * float(fine.abs().max()))
    unfiltered = field.sample((15, 20))
    assert float((found - unfiltered).abs().max()) > 0.05 * float(fine.abs().max())


def test_a_series_is_the_field_and_a_faint_filter_leaves_it(network):
    for field in (
        FittedField(network(out_dim=3, quantized=True), "image", (9, 14)),
        FittedField(network(quantized=True), "image", (9, 14)),
        FittedField(network(dim=3, quantized=True, box_size=8), "volume", (7, 7, 7), 2.0),
    ):
        for scale in (None, 1):
            torch.testing.assert_close(
                field.sample(scale=scale, kernel=LinearFilter("gaussian", 1e-9)), field.sample(scale=scale)
            )


def test_a_scale_between_two_is_the_finer_one_up_to_a_band_between(network):
    field = FittedField(network(quantized=True, box_size=40), "image", (40, 40), at_centers=False)
    bands = [band_between(field.network, s) for s in (1, 1.5, 2, 2.5, 3)]
    assert bands == sorted(bands)
    assert bands[3] == pytest.approx((bands[2] * bands[4]) ** 0.5)
    spectrum = torch.fft.fftshift(torch.fft.fft2(field.sample(scale=2.5)[..., 0])).abs()
    whole = torch.fft.fftshift(torch.fft.fft2(field.sample(scale=3)[..., 0])).abs()
    k = (torch.arange(40) - 20).abs()
    inside = torch.maximum(k[:, None], k) <= bands[3]
    torch.testing.assert_close(spectrum, whole * inside)
    assert float(whole[~inside].max()) > 1e-3 * float(whole.max())


def test_render_reads_what_save_network_writes(network, tmp_path):
    plane, solid = network(out_dim=3, quantized=True), network(dim=3, quantized=True, box_size=8)
    for name, drawn in (("plane", plane), ("solid", solid)):
        save_network(tmp_path / f"{name}.pt", drawn)
    assert render(tmp_path / "plane.pt", tmp_path / "out.png", device="cpu") == (16, 16)
    assert render(tmp_path / "solid.pt", tmp_path / "out.mrc", size=16, device="cpu") == (16, 16, 16)
    density = read_map(tmp_path / "out.mrc")
    assert density.pixel_size == 0.5  # of 1 Å on its own grid
    expected = solid.evaluate_grid(size=16).detach()
    torch.testing.assert_close(density.data, expected.to(torch.float32), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="2 dimensions and 1 or 3 outputs"):
        save_network(tmp_path / "two.pt", network(out_dim=2))
        load_field(tmp_path / "two.pt")


def test_a_field_keeps_where_its_samples_stand(network, tmp_path):
    save_field(tmp_path / "field.pt", FittedField(network(), "image", (8, 8), at_centers=False))
    assert not load_field(tmp_path / "field.pt").at_centers


@pytest.mark.parametrize(
    ("out", "settings", "message"),
    [
        ("out.mrc", {}, r"must end in \.png"),
        ("out.png", {"size": 5, "pixel_size": 1.0}, "exclude each other"),
        ("out.png", {"size": 0}, "--size must be at least 1"),
        ("out.png", {"pixel_size": 0.0}, "--pixel-size must be positive"),
        ("out.png", {"scale": 4}, r"scale must lie in 1 \(coarsest\) \.\. 3"),
        ("out.png", {"scale": 1.5}, "need a field with whole frequencies.*fit it with --quantized"),
        ("out.png", {"filter": "gaussian:1"}, "need a field with whole frequencies"),
        ("out.png", {"filter": "gaussian"}, r"must be gaussian:SIGMA, box:WIDTH or lanczos:WIDTH, got 'gaussian'"),
        ("out.png", {"filter": "mean:2"}, "must be one of gaussian, box, lanczos, got 'mean'"),
        ("out.png", {"filter": "box:-2"}, "must be positive and finite, got -2"),
    ],
)
def test_render_refuses_what_it_cannot_do(image_field, tmp_path, out, settings, message):
    save_field(tmp_path / "field.pt", image_field)
    with pytest.raises(InputError, match=message):
        render(tmp_path / "field.pt", tmp_path / out, device="cpu", **settings)
    assert not (tmp_path / out).exists()
