"""What is read of a folder in the published layout, and what is refused."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from resmfn.core import InputError
from resmfn.data.particles.published import STACK_FILE
from resmfn.reconstruction.published.images import read_images

CPU = torch.device("cpu")


@pytest.fixture
def copy(data, tmp_path):
    shutil.copytree(data.parent, tmp_path / "data")
    return tmp_path / "data" / data.name


def test_double_precision_stacks_are_read_as_single_ones_are(settings, copy):
    config = settings(folder=copy)
    single = read_images(config, CPU)
    np.save(copy / STACK_FILE, np.load(copy / STACK_FILE).astype(np.float64))
    torch.testing.assert_close(read_images(config, CPU).values, single.values)


def test_images_are_low_passed_by_a_third_of_the_band(settings):
    images = read_images(settings(), CPU)
    view = images.view(band=0.5, radius=6)
    length = view.pixels.double().norm(dim=1)
    assert float(length.max()) <= 6
    values, _ = view.batch(torch.tensor([3]))
    expected = images.values[3, view.kept] * torch.exp(-0.5 * (length / (0.5 * images.box_size / 3)) ** 2)
    torch.testing.assert_close(values[0], expected.to(values))


def test_transposed_optics_exchange_x_and_y(settings):
    images, turned = (read_images(settings(transpose_ctf=flag), CPU) for flag in (False, True))
    kx, ky = images.pixels.T
    row = int(((kx == 3) & (ky == 7)).nonzero()[0])
    other = int(((kx == 7) & (ky == 3)).nonzero()[0])
    torch.testing.assert_close(turned.ctf[:, row], images.ctf[:, other], atol=1e-4, rtol=0)
    assert not torch.allclose(images.ctf[:, row], images.ctf[:, other], atol=1e-3)


def test_pixel_size_comes_from_the_map_or_the_flag(settings, copy):
    assert math.isclose(read_images(settings(folder=copy), CPU).pixel_size, 4.8, rel_tol=1e-6)
    (copy.parent / "volume.mrc").unlink()
    assert read_images(settings(folder=copy, pixel_size=2.0), CPU).pixel_size == 2.0
    with pytest.raises(InputError, match=r"volume\.mrc.*--volume or --pixel-size"):
        read_images(settings(folder=copy), CPU)


def _drop(name):
    return lambda folder: (folder / name).unlink()


def _spoil(name, change):
    return lambda folder: np.save(folder / name, change(np.array(np.load(folder / name))))


def _infinite(stack):
    stack[7, 0, 0] = np.inf
    return stack


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop("particle_stack.npy"), r"particle_stack\.npy: the file is missing"),
        (_drop("poses.npy"), r"poses\.npy: the file is missing"),
        (_spoil("poses.npy", lambda a: a[:-1]), r"poses\.npy: poses must have shape \(40, 3, 3\)"),
        (_spoil("poses.npy", lambda a: -a), "must hold rotations"),
        (_spoil("ctf.npy", lambda a: a[:, :5]), r"ctf\.npy: expected shape \(40, 7\)"),
        (_spoil("particle_stack.npy", lambda a: a[:, :-2, :-2]), "18 pixels; give the map"),
        (_spoil("particle_stack.npy", lambda a: a[:, 1:]), "must have shape"),
        (_spoil("particle_stack.npy", _infinite), "image 7 .* not finite"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(settings, copy, damage, message):
    damage(copy)
    with pytest.raises(InputError, match=message):
        read_images(settings(folder=copy), CPU)


def test_a_file_is_no_folder(settings, data):
    with pytest.raises(InputError, match="takes a folder"):
        read_images(replace(settings(), folder=data / STACK_FILE), CPU)
