"""Images in every mode that people have; sets of them; what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from resmfn.core import InputError, ShapeError
from resmfn.data.pictures.files import lanczos_resize, read_image, write_image
from resmfn.data.pictures.generated_text import text_image
from resmfn.data.pictures.image_sets import N_TEXT_IMAGES, PHOTOGRAPHS, built_in_names, read_image_set


def saved(tmp_path, array, name="image.png", **settings):
    Image.fromarray(array).save(tmp_path / name, **settings)
    return tmp_path / name


def ramp(height, width, dtype, channels=None, top=255):
    shape = (height, width) if channels is None else (height, width, channels)
    return np.linspace(0, top, int(np.prod(shape))).reshape(shape).astype(dtype)


# --- files -------------------------------------------------------------------------------------------


def test_grey_and_color_come_as_shares_of_their_largest_value(tmp_path):
    grey, color = ramp(5, 4, np.uint8), ramp(3, 6, np.uint8, 3)
    assert read_image(saved(tmp_path, grey)).shape == (5, 4, 1)
    np.testing.assert_allclose(read_image(saved(tmp_path, grey)).numpy()[..., 0], grey / 255, atol=1e-7)
    np.testing.assert_allclose(read_image(saved(tmp_path, color)).numpy(), color / 255, atol=1e-7)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_of_grey_are_kept(tmp_path, name):
    deep = ramp(8, 9, np.uint16, top=65535)
    values = read_image(saved(tmp_path, deep, name)).numpy()[..., 0]
    np.testing.assert_allclose(values, deep / 65535, atol=1e-7)


def test_transparency_shows_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[1, 1] = (0, 0, 0, 51)
    values = read_image(saved(tmp_path, pixels))
    torch.testing.assert_close(values[0, 0], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(values[0, 1], torch.ones(3))
    torch.testing.assert_close(values[1, 1], torch.full((3,), 0.8), atol=1e-6, rtol=0)


def test_grey_with_alpha_stays_grey(tmp_path):
    Image.new("LA", (4, 3), (0, 0)).save(tmp_path / "la.png")
    torch.testing.assert_close(read_image(tmp_path / "la.png"), torch.ones(3, 4, 1))


def test_palettes_and_bits_are_resolved(tmp_path):
    Image.new("P", (4, 3), 7).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == (3, 4, 3)
    Image.new("1", (4, 3), 1).save(tmp_path / "bit.png")
    torch.testing.assert_close(read_image(tmp_path / "bit.png"), torch.ones(3, 4, 1))


def test_floats_must_lie_in_zero_to_one(tmp_path):
    good = saved(tmp_path, np.full((3, 3), 0.25, np.float32), "good.tif")
    torch.testing.assert_close(read_image(good), torch.full((3, 3, 1), 0.25))
    with pytest.raises(InputError, match="must lie in 0 to 1"):
        read_image(saved(tmp_path, np.full((3, 3), 3.0, np.float32), "bad.tif"))


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="not a readable image file"):
        read_image(tmp_path / "text.png")
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "absent.png")
    whole = saved(tmp_path, ramp(64, 64, np.uint8, 3)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        read_image(tmp_path / "cut.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_written_images_are_read_back(tmp_path, channels, generator):
    pixels = torch.randint(0, 256, (7, 5, channels), generator=generator) / 255
    write_image(tmp_path / "out.png", pixels)
    torch.testing.assert_close(read_image(tmp_path / "out.png"), pixels)
    write_image(tmp_path / "out.png", pixels * 3 - 1)
    torch.testing.assert_close(read_image(tmp_path / "out.png"), (pixels * 3 - 1).clamp(0, 1), atol=2 / 255, rtol=0)
    with pytest.raises(ShapeError, match="height, width"):
        write_image(tmp_path / "out.png", pixels[0])


# --- half resolution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 24), (25, 31)])
def test_lanczos_keeps_constants_and_ramps_and_never_rounds(size):
    height, width = size
    half = ((height + 1) // 2, (width + 1) // 2)
    constant = torch.full((height, width, 2), 1 / 3)
    torch.testing.assert_close(lanczos_resize(constant, *half), torch.full((*half, 2), 1 / 3))
    x = (torch.arange(width) + 0.5) / width
    resized = lanczos_resize(x.expand(height, width)[..., None].contiguous(), *half)[0, :, 0]
    inside = slice(3, -3)
    torch.testing.assert_close(resized[inside], ((torch.arange(half[1]) + 0.5) / half[1])[inside], atol=2e-4, rtol=0)


def test_lanczos_takes_away_what_half_resolution_cannot_hold():
    x = torch.arange(64) + 0.5
    low, high = (torch.sin(2 * torch.pi * f * x / 64).expand(64, 64)[..., None].contiguous() for f in (6, 26))
    assert lanczos_resize(low, 32, 32).std() > 0.95 * low.std()
    assert lanczos_resize(high, 32, 32)[4:-4, 4:-4].std() < 0.15 * high.std()


# --- sets --------------------------------------------------------------------------------------------


def test_folders_and_files_keep_their_order_and_get_unique_names(tmp_path):
    for name in ("b.png", "a.PNG"):
        saved(tmp_path, ramp(4, 4, np.uint8), name, format="PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    images = read_image_set([tmp_path, tmp_path / "b.png"])
    assert [i.name for i in images] == ["a", "b", "b_2"]
    assert [i.name for i in read_image_set([tmp_path], just_one=True)] == ["a"]


def test_the_published_sets_are_read(tmp_path, generator):
    train, test = (torch.randint(0, 256, (2, 6, 5, 3), generator=generator).to(torch.uint8) for _ in range(2))
    np.savez(tmp_path / "natural.npz", train_data=train.numpy(), test_data=test.numpy())
    images = read_image_set([tmp_path / "natural.npz"])
    assert [i.name for i in images] == ["train_00", "train_01", "test_00", "test_01"]
    torch.testing.assert_close(images[3].pixels, test[1] / 255)


def test_npz_files_that_hold_code_or_other_things_are_refused(tmp_path):
    np.savez(tmp_path / "code.npz", train_data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="hold code"):
        read_image_set([tmp_path / "code.npz"])
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="must hold train_data or test_data, it holds x"):
        read_image_set([tmp_path / "other.npz"])
    np.savez(tmp_path / "shape.npz", train_data=np.zeros((2, 3, 3, 2), np.uint8))
    with pytest.raises(InputError, match="must have shape"):
        read_image_set([tmp_path / "shape.npz"])
    np.savez(tmp_path / "range.npz", train_data=np.full((2, 3, 3, 3), 200.0))
    with pytest.raises(InputError, match="floats in 0 to 1"):
        read_image_set([tmp_path / "range.npz"])
    (tmp_path / "bad.npz").write_text("x")
    with pytest.raises(InputError, match=r"not an \.npz"):
        read_image_set([tmp_path / "bad.npz"])


def test_built_in_photographs_are_there_and_a_file_of_that_name_goes_first(tmp_path, monkeypatch):
    assert [i.name for i in read_image_set(["natural"], just_one=True)] == [next(iter(PHOTOGRAPHS))]
    (page,) = read_image_set(["page"])
    assert page.pixels.shape == (191, 384, 1)
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, ramp(4, 4, np.uint8), "page", format="PNG")
    assert read_image_set(["page"])[0].pixels.shape == (4, 4, 1)


def test_a_wrong_name_is_told_the_right_ones():
    with pytest.raises(InputError, match="astronaut"):
        read_image_set(["astronut"])


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="no image to fit"):
        read_image_set([])
    with pytest.raises(InputError, match="holds no image file"):
        read_image_set([tmp_path])


def test_generated_text_is_dark_words_on_white_the_same_each_time():
    image = text_image(1, 96)
    torch.testing.assert_close(image, text_image(1, 96))
    assert (image - text_image(2, 96)).abs().max() > 0.5
    white = (image == 1).all(-1).double().mean()
    assert 0.5 < white < 0.95
    assert image.min() < 0.3
    assert len(read_image_set(["generated-text"], just_one=True)) == 1
    assert {"generated-text", "text"} <= set(built_in_names())
    assert N_TEXT_IMAGES == 32
